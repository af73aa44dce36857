# SPDX-License-Identifier: Apache-2.0
"""Byte-level BPE: reads a `tokenizer.json`, encodes and decodes (the subset of that format such models use)."""
import functools
import json
import os
import re
import sys
import unicodedata
from typing import Dict, Iterable, List, Tuple

import numpy as np

from . import addressing

# How text is split before BPE; the pattern `train_bpe.py` writes.
SPLIT_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                 r"|\s*[\r\n]+|\s+(?!\S)|\s+")
_SPACES = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"  # White_Space


def bytes_to_unicode() -> Dict[int, str]:
    """GPT-2's printable stand-in for each byte, in the order byte tokens are numbered."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {b: chr(b) for b in printable}
    for n, b in enumerate(b for b in range(256) if b not in table):
        table[b] = chr(256 + n)
    return table


@functools.lru_cache(maxsize=None)
def _category_ranges(major: str) -> str:
    """The inside of a character class holding every code point of one major category (`L`, `N`, ...)."""
    parts, start = [], None
    for c in range(sys.maxunicode + 2):
        inside = c <= sys.maxunicode and unicodedata.category(chr(c))[0] == major
        if inside and start is None:
            start = c
        elif not inside and start is not None:
            parts.append("\\U%08x-\\U%08x" % (start, c - 1))
            start = None
    return "".join(parts)


@functools.lru_cache(maxsize=None)
def compile_pattern(pattern: str) -> "re.Pattern[str]":
    """Compiles a pattern of the tokenizers world with Python's `re`: \\p{X}, \\s and \\S become explicit classes."""
    out, in_class, i = [], False, 0
    while i < len(pattern):
        property_ = re.match(r"\\p\{([A-Z])\}", pattern[i:])
        if property_:
            inside = _category_ranges(property_.group(1))
            i += property_.end()
        elif pattern.startswith("\\s", i):
            inside = _SPACES
            i += 2
        elif pattern.startswith("\\S", i) and not in_class:
            out.append("[^%s]" % _SPACES)
            i += 2
            continue
        elif pattern[i] == "\\":
            out.append(pattern[i:i + 2])
            i += 2
            continue
        else:
            in_class = pattern[i] == "[" or (in_class and pattern[i] != "]")
            out.append(pattern[i])
            i += 1
            continue
        out.append(inside if in_class else "[%s]" % inside)
    return re.compile("".join(out))


class Tokenizer:
    """Encodes and decodes; immutable after construction but for a cache of words already merged."""

    def __init__(self, data: Dict) -> None:
        model = data["model"]
        if model["type"] != "BPE":
            raise ValueError("tokenizer.json: model.type %r is not BPE" % model["type"])
        self.vocab: Dict[str, int] = model["vocab"]
        merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
        self._ranks: Dict[Tuple[str, str], int] = {m: i for i, m in enumerate(merges)}
        self.added: Dict[str, int] = {t["content"]: t["id"] for t in data.get("added_tokens", [])}
        self.size = 1 + max(max(self.vocab.values()), max(self.added.values(), default=-1))
        self.raw = [""] * self.size  # each token's string in the vocabulary
        for token, i in list(self.vocab.items()) + list(self.added.items()):
            self.raw[i] = token
        self._added_ids = set(self.added.values())
        self._to_char = bytes_to_unicode()
        self._to_byte = {c: b for b, c in self._to_char.items()}
        self._pattern = compile_pattern(_split_pattern(data))
        self._split_added = re.compile("(%s)" % "|".join(
            re.escape(t) for t in sorted(self.added, key=len, reverse=True))) if self.added else None
        self._words: Dict[str, List[int]] = {}

    def encode(self, text: str) -> List[int]:
        """Token ids of `text`; added tokens are recognised anywhere in it."""
        out: List[int] = []
        for piece in self._split_added.split(text) if self._split_added else [text]:
            if piece in self.added:
                out.append(self.added[piece])
                continue
            for match in self._pattern.finditer(piece):
                out += self._encode_word(match.group())
        return out

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids, added tokens included; invalid UTF-8 becomes U+FFFD."""
        pieces = []
        for i in ids:
            token = self.raw[i]
            pieces.append(token.encode() if i in self._added_ids else bytes(self._to_byte[c] for c in token))
        return b"".join(pieces).decode("utf-8", errors="replace")

    def compressed_map(self) -> np.ndarray:
        """int64 [size]: compressed id of each token (see `addressing.compressed_map`)."""
        return addressing.compressed_map([self.decode([i]) for i in range(self.size)], self.raw)

    def _encode_word(self, word: str) -> List[int]:
        cached = self._words.get(word)
        if cached is not None:
            return cached
        parts = [self._to_char[b] for b in word.encode()]
        while len(parts) > 1:
            rank, at = min((self._ranks.get(pair, sys.maxsize), i) for i, pair in enumerate(zip(parts, parts[1:])))
            if rank == sys.maxsize:
                break
            parts[at:at + 2] = [parts[at] + parts[at + 1]]
        ids = [self.vocab[p] for p in parts]
        self._words[word] = ids
        return ids


def _split_pattern(data: Dict) -> str:
    pre = data["pre_tokenizer"]
    for step in pre.get("pretokenizers", [pre]):
        if step["type"] == "Split":
            return step["pattern"]["Regex"]
    raise ValueError("tokenizer.json: pre_tokenizer has no Split step")


def load(path: os.PathLike) -> Tokenizer:
    """Reads a `tokenizer.json`."""
    with open(path, encoding="utf-8") as f:
        return Tokenizer(json.load(f))
