# SPDX-License-Identifier: Apache-2.0
"""Operations with hand-written gradients.

On CPUs element-wise passes over memory, not matrix products, take most of a step at small widths, and autograd adds
its own; these versions save the least and work in place. On other devices the plain formulas are used, which
torch.compile fuses better. All are generic over float32 and float64.
"""
from typing import Any, Tuple

import torch
import torch.nn.functional as F

_LOSS_CHUNK = 256  # tokens whose logits are alive at once: 256 x 4,096 x 4 bytes stay in the caches


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        r = torch.rsqrt((x * x).mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, r)
        return (x * r).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Tuple:
        x, weight, r = ctx.saved_tensors
        normed = x * r
        grad_weight = (grad * normed).reshape(-1, *weight.shape).sum(0)
        scaled = grad * weight
        inner = (scaled * normed).mean(-1, keepdim=True)
        return scaled.sub_(normed.mul_(inner)).mul_(r), grad_weight, None


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x * rsqrt(mean(x^2) + eps) * weight over the last axis; weight [d] or [S,d] against x [..,S,d]."""
    if x.device.type == "cpu" and x.dtype == weight.dtype:
        return _RmsNorm.apply(x, weight, eps)
    high = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    return (high * torch.rsqrt((high * high).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


class _SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Tuple:
        gate, up = ctx.saved_tensors
        s = torch.sigmoid(gate)
        grad_up = grad * s * gate
        slope = (1 - s).mul_(gate).add_(1).mul_(s)
        return slope.mul_(grad).mul_(up), grad_up


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up."""
    return _SwiGlu.apply(gate, up) if gate.device.type == "cpu" else F.silu(gate) * up


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate_half(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Tuple:
        cos, sin = ctx.saved_tensors
        return _rotate_half(grad, cos, -sin), None, None


def _rotate_half(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    a, b = x.chunk(2, -1)
    out = torch.empty_like(x)
    half = a.shape[-1]
    torch.mul(a, cos, out=out[..., :half]).addcmul_(b, sin, value=-1)
    torch.mul(b, cos, out=out[..., half:]).addcmul_(a, sin)
    return out


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate-half RoPE: x [B,T,H,head_dim], cos and sin [B,T,1,head_dim/2]."""
    if x.device.type == "cpu" and x.dtype == cos.dtype:
        return _Rotate.apply(x, cos, sin)
    a, b = x.chunk(2, -1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class _CausalConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, dilation: int,
                positions: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight, positions)
        ctx.dilation = dilation
        return _conv_formula(x, weight, dilation, positions)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Tuple:
        x, weight, positions = ctx.saved_tensors
        taps = weight.shape[1]
        grad_x = grad * weight[:, taps - 1]
        grad_weight = torch.empty_like(weight)
        flat = (-1, grad.shape[-1])
        grad_weight[:, taps - 1] = (grad * x).reshape(flat).sum(0)
        for j in range(taps - 1):
            shift = (taps - 1 - j) * ctx.dilation
            if shift >= x.shape[1]:
                grad_weight[:, j] = 0
                continue
            live = grad[:, shift:] * (positions[:, shift:, None] >= shift)
            grad_weight[:, j] = (live * x[:, :-shift]).reshape(flat).sum(0)
            grad_x[:, :-shift] += live.mul_(weight[:, j])
        return grad_x, grad_weight, None, None


def _conv_formula(x: torch.Tensor, weight: torch.Tensor, dilation: int, positions: torch.Tensor) -> torch.Tensor:
    taps = weight.shape[1]
    out = x * weight[:, taps - 1]
    for j in range(taps - 1):
        shift = (taps - 1 - j) * dilation
        if shift < x.shape[1]:
            tap = x[:, :-shift] * weight[:, j] * (positions[:, shift:, None] >= shift)
            out[:, shift:] += tap
    return out


def causal_conv(x: torch.Tensor, weight: torch.Tensor, dilation: int, positions: torch.Tensor) -> torch.Tensor:
    """Depthwise causal convolution: x [B,T,C], weight [C,taps]; tap j reads t - (taps-1-j)*dilation.

    positions int64 [B,T]: distance from the start of the token's own sequence; nothing before it is read.
    """
    if x.device.type == "cpu" and x.dtype == weight.dtype:
        return _CausalConv.apply(x, weight, dilation, positions)
    return _conv_formula(x, weight.to(x.dtype), dilation, positions)


class _HeadLoss(torch.autograd.Function):
    """Cross entropy of hidden @ head^T without holding all logits; the gradients are made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor,
                weights: torch.Tensor) -> torch.Tensor:
        losses = torch.empty_like(weights)
        grad_hidden, grad_head = torch.empty_like(hidden), torch.zeros_like(head)
        rows = torch.arange(_LOSS_CHUNK)
        for start in range(0, hidden.shape[0], _LOSS_CHUNK):
            part = slice(start, min(start + _LOSS_CHUNK, hidden.shape[0]))
            target, weight = targets[part], weights[part]
            probabilities = torch.log_softmax(hidden[part] @ head.t(), 1)
            n = rows[:target.shape[0]]
            losses[part] = -probabilities[n, target]
            probabilities.exp_()
            probabilities[n, target] -= 1
            probabilities.mul_(weight[:, None])
            torch.mm(probabilities, head, out=grad_hidden[part])
            grad_head.addmm_(probabilities.t(), hidden[part])
        ctx.save_for_backward(grad_hidden, grad_head)
        ctx.mark_non_differentiable(losses)
        return (losses * weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> Tuple:
        grad_hidden, grad_head = ctx.saved_tensors
        return grad_hidden * grad, grad_head * grad, None, None


def head_loss(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor,
              weights: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """(sum of weight * cross entropy, each token's cross entropy [n]); hidden [n,d], head [V,d], targets int64 [n]."""
    if hidden.device.type == "cpu" and hidden.dtype == head.dtype:
        return _HeadLoss.apply(hidden, head, targets, weights)
    losses = F.cross_entropy(F.linear(hidden, head).float(), targets, reduction="none")
    return (losses * weights).sum(), losses.detach()
