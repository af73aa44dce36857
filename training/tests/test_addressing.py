# SPDX-License-Identifier: Apache-2.0
"""Addresses against the reference vectors: all exact."""
import json
import unittest

import numpy as np

from paths import VECTORS
from engram_model import addressing, config, tokenizer


class Normalise(unittest.TestCase):
    def test_every_code_point_of_the_vector(self):
        cases = json.loads((VECTORS / "normalize.json").read_text(encoding="utf-8"))["map"]
        # The vector lists single characters before white space is stripped; a space alone survives either way.
        wrong = {hex(int(c)): (addressing.normalise(chr(int(c))), expected) for c, expected in cases.items()
                 if addressing.normalise(chr(int(c))) != (expected if expected == " " else expected.strip())}
        self.assertEqual(wrong, {})
        self.assertGreater(len(cases), 3000)

    def test_white_space(self):
        self.assertEqual(addressing.normalise(" \t\n "), " ")
        self.assertEqual(addressing.normalise("\u00a0"), " ")
        self.assertEqual(addressing.normalise(" A\r\n b "), "a b")
        self.assertEqual(addressing.normalise("\x1cx\x1c"), "\x1cx\x1c")  # no White_Space, although str.strip takes it


class CompressedMap(unittest.TestCase):
    def test_map_of_the_reference_tokenizer(self):
        expected = json.loads((VECTORS / "compressed_map.json").read_text())
        built = tokenizer.load(VECTORS / "tokenizer.json").compressed_map()
        self.assertEqual(int(built.max()) + 1, expected["compressed_vocab_size"])
        self.assertEqual(built.tolist(), expected["map"])


class FullSizeHashes(unittest.TestCase):
    def test_constants_and_rows(self):
        vectors = json.loads((VECTORS / "hash_full_size.json").read_text())
        for name, vector in vectors.items():
            with self.subTest(model=name):
                geometry = config.EngramConfig(**vector["engram"])
                geometry.compressed_vocab_size = vector["compressed_vocab_size"]
                layers = addressing.layer_addresses(geometry)
                for layer, addresses in layers.items():
                    self.assertEqual([str(m) for m in addresses.multipliers], vector["multipliers"][str(layer)])
                    self.assertEqual(addresses.primes.tolist(), vector["primes"][str(layer)])
                    self.assertEqual(addresses.num_rows, vector["num_rows"][str(layer)])
                    for sequence in vector["sequences"]:
                        rows = addressing.row_ids(np.array(sequence["compressed_ids"]), addresses, geometry,
                                                  geometry.pad_token_id)
                        self.assertEqual(rows.tolist(), sequence["rows"][str(layer)])

    def test_sequences_that_share_a_row_do_not_see_each_other(self):
        geometry = config.EngramConfig(layer_ids=[0], vocab_size=[101, 203], compressed_vocab_size=50, n_heads=2)
        addresses = addressing.layer_addresses(geometry)[0]
        a, b = np.array([3, 1, 4, 1]), np.array([5, 9, 2])
        packed = np.concatenate([a, b])[None]
        positions = np.array([[0, 1, 2, 3, 0, 1, 2]])
        ids = addressing.lookback(packed, 7, 3, positions, np.where)
        rows = addressing.hash_rows(ids, addresses, 2, np.stack)[0]
        alone = np.concatenate([addressing.row_ids(x, addresses, geometry, 7) for x in (a, b)])
        self.assertEqual(rows.tolist(), alone.tolist())


if __name__ == "__main__":
    unittest.main()
