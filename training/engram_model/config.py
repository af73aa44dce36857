# SPDX-License-Identifier: Apache-2.0
"""Configuration of a model: the fields of `config.json` with their defaults, checked once."""
import dataclasses
import json
import pathlib
from typing import Any, Dict, List, Optional


@dataclasses.dataclass
class EngramConfig:
    """The `engram` object: geometry of the tables and of the module that reads them."""
    layer_ids: List[int]
    vocab_size: List[int]  # rows asked for per head, one number per order 2..max_ngram_size
    variant: str = "paper"  # or "deepseek_v41"
    max_ngram_size: int = 3
    n_heads: int = 4
    head_dim: int = 32
    pad_token_id: int = 0
    compressed_vocab_size: int = 0
    kernel_size: int = 4
    seed: int = 0

    @property
    def num_columns(self) -> int:
        """Rows read per position: (N-1) * K."""
        return (self.max_ngram_size - 1) * self.n_heads

    @property
    def memory_width(self) -> int:
        """m = (N-1) * K * head_dim."""
        return self.num_columns * self.head_dim


@dataclasses.dataclass
class ModelConfig:
    """`config.json` of `model_type: engram`; names follow Qwen3 and Qwen3-MoE."""
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    max_position_embeddings: int = 512
    tie_word_embeddings: bool = True
    qk_norm: bool = True
    eos_token_id: int = 0
    pad_token_id: int = 0
    hc_mult: int = 1
    hc_sinkhorn_iters: int = 20
    hc_eps: float = 1e-6
    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    n_shared_experts: int = 0
    norm_topk_prob: bool = True
    first_k_dense_replace: int = 0
    engram: Optional[EngramConfig] = None

    def __post_init__(self) -> None:
        if isinstance(self.engram, dict):
            self.engram = EngramConfig(**_known(EngramConfig, self.engram))
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads: %d is not a multiple of num_key_value_heads %d"
                             % (self.num_attention_heads, self.num_key_value_heads))
        if self.hc_mult < 1:
            raise ValueError("hc_mult: %d is below 1" % self.hc_mult)
        if self.engram is None:
            return
        e = self.engram
        if e.variant not in ("paper", "deepseek_v41"):
            raise ValueError("engram.variant: unknown %r" % e.variant)
        if len(e.vocab_size) != e.max_ngram_size - 1:
            raise ValueError("engram.vocab_size: %d numbers for orders 2..%d" % (len(e.vocab_size), e.max_ngram_size))
        if any(not 0 <= layer < self.num_hidden_layers for layer in e.layer_ids):
            raise ValueError("engram.layer_ids: %s outside 0..%d" % (e.layer_ids, self.num_hidden_layers - 1))

    def is_moe_layer(self, layer: int) -> bool:
        return self.num_experts > 0 and layer >= self.first_k_dense_replace

    def to_json(self) -> Dict[str, Any]:
        """The object written to `config.json`."""
        out: Dict[str, Any] = {"model_type": "engram", "architectures": ["EngramForCausalLM"], "hidden_act": "silu",
                               "torch_dtype": "bfloat16"}
        out.update(dataclasses.asdict(self))
        if self.num_experts == 0:
            for key in ("num_experts", "num_experts_per_tok", "moe_intermediate_size", "n_shared_experts",
                        "norm_topk_prob", "first_k_dense_replace"):
                del out[key]
        if self.hc_mult == 1:
            del out["hc_sinkhorn_iters"], out["hc_eps"]
        if self.engram is None:
            del out["engram"]
        return out


def _known(cls: Any, values: Dict[str, Any]) -> Dict[str, Any]:
    names = {f.name for f in dataclasses.fields(cls)}
    return {k: v for k, v in values.items() if k in names}


def from_dict(values: Dict[str, Any]) -> ModelConfig:
    """Builds a checked configuration; keys of other software are ignored."""
    values = dict(values)
    if "head_dim" not in values:
        values["head_dim"] = values["hidden_size"] // values["num_attention_heads"]
    return ModelConfig(**_known(ModelConfig, values))


def load(model_dir: str) -> ModelConfig:
    """Reads `config.json` of a model directory."""
    with open(pathlib.Path(model_dir) / "config.json", encoding="utf-8") as f:
        return from_dict(json.load(f))
