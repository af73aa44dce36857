# SPDX-License-Identifier: Apache-2.0
"""Encoding and decoding against the reference tokenizer, and the BPE trainer on a tiny corpus."""
import collections
import json
import unittest

from paths import VECTORS
from engram_model import bpe, tokenizer


class ReferenceCases(unittest.TestCase):
    def test_encode_and_decode(self):
        t = tokenizer.load(VECTORS / "tokenizer.json")
        cases = json.loads((VECTORS / "encode_cases.json").read_text(encoding="utf-8"))
        for case in cases:
            with self.subTest(text=case["text"]):
                self.assertEqual(t.encode(case["text"]), case["ids"])
                self.assertEqual(t.decode(case["ids"]), case["decoded"])


def slow_merges(words, num_merges):
    """Byte-pair merges by recounting everything each time: the specification of `bpe.learn_merges`."""
    char = tokenizer.bytes_to_unicode()
    split = {tuple(char[b] for b in w.encode()): n for w, n in words.items()}
    merges = []
    ids = {c: i for i, c in enumerate(char.values())}
    for _ in range(num_merges):
        pairs = collections.Counter()
        for parts, n in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += n
        pairs = {p: n for p, n in pairs.items() if n >= 2}
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], ids[p[0]], ids[p[1]]))
        merges.append(best)
        ids.setdefault(best[0] + best[1], len(ids))
        merged = {}
        for parts, n in split.items():
            out, i = [], 0
            while i < len(parts):
                if parts[i:i + 2] == best:
                    out.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    out.append(parts[i])
                    i += 1
            merged[tuple(out)] = merged.get(tuple(out), 0) + n
        split = merged
    return merges


class Trainer(unittest.TestCase):
    TEXTS = ["the cat sat on the mat", "aaaaaa aaaa aaa", "the theatre, the others; Zürich über ü",
             "banana bandana"] * 3

    def test_merges_equal_a_full_recount(self):
        words = bpe.count_words(self.TEXTS)
        self.assertEqual(bpe.learn_merges(words, 60), slow_merges(words, 60))

    def test_written_tokenizer_round_trips(self):
        data = bpe.train(self.TEXTS, 300, ["<|endoftext|>", "<|pad|>"])
        t = tokenizer.Tokenizer(json.loads(json.dumps(data)))
        self.assertLessEqual(t.size, 300)
        self.assertEqual(t.raw[-2:], ["<|endoftext|>", "<|pad|>"])
        for text in self.TEXTS + ["unseen 漢字 \x00\n\n x"]:
            self.assertEqual(t.decode(t.encode(text)), text)
        self.assertLess(len(t.encode("the the")), 4)

    def test_shape_equals_the_reference_file(self):
        reference = json.loads((VECTORS / "tokenizer.json").read_text(encoding="utf-8"))
        data = bpe.train(self.TEXTS, 300, ["<|endoftext|>", "<|pad|>"])
        self.assertEqual(list(data), list(reference))
        for key in ("pre_tokenizer", "decoder", "normalizer", "post_processor"):
            self.assertEqual(data[key], reference[key])
        self.assertEqual(list(data["model"]), list(reference["model"]))
        self.assertEqual(list(data["added_tokens"][0]), list(reference["added_tokens"][0]))


if __name__ == "__main__":
    unittest.main()
