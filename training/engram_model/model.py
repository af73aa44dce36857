# SPDX-License-Identifier: Apache-2.0
"""The `model_type: engram` family in PyTorch: plain, dense, mixture of experts, both Engram modules, hyper-connections.

Module and parameter names are the tensor names of the checkpoint. Shapes: B rows of a batch, T positions, S residual
streams (`hc_mult`), d hidden size, m memory width, V vocabulary. A row of a batch may hold several sequences one after
the other; `Layout` says where each begins, and nothing looks across a border.
"""
import dataclasses
from typing import Dict, List, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from . import addressing, ops
from .config import EngramConfig, ModelConfig


@dataclasses.dataclass
class Layout:
    """Where sequences lie in a batch."""
    positions: torch.Tensor  # int64 [B,T], distance from the start of the token's own sequence
    attention_bias: torch.Tensor  # float [B,1,T,T]: 0 where t may see s, -inf elsewhere
    cos: torch.Tensor  # float [B,T,1,head_dim/2]
    sin: torch.Tensor


@dataclasses.dataclass
class Output:
    """What a forward pass leaves behind."""
    hidden: torch.Tensor  # [B,T,d] after the final norm
    gates: Dict[int, torch.Tensor]  # layer -> [B,T,S]
    layers: List[torch.Tensor]  # [B,T,S,d] before the first layer and after each; empty unless asked for
    balance: torch.Tensor  # scalar: load-balance loss of the experts


class RmsNorm(nn.Module):
    def __init__(self, *shape: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(*shape))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ops.rms_norm(x, self.weight, self.eps)


class Attention(nn.Module):
    """Grouped-query attention with rotate-half RoPE and optional per-head query/key norms (Qwen3)."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        self.q_proj = nn.Linear(c.hidden_size, self.heads * c.head_dim, bias=False)
        self.k_proj = nn.Linear(c.hidden_size, self.kv_heads * c.head_dim, bias=False)
        self.v_proj = nn.Linear(c.hidden_size, self.kv_heads * c.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * c.head_dim, c.hidden_size, bias=False)
        if c.qk_norm:
            self.q_norm = RmsNorm(c.head_dim, eps=c.rms_norm_eps)
            self.k_norm = RmsNorm(c.head_dim, eps=c.rms_norm_eps)
        self.qk_norm = c.qk_norm

    def forward(self, x: torch.Tensor, layout: Layout) -> torch.Tensor:
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, self.heads, self.head_dim)
        k = self.k_proj(x).view(b, t, self.kv_heads, self.head_dim)
        v = self.v_proj(x).view(b, t, self.kv_heads, self.head_dim)
        if self.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = ops.rotate(q, layout.cos, layout.sin), ops.rotate(k, layout.cos, layout.sin)
        group = self.heads // self.kv_heads
        if hasattr(F, "scaled_dot_product_attention") and x.device.type != "cpu":
            q, k, v = (y.to(v.dtype).transpose(1, 2) for y in (q, k.repeat_interleave(group, 2),
                                                               v.repeat_interleave(group, 2)))
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=layout.attention_bias.to(v.dtype))
            return self.o_proj(out.transpose(1, 2).reshape(b, t, -1))
        # [B*kv, group*T, head_dim]: the heads of a group share keys, so one product serves them all.
        q = q.view(b, t, self.kv_heads, group, self.head_dim).permute(0, 2, 3, 1, 4)
        q = q.reshape(-1, group * t, self.head_dim)
        k = k.permute(0, 2, 3, 1).reshape(-1, self.head_dim, t)
        v = v.transpose(1, 2).reshape(-1, t, self.head_dim)
        bias = layout.attention_bias.expand(b, self.kv_heads * group, t, t).reshape(-1, group * t, t)
        weights = torch.bmm(q * self.head_dim ** -0.5, k).add_(bias).softmax(-1)  # baddbmm took six times as long
        out = (weights @ v).view(b, self.kv_heads, group, t, self.head_dim).permute(0, 3, 1, 2, 4)
        return self.o_proj(out.reshape(b, t, -1))


class SwiGlu(nn.Module):
    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(ops.swiglu(self.gate_proj(x), self.up_proj(x)))


class Experts(nn.Module):
    """Softmax over all experts, top-k, optionally renormalised, plus an ungated shared expert (Qwen3-MoE)."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.top_k, self.renormalise = c.num_experts_per_tok, c.norm_topk_prob
        self.gate = nn.Linear(c.hidden_size, c.num_experts, bias=False)
        self.experts = nn.ModuleList(SwiGlu(c.hidden_size, c.moe_intermediate_size) for _ in range(c.num_experts))
        self.shared_experts = SwiGlu(c.hidden_size, c.moe_intermediate_size * c.n_shared_experts) \
            if c.n_shared_experts else None

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """x [B,T,d] -> (output [B,T,d], balance loss: E * sum over experts of share * mean probability; 1 is even)."""
        flat = x.reshape(-1, x.shape[-1])
        probabilities = self.gate(flat).softmax(-1)
        weights, chosen = probabilities.topk(self.top_k, -1)
        if self.renormalise:
            weights = weights / weights.sum(-1, keepdim=True)
        out = self.shared_experts(flat) if self.shared_experts is not None else torch.zeros_like(flat)
        for e, expert in enumerate(self.experts):
            token, slot = (chosen == e).nonzero(as_tuple=True)
            if token.numel():
                out = out.index_add(0, token, (expert(flat[token]) * weights[token, slot, None]).to(out.dtype))
        share = F.one_hot(chosen, len(self.experts)).sum(1).to(probabilities.dtype).mean(0) / self.top_k
        return out.view_as(x), len(self.experts) * (share * probabilities.mean(0)).sum()


class HyperConnection(nn.Module):
    """Mixes S residual streams into a site's input and back (manifold-constrained, Sinkhorn-normalised)."""

    def __init__(self, c: ModelConfig, head: bool = False) -> None:
        super().__init__()
        s, self.eps, self.norm_eps, self.iterations = c.hc_mult, c.hc_eps, c.rms_norm_eps, c.hc_sinkhorn_iters
        self.streams = s
        size = s if head else 2 * s + s * s
        self.fn = nn.Parameter(torch.zeros(size, s * c.hidden_size))
        self.base = nn.Parameter(torch.zeros(size))
        self.scale = nn.Parameter(torch.ones(1 if head else 3))

    def _mixes(self, streams: torch.Tensor) -> torch.Tensor:
        x = streams.flatten(-2)
        x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        x = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.norm_eps)
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x, self.fn)

    def collapse(self, streams: torch.Tensor) -> torch.Tensor:
        """The head: [B,T,S,d] -> [B,T,d]."""
        pre = torch.sigmoid(self._mixes(streams) * self.scale[0] + self.base) + self.eps
        return (streams * pre[..., None]).sum(-2).to(streams.dtype)

    def forward(self, streams: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[B,T,S,d] -> (site's input [B,T,d], post [B,T,S], C [B,T,S,S])."""
        s, m = self.streams, self._mixes(streams)
        pre = torch.sigmoid(m[..., :s] * self.scale[0] + self.base[:s]) + self.eps
        post = 2 * torch.sigmoid(m[..., s:2 * s] * self.scale[1] + self.base[s:2 * s])
        mix = (m[..., 2 * s:] * self.scale[2] + self.base[2 * s:]).unflatten(-1, (s, s)).softmax(-1) + self.eps
        mix = mix / (mix.sum(-2, keepdim=True) + self.eps)
        for _ in range(self.iterations - 1):
            mix = mix / (mix.sum(-1, keepdim=True) + self.eps)
            mix = mix / (mix.sum(-2, keepdim=True) + self.eps)
        return (streams * pre[..., None]).sum(-2).to(streams.dtype), post, mix

    @staticmethod
    def expand(out: torch.Tensor, streams: torch.Tensor, post: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
        """H'_k = post_k * out + sum_j C[j,k] * H_j."""
        mixed = torch.einsum("btjk,btjd->btkd", mix.to(streams.dtype), streams)
        return mixed + (post[..., None] * out[..., None, :]).to(streams.dtype)


class Table(nn.Module):
    """All rows of one layer; not a parameter of the backbone's optimiser."""

    def __init__(self, rows: int, head_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, head_dim), requires_grad=False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """rows int64 [B,T,columns] -> memory e [B,T,m]."""
        return F.embedding(rows, self.weight).flatten(-2)


def _gate(dot: torch.Tensor) -> torch.Tensor:
    root = torch.sqrt(dot.abs().clamp_min(1e-6))
    return torch.sigmoid(torch.where(dot >= 0, root, -root))


class PaperEngram(nn.Module):
    """Variant `paper` (arXiv 2601.07372, section 2.3): one key per stream, one value, gate, short convolution."""

    def __init__(self, c: ModelConfig, e: EngramConfig, num_rows: int) -> None:
        super().__init__()
        s, d = c.hc_mult, c.hidden_size
        self.eps, self.dilation = c.rms_norm_eps, e.max_ngram_size
        self.embed = Table(num_rows, e.head_dim)
        self.key_proj = nn.Linear(e.memory_width, s * d, bias=False)
        self.value_proj = nn.Linear(e.memory_width, d, bias=False)
        self.key_norm = RmsNorm(s, d, eps=c.rms_norm_eps)
        self.query_norm = RmsNorm(s, d, eps=c.rms_norm_eps)
        if e.kernel_size:
            self.conv_norm = RmsNorm(s, d, eps=c.rms_norm_eps)
            self.conv = nn.Module()
            self.conv.weight = nn.Parameter(torch.zeros(s * d, e.kernel_size))
        self.kernel_size = e.kernel_size

    def forward(self, streams: torch.Tensor, memory: torch.Tensor,
                positions: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """streams [B,T,S,d], memory [B,T,m] -> (what is added to the streams, gates [B,T,S])."""
        keys = self.key_norm(self.key_proj(memory).view_as(streams))
        dot = (keys * self.query_norm(streams)).sum(-1) * streams.shape[-1] ** -0.5
        gate = _gate(dot)
        value = gate[..., None] * self.value_proj(memory)[..., None, :]
        if not self.kernel_size:
            return value, gate
        convolved = ops.causal_conv(self.conv_norm(value).flatten(-2), self.conv.weight, self.dilation, positions)
        return value + F.silu(convolved).view_as(value), gate


class V41Engram(nn.Module):
    """Variant `deepseek_v41`: keys and value from one product, norms folded into the dot product, no convolution."""

    def __init__(self, c: ModelConfig, e: EngramConfig, num_rows: int) -> None:
        super().__init__()
        s, d = c.hc_mult, c.hidden_size
        self.eps = c.rms_norm_eps
        self.embed = Table(num_rows, e.head_dim)
        self.wkv = nn.Linear(e.memory_width, (s + 1) * d, bias=False)
        self.q_weight = nn.Parameter(torch.ones(s, d))
        self.k_weight = nn.Parameter(torch.ones(s, d))

    def forward(self, streams: torch.Tensor, memory: torch.Tensor,
                positions: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        d = streams.shape[-1]
        kv = self.wkv(memory)
        keys, value = kv[..., :-d].reshape(streams.shape), kv[..., None, -d:]
        dot = (streams * self.q_weight * self.k_weight * keys).sum(-1)
        dot = dot * torch.rsqrt((streams * streams).mean(-1) + self.eps)
        dot = dot * torch.rsqrt((keys * keys).mean(-1) + self.eps)
        gate = _gate(dot * d ** -0.5)
        return gate[..., None] * value, gate


class Layer(nn.Module):
    def __init__(self, c: ModelConfig, index: int, num_rows: Optional[int]) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(c.hidden_size, eps=c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RmsNorm(c.hidden_size, eps=c.rms_norm_eps)
        self.is_moe = c.is_moe_layer(index)
        self.mlp = Experts(c) if self.is_moe else SwiGlu(c.hidden_size, c.intermediate_size)
        self.has_streams = c.hc_mult > 1
        if self.has_streams:
            self.attn_hc, self.mlp_hc = HyperConnection(c), HyperConnection(c)
        if num_rows is not None:
            module = PaperEngram if c.engram.variant == "paper" else V41Engram
            self.engram = module(c, c.engram, num_rows)

    def forward(self, streams: torch.Tensor, layout: Layout) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
        streams = self._site(streams, "attn_hc", lambda x: self.self_attn(self.input_layernorm(x), layout))
        balance = None

        def mlp(x: torch.Tensor) -> torch.Tensor:
            nonlocal balance
            out = self.mlp(self.post_attention_layernorm(x))
            if self.is_moe:
                out, balance = out
            return out

        return self._site(streams, "mlp_hc", mlp), balance

    def _site(self, streams: torch.Tensor, connection: str, f) -> torch.Tensor:
        if not self.has_streams:
            return streams + f(streams[:, :, 0])[:, :, None]
        hc = getattr(self, connection)
        x, post, mix = hc(streams)
        return hc.expand(f(x), streams, post, mix)


class _Backbone(nn.Module):
    """Holds the names under `model.`."""

    def __init__(self, c: ModelConfig, num_rows: Dict[int, int]) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c, i, num_rows.get(i)) for i in range(c.num_hidden_layers))
        self.norm = RmsNorm(c.hidden_size, eps=c.rms_norm_eps)
        if c.hc_mult > 1:
            self.hc_head = HyperConnection(c, head=True)


class EngramModel(nn.Module):
    """The whole model. `compressed_map` int64 [V] is needed by models with Engram, and checked against the config."""

    def __init__(self, c: ModelConfig, compressed_map: Optional[torch.Tensor] = None) -> None:
        super().__init__()
        self.config = c
        self.addresses: Dict[int, addressing.LayerAddresses] = {}
        if c.engram is not None:
            if compressed_map is None:
                raise ValueError("a model with engram needs the tokenizer's compressed map")
            size = int(compressed_map.max()) + 1
            if size != c.engram.compressed_vocab_size or len(compressed_map) != c.vocab_size:
                raise ValueError("compressed map of %d tokens and %d ids; config.json says %d and %d"
                                 % (len(compressed_map), size, c.vocab_size, c.engram.compressed_vocab_size))
            self.addresses = addressing.layer_addresses(c.engram)
            self.register_buffer("compressed_map", compressed_map.long(), persistent=False)
        self.model = _Backbone(c, {layer: a.num_rows for layer, a in self.addresses.items()})
        if not c.tie_word_embeddings:
            self.lm_head = nn.Linear(c.hidden_size, c.vocab_size, bias=False)

    @property
    def head(self) -> torch.Tensor:
        """[V,d], tied or not."""
        return self.model.embed_tokens.weight if self.config.tie_word_embeddings else self.lm_head.weight

    def tables(self) -> Dict[int, torch.Tensor]:
        """Layer -> its rows [rows, head_dim]."""
        return {layer: self.model.layers[layer].engram.embed.weight for layer in self.addresses}

    def backbone_parameters(self) -> List[Tuple[str, nn.Parameter]]:
        """Everything the backbone's optimiser owns: all but the tables."""
        return [(n, p) for n, p in self.named_parameters() if p.requires_grad]

    def layout(self, positions: torch.Tensor) -> Layout:
        """positions int64 [B,T]: 0 wherever a sequence begins, counting up inside it."""
        c, dtype = self.config, self.model.norm.weight.dtype
        half = torch.arange(0, c.head_dim, 2, device=positions.device, dtype=torch.float64) / c.head_dim
        angles = positions.to(torch.float64)[..., None, None] * (c.rope_theta ** -half)
        index = torch.arange(positions.shape[1], device=positions.device)
        start = (index - positions)[:, :, None]  # first position that t may see
        visible = (index[None, None, :] >= start) & (index[None, None, :] <= index[None, :, None])
        bias = torch.zeros(visible.shape, dtype=dtype, device=positions.device).masked_fill_(~visible, float("-inf"))
        return Layout(positions, bias[:, None], angles.cos().to(dtype), angles.sin().to(dtype))

    def rows(self, tokens: torch.Tensor, positions: torch.Tensor) -> Dict[int, torch.Tensor]:
        """Layer -> row ids int64 [B,T,columns]; from token ids alone."""
        if not self.addresses:
            return {}
        e = self.config.engram
        ids = addressing.lookback(self.compressed_map[tokens], int(self.compressed_map[e.pad_token_id]),
                                  e.max_ngram_size, positions, torch.where)
        return {layer: addressing.hash_rows(ids, a, e.n_heads, torch.stack) for layer, a in self.addresses.items()}

    def lookup(self, rows: Dict[int, torch.Tensor]) -> Dict[int, torch.Tensor]:
        """Layer -> memory [B,T,m] from the model's own tables."""
        return {layer: self.model.layers[layer].engram.embed(r) for layer, r in rows.items()}

    def forward(self, tokens: torch.Tensor, layout: Layout, memory: Dict[int, torch.Tensor],
                memory_on: Optional[torch.Tensor] = None, keep_layers: bool = False) -> Output:
        """tokens int64 [B,T]; memory: layer -> [B,T,m], empty to switch Engram off.

        memory_on [B,T], optional: 0 switches Engram off for a token's whole sequence, 1 leaves it on.
        """
        c = self.config
        streams = self.model.embed_tokens(tokens)[:, :, None].expand(-1, -1, c.hc_mult, -1)
        layers, gates = [streams] if keep_layers else [], {}
        balance = torch.zeros((), device=tokens.device, dtype=torch.float32)
        for i, layer in enumerate(self.model.layers):
            if i in memory:
                added, gates[i] = layer.engram(streams, memory[i], layout.positions)
                if memory_on is not None:
                    added = added * memory_on[..., None, None]
                streams = streams + added
            streams, layer_balance = layer(streams, layout)
            if layer_balance is not None:
                balance = balance + layer_balance
            if keep_layers:
                layers.append(streams)
        return Output(self.final_hidden(streams), gates, layers, balance)

    def final_hidden(self, streams: torch.Tensor) -> torch.Tensor:
        """Streams [B,T,S,d] after any layer -> [B,T,d], ready for the head (the logit lens uses it in between)."""
        x = self.model.hc_head.collapse(streams) if self.config.hc_mult > 1 else streams[:, :, 0]
        return self.model.norm(x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.linear(hidden, self.head)

    def initialise(self, seed: int) -> None:
        """Normal 0.02 (residual outputs narrower by sqrt(2L)); convolutions zero; streams start as plain residuals."""
        generator = torch.Generator().manual_seed(seed)
        narrow = 0.02 / (2 * self.config.num_hidden_layers) ** 0.5
        with torch.no_grad():
            for name, p in self.named_parameters():
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    p.normal_(0, narrow, generator=generator)
                elif name.endswith("conv.weight"):
                    p.zero_()
                elif "_hc." in name or "hc_head." in name:
                    self._initialise_connection(name, p, generator)
                elif p.dim() > 1 and "norm" not in name and not name.endswith(("q_weight", "k_weight")):
                    p.normal_(0, 0.02, generator=generator)

    def _initialise_connection(self, name: str, p: torch.Tensor, generator: torch.Generator) -> None:
        s = self.config.hc_mult
        if name.endswith("fn"):
            p.normal_(0, 0.02, generator=generator)
        elif name.endswith("scale"):
            p.fill_(0.1)
        else:
            p.zero_()
            p[:s] = -torch.log(torch.tensor(float(s - 1)))  # pre: the mean of the streams
            if len(p) > s:
                p[2 * s:] = 6 * torch.eye(s).flatten()  # C close to the identity; post is 2 * sigmoid(0) = 1
