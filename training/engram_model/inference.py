# SPDX-License-Identifier: Apache-2.0
"""Batched forward passes and greedy generation for evaluation; no KV cache, meant for short texts."""
from typing import Iterator, List, Optional, Sequence, Tuple

import torch

from .model import EngramModel, Output


def forward(model: EngramModel, sequences: Sequence[Sequence[int]], on: bool,
            keep_layers: bool = False,
            memory_on: Optional[Sequence[Sequence[float]]] = None) -> Tuple[Output, torch.Tensor]:
    """Token sequences, padded on the right -> (output, mask bool [B,T] of real tokens).

    memory_on: a 0 for each token whose memory is withheld, a 1 for the others; without it all have theirs.
    """
    device = model.model.norm.weight.device
    width = max(len(s) for s in sequences)
    tokens = torch.full((len(sequences), width), model.config.pad_token_id, dtype=torch.int64)
    mask = torch.zeros(tokens.shape, dtype=torch.bool)
    for i, s in enumerate(sequences):
        tokens[i, :len(s)] = torch.tensor(s)
        mask[i, :len(s)] = True
    tokens = tokens.to(device)
    positions = torch.arange(width, device=device).expand(len(sequences), -1).contiguous()
    memory = model.lookup(model.rows(tokens, positions)) if on else {}
    kept = None
    if memory_on is not None:
        kept = torch.ones(tokens.shape, device=device)
        for i, values in enumerate(memory_on):
            kept[i, :len(values)] = torch.tensor(values, device=device)
    return model(tokens, model.layout(positions), memory, kept, keep_layers), mask.to(device)


@torch.no_grad()
def greedy(model: EngramModel, prompts: Sequence[Sequence[int]], limits: Sequence[int], on: bool,
           batch_rows: int = 64) -> Iterator[List[int]]:
    """The continuation of each prompt, in order: at most `limits[i]` tokens, without the end-of-text token."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + limits[i])
    found: List[List[int]] = [[] for _ in prompts]
    eos = model.config.eos_token_id
    for start in range(0, len(order), batch_rows):
        live = [i for i in order[start:start + batch_rows] if limits[i] > 0]
        while live:
            out, mask = forward(model, [list(prompts[i]) + found[i] for i in live], on)
            last = mask.sum(1) - 1
            best = model.logits(out.hidden[torch.arange(len(live)), last]).argmax(-1).tolist()
            still = []
            for i, token in zip(live, best):
                if token == eos:
                    continue
                found[i].append(token)
                if len(found[i]) < limits[i]:
                    still.append(i)
            live = still
    yield from found
