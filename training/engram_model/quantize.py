# SPDX-License-Identifier: Apache-2.0
"""Table rows as 8-bit floats: E4M3 codes with one power-of-two scale (E8M0) per 32 values.

value = e4m3(code) * 2^(scale - 127). E4M3 is the OCP FP8 format: no infinities, 0x7F and 0xFF are NaN, largest 448.
"""
from typing import Tuple

import numpy as np

GROUP = 32  # values that share one scale
_MAX_E4M3 = 448.0
_CHUNK_ROWS = 65536


def _decode_table() -> np.ndarray:
    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 15, (codes & 7).astype(np.float64)
    magnitude = np.where(exponent == 0, mantissa / 8 * 2.0 ** -6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    magnitude[(codes & 0x7F) == 0x7F] = np.nan
    return np.where(codes < 128, magnitude, -magnitude).astype(np.float32)


_E4M3 = _decode_table()
_MIDPOINTS = (_E4M3[:126].astype(np.float64) + _E4M3[1:127]) / 2  # between the 127 finite magnitudes


def e4m3_to_float32(codes: np.ndarray) -> np.ndarray:
    return _E4M3[codes]


def e8m0_to_float32(codes: np.ndarray) -> np.ndarray:
    """Scales 2^(code-127); code 255 is NaN."""
    return np.where(codes == 255, np.nan, np.ldexp(1.0, codes.astype(np.int32) - 127)).astype(np.float32)


def float_to_e4m3(values: np.ndarray) -> np.ndarray:
    """Nearest code, ties to the even code, saturating at 448. Not for NaN."""
    magnitude = np.abs(values.astype(np.float64))
    low = np.searchsorted(_MIDPOINTS, magnitude, side="left")
    tie = (magnitude == _MIDPOINTS[np.minimum(low, len(_MIDPOINTS) - 1)]) & (low % 2 == 1)
    return ((low + tie) | np.where(np.signbit(values), 128, 0)).astype(np.uint8)


def quantize_rows(rows: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """float rows [n, head_dim] -> codes u8 [n, head_dim], scales u8 [n, head_dim/32].

    The scale is the smallest power of two that keeps the group's largest magnitude at or below 448.
    """
    n, width = rows.shape
    if width % GROUP:
        raise ValueError("head_dim %d is not a multiple of %d" % (width, GROUP))
    codes = np.empty((n, width), np.uint8)
    scales = np.empty((n, width // GROUP), np.uint8)
    for start in range(0, n, _CHUNK_ROWS):
        part = rows[start:start + _CHUNK_ROWS].astype(np.float64).reshape(-1, width // GROUP, GROUP)
        largest = np.abs(part).max(axis=2)
        mantissa, exponent = np.frexp(largest / _MAX_E4M3)  # mantissa in [0.5, 1)
        exponent = np.where(mantissa == 0.5, exponent - 1, exponent)
        exponent = np.where(largest == 0, 0, np.clip(exponent, -127, 127))
        scaled = np.ldexp(part, -exponent[..., None])
        codes[start:start + _CHUNK_ROWS] = float_to_e4m3(scaled).reshape(-1, width)
        scales[start:start + _CHUNK_ROWS] = exponent + 127
    return codes, scales


def dequantize_rows(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """codes u8 [n, head_dim], scales u8 [n, head_dim/32] -> float32 [n, head_dim]; exact."""
    n, width = codes.shape
    values = _E4M3[codes].reshape(n, width // GROUP, GROUP) * e8m0_to_float32(scales)[..., None]
    return values.reshape(n, width).astype(np.float32)
