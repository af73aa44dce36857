#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Learns a byte-level BPE from a corpus and writes tokenizer.json.

  python3 training/train_bpe.py --corpus training/corpus/train.jsonl --out training/corpus/tokenizer.json
"""
import argparse
import json

from engram_model import bpe, corpus, tokenizer
from engram_model.progress import Progress

SPECIAL_TOKENS = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="JSON lines with a `text` each")
    parser.add_argument("--out", required=True, help="tokenizer.json to write")
    parser.add_argument("--vocab-size", type=int, default=4096, help="tokens, the special ones included")
    args = parser.parse_args()
    progress = Progress("BPE", args.vocab_size - 256 - len(SPECIAL_TOKENS), "merges", every_seconds=5)
    texts = (d["text"] for d in corpus.read_lines(args.corpus))
    data = bpe.train(texts, args.vocab_size, SPECIAL_TOKENS, progress.show)
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(data, f, ensure_ascii=False)
    t = tokenizer.load(args.out)
    compressed = int(t.compressed_map().max()) + 1
    print("%s: %d tokens, %d compressed ids (%.1f %% fewer)"
          % (args.out, t.size, compressed, 100 * (1 - compressed / t.size)))


if __name__ == "__main__":
    main()
