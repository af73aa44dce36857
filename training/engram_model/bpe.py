# SPDX-License-Identifier: Apache-2.0
"""Learns a byte-level BPE: pair counts are kept incrementally, the best pair comes from a heap with stale entries."""
import collections
import heapq
from typing import Callable, Dict, Iterable, List, Optional, Tuple

from . import tokenizer

_MIN_COUNT = 2  # a pair seen once is not worth a token


def count_words(texts: Iterable[str]) -> Dict[str, int]:
    """Pieces of the pre-tokenizer with their counts."""
    pattern = tokenizer.compile_pattern(tokenizer.SPLIT_PATTERN)
    counts: collections.Counter = collections.Counter()
    for text in texts:
        counts.update(pattern.findall(text))
    return counts


def learn_merges(words: Dict[str, int], num_merges: int,
                 on_progress: Optional[Callable[[int], None]] = None) -> List[Tuple[str, str]]:
    """The merges in order; the pair with the highest count wins, ties by the smaller token ids.

    Each merge touches only the words that hold its pair: O(total changes * log pairs) instead of a recount.
    """
    char = tokenizer.bytes_to_unicode()
    token_of_byte = {b: i for i, b in enumerate(char)}
    tokens = list(char.values())
    numbers = {token: i for i, token in enumerate(tokens)}
    sequences = [[token_of_byte[b] for b in w.encode()] for w in words]
    counts = list(words.values())
    pair_counts: collections.Counter = collections.Counter()
    holders: Dict[Tuple[int, int], set] = collections.defaultdict(set)
    for i, sequence in enumerate(sequences):
        for pair in zip(sequence, sequence[1:]):
            pair_counts[pair] += counts[i]
            holders[pair].add(i)
    heap = [(-n, pair) for pair, n in pair_counts.items()]
    heapq.heapify(heap)
    merges = []
    while heap and len(merges) < num_merges:
        negative, pair = heapq.heappop(heap)
        if pair_counts[pair] != -negative or -negative < _MIN_COUNT:
            continue  # stale: the pair's present count has its own entry
        text = tokens[pair[0]] + tokens[pair[1]]
        new = numbers.setdefault(text, len(tokens))  # two merges may spell the same token
        if new == len(tokens):
            tokens.append(text)
        merges.append((tokens[pair[0]], tokens[pair[1]]))
        changes: collections.Counter = collections.Counter()
        for i in holders.pop(pair):
            old = sequences[i]
            merged = _merge(old, pair, new)
            for p in zip(old, old[1:]):
                changes[p] -= counts[i]
            for p in zip(merged, merged[1:]):
                changes[p] += counts[i]
                holders[p].add(i)
            sequences[i] = merged
        for p, change in changes.items():
            if change:
                pair_counts[p] += change
                if pair_counts[p] > 0:
                    heapq.heappush(heap, (-pair_counts[p], p))
        if on_progress:
            on_progress(len(merges))
    return merges


def train(texts: Iterable[str], vocab_size: int, special_tokens: List[str],
          on_progress: Optional[Callable[[int], None]] = None) -> Dict:
    """The object of a `tokenizer.json` with at most `vocab_size` tokens, the special ones last."""
    bytes_ = list(tokenizer.bytes_to_unicode().values())
    merges = learn_merges(count_words(texts), vocab_size - len(bytes_) - len(special_tokens), on_progress)
    vocab = {token: i for i, token in enumerate(bytes_)}
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    added = [{"id": len(vocab) + i, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i, token in enumerate(special_tokens)]
    split = {"type": "Split", "pattern": {"Regex": tokenizer.SPLIT_PATTERN}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": [list(m) for m in merges]},
    }


def _merge(sequence: List[int], pair: Tuple[int, int], new: int) -> List[int]:
    out, i, last = [], 0, len(sequence) - 1
    while i <= last:
        if i < last and sequence[i] == pair[0] and sequence[i + 1] == pair[1]:
            out.append(new)
            i += 2
        else:
            out.append(sequence[i])
            i += 1
    return out
