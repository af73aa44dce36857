# SPDX-License-Identifier: Apache-2.0
"""Reads and writes `.safetensors` with NumPy alone (format: 8-byte little-endian header length, JSON, raw bytes)."""
import dataclasses
import json
import os
import pathlib
import struct
from typing import Dict, Optional

import numpy as np

from . import quantize

# Storage element of each dtype; bf16 and the 8-bit floats are kept as raw bits, NumPy has no such types.
_STORAGE = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "F8_E4M3": "u1", "F8_E8M0": "u1",
            "I64": "<i8", "I32": "<i4", "U8": "u1"}
_MAX_HEADER_BYTES = 100 << 20


@dataclasses.dataclass
class StoredTensor:
    """One tensor as stored: `dtype` is safetensors' name, `bits` [shape] its raw storage elements."""
    dtype: str
    bits: np.ndarray

    def to_float32(self) -> np.ndarray:
        """The values; exact for every dtype but F64 and the integers. F8_E8M0 gives the scales 2^(code-127)."""
        if self.dtype == "BF16":
            return (self.bits.astype(np.uint32) << 16).view(np.float32)
        if self.dtype == "F8_E4M3":
            return quantize.e4m3_to_float32(self.bits)
        if self.dtype == "F8_E8M0":
            return quantize.e8m0_to_float32(self.bits)
        return self.bits.astype(np.float32)


def to_bf16(values: np.ndarray) -> StoredTensor:
    """Rounds finite float values to the nearest bf16, ties to even."""
    u = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (u + 0x7FFF + ((u >> 16) & 1)) >> 16
    return StoredTensor("BF16", rounded.astype(np.uint16))


def read(path: os.PathLike) -> Dict[str, StoredTensor]:
    """All tensors of one file; `bits` are read-only views of a memory map."""
    size = os.path.getsize(path)
    with open(path, "rb") as f:
        prefix = f.read(8)
        if len(prefix) < 8:
            raise ValueError("%s: %d bytes are too few for a header" % (path, size))
        (header_bytes,) = struct.unpack("<Q", prefix)
        if header_bytes > min(_MAX_HEADER_BYTES, size - 8):
            raise ValueError("%s: header of %d bytes in a file of %d" % (path, header_bytes, size))
        header = json.loads(f.read(header_bytes))
    data = np.memmap(path, dtype=np.uint8, mode="r")[8 + header_bytes:]
    out = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        if dtype not in _STORAGE:
            raise ValueError("%s: tensor %s: unsupported dtype %s" % (path, name, dtype))
        storage = np.dtype(_STORAGE[dtype])
        expected = int(np.prod(shape, dtype=np.int64)) * storage.itemsize
        if not 0 <= begin <= end <= len(data) or end - begin != expected:
            raise ValueError("%s: tensor %s: offsets %d..%d do not hold %d bytes" % (path, name, begin, end, expected))
        bits = np.frombuffer(data, storage, expected // storage.itemsize, begin)
        out[name] = StoredTensor(dtype, bits.reshape(shape))
    return out


def read_model(model_dir: os.PathLike) -> Dict[str, StoredTensor]:
    """All tensors of a model directory: `model.safetensors`, or the shards of its index."""
    folder = pathlib.Path(model_dir)
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return read(folder / "model.safetensors")
    with open(index, encoding="utf-8") as f:
        shards = sorted(set(json.load(f)["weight_map"].values()))
    out: Dict[str, StoredTensor] = {}
    for shard in shards:
        out.update(read(folder / shard))
    return out


def write(path: os.PathLike, tensors: Dict[str, StoredTensor], metadata: Optional[Dict[str, str]] = None) -> None:
    """Writes a file through a temporary name, so that readers see the old file or the whole new one."""
    header: Dict[str, object] = {"__metadata__": metadata or {"format": "pt"}}
    offset = 0
    order = sorted(tensors, key=lambda n: (-_item_size(tensors[n]), n))  # wide elements first keeps all aligned
    for name in order:
        t = tensors[name]
        num_bytes = t.bits.size * _item_size(t)
        header[name] = {"dtype": t.dtype, "shape": list(t.bits.shape), "data_offsets": [offset, offset + num_bytes]}
        offset += num_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = str(path) + ".tmp"
    with open(temporary, "wb") as f:
        f.write(struct.pack("<Q", len(text)))
        f.write(text)
        for name in order:
            t = tensors[name]
            f.write(np.ascontiguousarray(t.bits.astype(_STORAGE[t.dtype], copy=False)).tobytes())
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def _item_size(t: StoredTensor) -> int:
    return np.dtype(_STORAGE[t.dtype]).itemsize
