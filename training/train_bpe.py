#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Learns a byte-level BPE from a corpus and writes tokenizer.json.

  python3 training/train_bpe.py --corpus training/corpus/train.jsonl --thin reading=20 \\
      --out training/corpus/tokenizer.json
"""
import argparse
import collections
import json
from typing import Dict, Iterable, Iterator

from engram_model import bpe, corpus, tokenizer
from engram_model.progress import Progress

SPECIAL_TOKENS = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]


def thinned(documents: Iterable[Dict], every: Dict[str, int]) -> Iterator[str]:
    """Texts; of the kinds in `every`, the first of each N documents."""
    seen: collections.Counter = collections.Counter()
    for d in documents:
        if seen[d["kind"]] % every.get(d["kind"], 1) == 0:
            yield d["text"]
        seen[d["kind"]] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="JSON lines with a `text` each")
    parser.add_argument("--out", required=True, help="tokenizer.json to write")
    parser.add_argument("--vocab-size", type=int, default=4096, help="tokens, the special ones included")
    parser.add_argument("--thin", action="append", default=[], metavar="KIND=N",
                        help="take every N-th document of a kind: made-up text should not decide the tokens")
    args = parser.parse_args()
    progress = Progress("BPE", args.vocab_size - 256 - len(SPECIAL_TOKENS), "merges", every_seconds=5)
    every = {kind: int(n) for kind, _, n in (item.partition("=") for item in args.thin)}
    data = bpe.train(thinned(corpus.read_lines(args.corpus), every), args.vocab_size, SPECIAL_TOKENS, progress.show)
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(data, f, ensure_ascii=False)
    t = tokenizer.load(args.out)
    compressed = int(t.compressed_map().max()) + 1
    print("%s: %d tokens, %d compressed ids (%.1f %% fewer)"
          % (args.out, t.size, compressed, 100 * (1 - compressed / t.size)))


if __name__ == "__main__":
    main()
