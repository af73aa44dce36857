# SPDX-License-Identifier: Apache-2.0
"""Adam for table rows: only rows a batch touched are read, given a gradient and updated.

First moment per value, second moment one number per row (mean square of the row's gradient), bias correction by the
row's own number of updates, no weight decay. State: float32 [rows, head_dim] and [rows], int32 [rows] per table.
"""
from typing import Dict, List, Tuple

import torch
import torch.nn.functional as F


class RowAdam:
    """Owns the optimiser state of all tables; updates the tables in place. One thread."""

    def __init__(self, tables: Dict[int, torch.Tensor], betas: Tuple[float, float], eps: float = 1e-12) -> None:
        self._tables, self._betas, self._eps = tables, betas, eps
        self._first = {k: torch.zeros_like(t) for k, t in tables.items()}
        self._second = {k: torch.zeros(len(t), device=t.device) for k, t in tables.items()}
        self._updates = {k: torch.zeros(len(t), dtype=torch.int32, device=t.device) for k, t in tables.items()}
        self._touched: List[Tuple[int, torch.Tensor, torch.Tensor]] = []

    def gather(self, rows: Dict[int, torch.Tensor]) -> Dict[int, torch.Tensor]:
        """Row ids int64 [B,T,columns] -> memory [B,T,m] whose gradient `step` will apply to the distinct rows."""
        self._touched = []
        memory = {}
        for layer, ids in rows.items():
            distinct, inverse = torch.unique(ids, return_inverse=True)
            leaf = self._tables[layer][distinct].requires_grad_()
            self._touched.append((layer, distinct, leaf))
            memory[layer] = F.embedding(inverse, leaf).flatten(-2)
        return memory

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Applies the gradients of the last `gather`."""
        b1, b2 = self._betas
        for layer, distinct, leaf in self._touched:
            grad = leaf.grad
            updates = self._updates[layer][distinct] + 1
            first = self._first[layer][distinct].mul_(b1).add_(grad, alpha=1 - b1)
            second = self._second[layer][distinct].mul_(b2).add_((grad * grad).mean(-1), alpha=1 - b2)
            self._updates[layer][distinct], self._first[layer][distinct] = updates, first
            self._second[layer][distinct] = second
            power = updates.to(torch.float32)
            root = (second / (1 - b2 ** power)).sqrt_().add_(self._eps)
            scale = learning_rate / ((1 - b1 ** power) * root)
            self._tables[layer][distinct] = leaf - first * scale[:, None]
        self._touched = []

    def touched_rows(self) -> Dict[int, int]:
        """Layer -> rows updated at least once."""
        return {layer: int((u > 0).sum()) for layer, u in self._updates.items()}

    def state_dict(self) -> Dict:
        return {"first": self._first, "second": self._second, "updates": self._updates}

    def load_state_dict(self, state: Dict) -> None:
        for own, saved in ((self._first, state["first"]), (self._second, state["second"]),
                           (self._updates, state["updates"])):
            for layer, tensor in own.items():
                tensor.copy_(saved[layer])
