# SPDX-License-Identifier: Apache-2.0
"""From token ids to table rows: compressed ids, multipliers, primes, n-gram hashes. Integers, exact.

Formulas: the Engram paper (arXiv 2601.07372, section 2.2) and the code published with it; tests/vectors pins them.
"""
import bisect
import dataclasses
import unicodedata
from typing import Any, Dict, List, Sequence

import numpy as np

from . import unicode9
from .config import EngramConfig

# White_Space of the Unicode Character Database (unchanged since 6.3); Python's strip() also takes U+001C..U+001F.
_WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a" \
               "\u2028\u2029\u202f\u205f\u3000"
# Lower case assigned in Unicode 15.1 to 17.0, newer than Python 3.11's tables (14.0).
_NEW_LOWER = {0x1C89: 0x1C8A, 0xA7CB: 0x0264, 0xA7CC: 0xA7CD, 0xA7CE: 0xA7CF, 0xA7D2: 0xA7D3, 0xA7D4: 0xA7D5,
              0xA7DA: 0xA7DB, 0xA7DC: 0x019B}
_NEW_LOWER.update({c: c + 0x20 for c in range(0x10D50, 0x10D66)})  # Garay
_NEW_LOWER.update({c: c + 0x1B for c in range(0x16EA0, 0x16EB9)})  # Beria Erfe


def _unicode9_bounds() -> List[int]:
    """Sorted borders b: a code point c was assigned in 9.0 where bisect_right(b, c) is odd."""
    bounds, end = [], 0
    for word in unicode9.GAPS_AND_LENGTHS.split():
        gap, length = (int(part, 16) for part in word.split("."))
        bounds += [end + gap, end + gap + length]
        end += gap + length
    return bounds


_BOUNDS = _unicode9_bounds()


def _in_unicode9(c: str) -> bool:
    return bisect.bisect_right(_BOUNDS, ord(c)) % 2 == 1


def _is_unicode9_mark(c: str) -> bool:
    if c in "\u1cf2\u1cf3":  # Mc until version 12.0, Lo since
        return True
    if c == "\U000111c9":  # Po until version 11.0, Mn since
        return False
    return unicodedata.category(c)[0] == "M" and _in_unicode9(c)


def _lower(c: str) -> str:
    new = _NEW_LOWER.get(ord(c))
    return chr(new) if new is not None else c.lower()


def normalise(text: str) -> str:
    """The key of a token's text: NFKC, NFD, marks stripped, lower case, white space collapsed and stripped.

    The library that defined compressed ids decomposes and strips marks by Unicode 9.0, and lowers by Unicode 17.0.
    Composing before decomposing changes nothing once marks are stripped, so NFKD of each code point is enough.
    """
    folded = []
    for c in text:
        parts = unicodedata.normalize("NFKD", c) if ord(c) >= 0x80 and _in_unicode9(c) else c
        folded += [_lower(p) for p in parts if not _is_unicode9_mark(p)]
    collapsed, in_run = [], False
    for c in "".join(folded):
        space = c in " \t\r\n"
        if not (space and in_run):
            collapsed.append(" " if space else c)
        in_run = space
    result = "".join(collapsed)
    return result if result == " " else result.strip(_WHITE_SPACE)


def compressed_map(token_texts: Sequence[str], raw_tokens: Sequence[str]) -> np.ndarray:
    """int64 [vocab]: each token's compressed id, given to keys first-seen in token order.

    token_texts: every token decoded by itself; raw_tokens: its string in the vocabulary, the key of partial UTF-8.
    """
    ids: Dict[str, int] = {}
    out = np.empty(len(token_texts), np.int64)
    for i, (text, raw) in enumerate(zip(token_texts, raw_tokens)):
        key = raw if "\ufffd" in text else (normalise(text) or text)
        out[i] = ids.setdefault(key, len(ids))
    return out


def multipliers(config: EngramConfig, layer: int) -> np.ndarray:
    """int64 [N]: odd factors of lookback 0..N-1, by NumPy's default_rng (PCG64 seeded through SeedSequence)."""
    half = max(1, (2 ** 63 - 1) // config.compressed_vocab_size // 2)
    rng = np.random.default_rng(config.seed + 10007 * layer)
    return rng.integers(0, half, size=config.max_ngram_size, dtype=np.int64) * 2 + 1


def _is_prime(n: int) -> bool:
    if n < 2 or any(n % p == 0 for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37) if p < n):
        return False
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):  # deterministic Miller-Rabin below 3.3e24
        if base % n == 0:
            continue
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def primes(config: EngramConfig) -> Dict[int, List[int]]:
    """Layer -> rows of each column c = (n-2)*K + k: unused primes, rising within an order, over all layers."""
    used = set()
    out: Dict[int, List[int]] = {}
    for layer in config.layer_ids:
        out[layer] = []
        for order_rows in config.vocab_size:
            last = order_rows - 1
            for _ in range(config.n_heads):
                last += 1
                while last in used or not _is_prime(last):
                    last += 1
                used.add(last)
                out[layer].append(last)
    return out


@dataclasses.dataclass
class LayerAddresses:
    """Constants of one layer's table; `num_rows` is the sum of its primes."""
    multipliers: np.ndarray  # int64 [N]
    primes: np.ndarray  # int64 [columns]
    offsets: np.ndarray  # int64 [columns]
    num_rows: int


def layer_addresses(config: EngramConfig) -> Dict[int, LayerAddresses]:
    out = {}
    for layer, p in primes(config).items():
        offsets = np.concatenate([[0], np.cumsum(p)])
        out[layer] = LayerAddresses(multipliers(config, layer), np.array(p, np.int64), offsets[:-1].astype(np.int64),
                                    int(offsets[-1]))
    return out


def lookback(compressed: Any, pad: int, max_ngram_size: int, positions: Any, where: Any) -> List[Any]:
    """Compressed ids of t, t-1, .. t-(N-1), each [B,T]; the pad id where the sequence had not begun.

    compressed int64 [B,T]; positions int64 [B,T]: distance from the start of the token's own sequence, so that several
    sequences may share a row; `where` is numpy.where or torch.where. Works on both kinds of array.
    """
    out = [compressed]
    for i in range(1, max_ngram_size):
        shifted = compressed * 0 + pad
        shifted[:, i:] = compressed[:, :-i] if i < compressed.shape[1] else compressed[:, :0]
        out.append(where(positions >= i, shifted, compressed * 0 + pad))
    return out


def hash_rows(ids: List[Any], addresses: LayerAddresses, n_heads: int, stack: Any) -> Any:
    """Rows int64 [B,T,columns] of one layer from `lookback`'s ids; `stack` is numpy.stack or torch.stack.

    mix = XOR of id * multiplier (wrapping int64, never negative), row = mix mod prime + offset.
    """
    columns, mix = [], None
    for i, c in enumerate(ids):
        term = c * int(addresses.multipliers[i])
        mix = term if mix is None else mix ^ term
        if i == 0:
            continue
        for k in range(n_heads):
            column = (i - 1) * n_heads + k
            columns.append(mix % int(addresses.primes[column]) + int(addresses.offsets[column]))
    return stack(columns, -1)


def row_ids(compressed: np.ndarray, addresses: LayerAddresses, config: EngramConfig, pad: int) -> np.ndarray:
    """Rows int64 [T,columns] of one sequence of compressed ids [T]; pad: the pad token's compressed id."""
    compressed = np.asarray(compressed, np.int64)[None]
    positions = np.arange(compressed.shape[1], dtype=np.int64)[None]
    ids = lookback(compressed, pad, config.max_ngram_size, positions, np.where)
    return hash_rows(ids, addresses, config.n_heads, np.stack)[0]
