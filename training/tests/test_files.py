# SPDX-License-Identifier: Apache-2.0
"""Row quantisation and safetensors: exact where they must be, bounded where they round."""
import pathlib
import struct
import tempfile
import unittest

import numpy as np

import paths  # noqa: F401  (puts the package on the path)
from engram_model import quantize, safetensors_io
from engram_model.safetensors_io import StoredTensor


class Quantise(unittest.TestCase):
    def test_every_finite_code_survives(self):
        codes = np.array([c for c in range(256) if c & 0x7F != 0x7F], np.uint8)
        self.assertEqual(quantize.float_to_e4m3(quantize.e4m3_to_float32(codes)).tolist(), codes.tolist())

    def test_rounding_is_to_nearest_ties_to_even(self):
        values = np.array([0.0, 2.0 ** -10, 1.5 * 2.0 ** -9, 1.0625, 1.1875, 447.9, 1e9, -1e9])
        expected = [0.0, 0.0, 2 * 2.0 ** -9, 1.0, 1.25, 448.0, 448.0, -448.0]
        self.assertEqual(quantize.e4m3_to_float32(quantize.float_to_e4m3(values)).tolist(), expected)

    def test_rows_round_trip_and_error_bound(self):
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(50, 64)) * np.exp2(rng.integers(-40, 40, size=(50, 1)))
        rows[3] = 0
        codes, scales = quantize.quantize_rows(rows)
        back = quantize.dequantize_rows(codes, scales)
        groups = np.abs(rows).reshape(50, 2, 32).max(2).repeat(32, 1).reshape(50, 64)
        # Half a step of a 3-bit mantissa, or of the smallest subnormal at the group's scale.
        bound = np.maximum(np.abs(rows) / 16, groups / 224 * 2.0 ** -9 / 2)
        self.assertTrue((np.abs(back - rows) <= bound + 1e-300).all())
        self.assertTrue((back[3] == 0).all())
        again, scales_again = quantize.quantize_rows(back)
        self.assertTrue((quantize.dequantize_rows(again, scales_again) == back).all())

    def test_largest_value_is_never_cut(self):
        row = np.zeros((1, 32))
        for largest in (448.0, 448.1, 896.0, 1.0, 3e-30):
            row[0, 5] = largest
            back = quantize.dequantize_rows(*quantize.quantize_rows(row))
            self.assertAlmostEqual(float(back[0, 5]) / largest, 1, delta=1 / 16)


class Safetensors(unittest.TestCase):
    def test_round_trip_of_every_dtype(self):
        rng = np.random.default_rng(1)
        tensors = {"a": safetensors_io.to_bf16(rng.normal(size=(3, 5))),
                   "b": StoredTensor("F32", rng.normal(size=(7,)).astype(np.float32)),
                   "c": StoredTensor("F8_E4M3", rng.integers(0, 255, (4, 32)).astype(np.uint8)),
                   "d": StoredTensor("F8_E8M0", rng.integers(0, 255, (4, 1)).astype(np.uint8)),
                   "e": StoredTensor("I64", np.array([1, -2])),
                   "empty": StoredTensor("F32", np.zeros((0, 4), np.float32))}
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "x.safetensors"
            safetensors_io.write(path, tensors)
            back = safetensors_io.read(path)
            self.assertEqual(set(back), set(tensors))
            for name, t in tensors.items():
                self.assertEqual(back[name].dtype, t.dtype)
                np.testing.assert_array_equal(back[name].bits, t.bits)
            del back

    def test_bf16_rounds_to_even(self):
        values = np.array([1.0, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -2.5, 3.0e38], np.float32)
        expected = np.array([1.0, 1.0, 1 + 4 * 2 ** -8, -2.5, 3.0e38], np.float32)
        back = safetensors_io.to_bf16(values).to_float32()
        np.testing.assert_array_equal(back[:4], expected[:4])
        self.assertAlmostEqual(float(back[4] / expected[4]), 1, delta=2 ** -8)

    def test_broken_files_are_refused_with_their_name(self):
        header = b'{"t":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
        broken = {"short": b"\x01\x02", "header": struct.pack("<Q", 1 << 40) + b"{}",
                  "data": struct.pack("<Q", len(header)) + header + b"\0" * 8}
        with tempfile.TemporaryDirectory() as folder:
            for name, content in broken.items():
                path = pathlib.Path(folder) / name
                path.write_bytes(content)
                with self.subTest(name), self.assertRaisesRegex(ValueError, name):
                    safetensors_io.read(path)


if __name__ == "__main__":
    unittest.main()
