# SPDX-License-Identifier: Apache-2.0
"""A model directory (`config.json`, `tokenizer.json`, `model.safetensors`) as an `EngramModel`, and back."""
import json
import os
import pathlib
import shutil
from typing import Dict, Optional

import numpy as np
import torch

from . import config, quantize, safetensors_io, tokenizer
from .model import EngramModel

_EMBED = ".engram.embed.weight"
CHAT_TEMPLATE = ("{% for m in messages %}{% if m['role'] == 'user' %}Question: {{ m['content'] }} "
                 "{% elif m['role'] == 'assistant' %}Answer: {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
                 "{% if add_generation_prompt %}Answer:{% endif %}")


def load(model_dir: os.PathLike, tokenizer_path: Optional[os.PathLike] = None,
         dtype: torch.dtype = torch.float32) -> EngramModel:
    """Reads a model; every tensor of the model must be in the file, and none besides."""
    c = config.load(str(model_dir))
    compressed = None
    if c.engram is not None:
        path = tokenizer_path or pathlib.Path(model_dir) / "tokenizer.json"
        compressed = torch.from_numpy(tokenizer.load(path).compressed_map())
    model = EngramModel(c, compressed).to(dtype)
    stored = safetensors_io.read_model(model_dir)
    state = {}
    for name, tensor in stored.items():
        if name.endswith(".embed.scale"):
            continue
        if tensor.dtype == "F8_E4M3":
            values = quantize.dequantize_rows(tensor.bits, stored[name.replace("embed.weight", "embed.scale")].bits)
        else:
            values = tensor.to_float32()
        state[name] = torch.from_numpy(np.ascontiguousarray(values)).to(dtype)
    model.load_state_dict(state, strict=True)
    return model.eval()


def to_stored(model: EngramModel, table_format: str) -> Dict[str, safetensors_io.StoredTensor]:
    """Tensors as they are shipped: bf16, hyper-connections f32, tables `bf16` or `fp8` (E4M3 and E8M0 scales)."""
    out = {}
    for name, value in model.state_dict().items():
        array = value.detach().float().cpu().numpy()
        if name.endswith(_EMBED) and table_format == "fp8":
            codes, scales = quantize.quantize_rows(array)
            out[name] = safetensors_io.StoredTensor("F8_E4M3", codes)
            out[name.replace("embed.weight", "embed.scale")] = safetensors_io.StoredTensor("F8_E8M0", scales)
        elif "_hc." in name or "hc_head." in name:
            out[name] = safetensors_io.StoredTensor("F32", array)
        else:
            out[name] = safetensors_io.to_bf16(array)
    return out


def save(model: EngramModel, out_dir: os.PathLike, tokenizer_path: os.PathLike, table_format: str = "fp8") -> None:
    """Writes a directory that engramd serves."""
    folder = pathlib.Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    t = tokenizer.load(tokenizer_path)
    safetensors_io.write(folder / "model.safetensors", to_stored(model, table_format))
    if os.path.abspath(tokenizer_path) != os.path.abspath(folder / "tokenizer.json"):
        shutil.copyfile(tokenizer_path, folder / "tokenizer.json")
    template = {"eos_token": t.raw[model.config.eos_token_id], "pad_token": t.raw[model.config.pad_token_id],
                "add_bos_token": False, "chat_template": CHAT_TEMPLATE}
    for name, value in (("config.json", model.config.to_json()), ("tokenizer_config.json", template)):
        (folder / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
