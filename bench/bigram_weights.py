# SPDX-License-Identifier: Apache-2.0
"""Embeddings and head of a model that, whatever its random layers add, writes text with a given text's bigrams.

A model with random weights writes tokens that no text has in this order, so that nearly every n-gram it decodes is new
and no cache can help. Here the head's logits are the logarithms of the text's smoothed bigram probabilities, as far as
the hidden size holds them (a truncated singular value decomposition), and embeddings are so long that the layers, which
compute as always, change their direction by a few percent only. Needs NumPy.
"""
import os
import sys

import numpy as np

EMBEDDING_RMS = 64.0  # random layers add about 2 to the stream
SMOOTHING = 0.5  # occurrences that the unigram distribution counts for after each token

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "training"))


def bigram_logits(ids, vocab_size):
    """float32 [vocab, vocab]: log P(next | token), rows centred."""
    unigrams = np.bincount(ids, minlength=vocab_size) + 0.05
    unigrams = unigrams / unigrams.sum()
    counts = np.zeros((vocab_size, vocab_size), np.float32)
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    total = counts.sum(axis=1, keepdims=True)
    logits = np.log((counts + SMOOTHING * unigrams) / (total + SMOOTHING)).astype(np.float32)
    return logits - logits.mean(axis=1, keepdims=True)


def bfloat16_bytes(values):
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


def embeddings_and_head(text, tokenizer_dir, vocab_size, hidden):
    """Two byte strings of bfloat16 [vocab, hidden]: the embeddings, and the head of the normalised final stream."""
    from engram_model import tokenizer

    ids = np.array(tokenizer.load(os.path.join(tokenizer_dir, "tokenizer.json")).encode(text))
    left, scale, right = np.linalg.svd(bigram_logits(ids, vocab_size), full_matrices=False)
    rank = min(hidden - 1, vocab_size)
    left = left[:, :rank] * np.sqrt(scale[:rank])
    right = right[:rank].T * np.sqrt(scale[:rank])
    # A last component makes all embeddings equally long, so that the final norm scales all alike.
    lengths = np.linalg.norm(left, axis=1)
    longest = lengths.max()
    embeddings = np.zeros((vocab_size, hidden), np.float32)
    embeddings[:, :rank] = left
    embeddings[:, rank] = np.sqrt(np.maximum(longest**2 - lengths**2, 0))
    head = np.zeros((vocab_size, hidden), np.float32)
    head[:, :rank] = right * (longest / np.sqrt(hidden))
    return bfloat16_bytes(embeddings * (EMBEDDING_RMS * np.sqrt(hidden) / longest)), bfloat16_bytes(head)
