# SPDX-License-Identifier: Apache-2.0
"""Documents as tokens, and their packing into batches.

A corpus file is JSON lines: {"kind": .., "text": .., "answer_at": character where the answer begins, optional}.
Several documents share a row of a batch; the model keeps them apart (see model.Layout), so a document is seen in
training exactly as a request is when served. The order depends on (seed, epoch) alone: a position in it is two numbers.
"""
import bisect
import dataclasses
import json
import os
from typing import Dict, Iterator, List, Optional, Tuple

import numpy as np

from .tokenizer import Tokenizer

_OPEN_ROWS = 128  # rows considered for a document while packing


@dataclasses.dataclass
class Documents:
    """All documents of a file, end-of-text included."""
    tokens: np.ndarray  # int32 [total]
    starts: np.ndarray  # int64 [documents + 1]
    kinds: np.ndarray  # int16 [documents], index into kind_names
    answers: np.ndarray  # int32 [documents]: tokens before the answer
    kind_names: List[str]

    def __len__(self) -> int:
        return len(self.kinds)


@dataclasses.dataclass
class Batch:
    """Arrays [B,T]; `weights` is 0 on padding."""
    tokens: np.ndarray  # int64
    targets: np.ndarray  # int64, the token that follows
    positions: np.ndarray  # int64, distance from the document's start
    weights: np.ndarray  # float32
    memory_on: np.ndarray  # float32, 1 or 0
    kinds: np.ndarray  # int16, -1 on padding


def read_lines(path: os.PathLike) -> Iterator[Dict]:
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            try:
                document = json.loads(line)
                document["kind"], document["text"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError("%s:%d: not a document: %s" % (path, number, error)) from error
            yield document


def load(path: os.PathLike, tokenizer: Tokenizer, eos: int) -> Documents:
    """Tokenises a corpus file, about a million tokens in two seconds."""
    tokens: List[int] = []
    starts, kinds, answers, names = [0], [], [], {}
    for document in read_lines(path):
        text, at = document["text"], document.get("answer_at", 0)
        prompt = tokenizer.encode(text[:at])
        tokens += prompt + tokenizer.encode(text[at:])
        tokens.append(eos)
        starts.append(len(tokens))
        kinds.append(names.setdefault(document["kind"], len(names)))
        answers.append(len(prompt))
    return Documents(np.array(tokens, np.int32), np.array(starts, np.int64), np.array(kinds, np.int16),
                     np.array(answers, np.int32), list(names))


class Packer:
    """Endless batches of a corpus, from any position.

    Kinds in `slices` are spread over that many epochs instead of being repeated in each; from epoch `later_from` on
    those in `later_slices` over that many instead.
    memory_off: kind -> share of its documents seen with Engram switched off.
    memory_content_only: share of all documents that have no memory at the tokens marked in `function_tokens`
    (bool [vocab]), so that facts come from the memory of the words they are about.
    prompt_weight: kind -> weight of the loss on tokens before the answer (1 for kinds not named).
    """

    def __init__(self, documents: Documents, seed: int, batch_rows: int, row_tokens: int, pad: int,
                 slices: Optional[Dict[str, int]] = None, memory_off: Optional[Dict[str, float]] = None,
                 prompt_weight: Optional[Dict[str, float]] = None,
                 later_from: int = 0, later_slices: Optional[Dict[str, int]] = None,
                 memory_content_only: float = 0.0, function_tokens: Optional[np.ndarray] = None) -> None:
        if len(documents) == 0:
            raise ValueError("the corpus has no documents")
        self._d, self._seed, self._rows, self._width, self._pad = documents, seed, batch_rows, row_tokens, pad
        names = documents.kind_names
        later = {**(slices or {}), **(later_slices or {})}
        self._slices = np.array([[given.get(n, 1) for n in names] for given in (slices or {}, later)])
        self._later_from = later_from
        self._off = np.array([(memory_off or {}).get(n, 0.0) for n in names])
        self._content_only, self._function_tokens = memory_content_only, function_tokens
        self._weight = np.array([(prompt_weight or {}).get(n, 1.0) for n in names], np.float32)
        self._nth = np.zeros(len(documents), np.int64)  # a document's number within its kind
        for k in range(len(names)):
            own = documents.kinds == k
            self._nth[own] = np.arange(own.sum())
        self.epoch, self.row = 0, 0  # the next row to hand out
        self._packed: Optional[List[List[int]]] = None

    def state(self) -> Tuple[int, int]:
        return self.epoch, self.row

    def seek(self, epoch: int, row: int) -> None:
        self.epoch, self.row, self._packed = epoch, row, None

    def next_batch(self) -> Batch:
        shape = (self._rows, self._width)
        batch = Batch(np.full(shape, self._pad, np.int64), np.full(shape, self._pad, np.int64),
                      np.tile(np.arange(self._width), (self._rows, 1)), np.zeros(shape, np.float32),
                      np.ones(shape, np.float32), np.full(shape, -1, np.int16))
        for r in range(self._rows):
            at = 0
            for document in self._next_row():
                at = self._place(batch, r, at, document)
            batch.positions[r, at:] = np.arange(self._width - at)  # padding is a sequence of its own
        return batch

    def rows_in_epoch(self, epoch: int) -> List[List[int]]:
        """Documents of each row: best fit among the rows still open, in a shuffled order."""
        d = self._d
        rng = np.random.default_rng([self._seed, epoch])
        slices = self._slices[int(epoch >= self._later_from)][d.kinds]
        due = np.flatnonzero(self._nth % slices == epoch % slices)
        lengths = np.minimum(np.diff(d.starts) - 1, self._width)
        rows: List[List[int]] = []
        room: List[Tuple[int, int]] = []  # sorted (free positions, row)
        for document in rng.permutation(due):
            need = int(lengths[document])
            if need == 0:
                continue
            fit = bisect.bisect_left(room, (need, -1))
            if fit < len(room):
                free, row = room.pop(fit)
            else:
                free, row = self._width, len(rows)
                rows.append([])
            rows[row].append(int(document))
            if free > need:
                bisect.insort(room, (free - need, row))
            if len(room) > _OPEN_ROWS:
                room.pop(0)
        return rows

    def _next_row(self) -> List[int]:
        if self._packed is None:
            self._packed = self.rows_in_epoch(self.epoch)
        if self.row >= len(self._packed):
            self.epoch, self.row = self.epoch + 1, 0
            self._packed = self.rows_in_epoch(self.epoch)
        self.row += 1
        return self._packed[self.row - 1]

    def _place(self, batch: Batch, r: int, at: int, document: int) -> int:
        d = self._d
        start = d.starts[document]
        n = int(min(d.starts[document + 1] - start - 1, self._width))
        kind = d.kinds[document]
        here = slice(at, at + n)
        batch.tokens[r, here] = d.tokens[start:start + n]
        batch.targets[r, here] = d.tokens[start + 1:start + 1 + n]
        batch.positions[r, here] = np.arange(n)
        batch.weights[r, here] = 1
        batch.weights[r, at:at + min(n, max(0, int(d.answers[document]) - 1))] = self._weight[kind]
        if self._off[kind] > 0:
            off = np.random.default_rng([self._seed, 1, self.epoch, document]).random() < self._off[kind]
            batch.memory_on[r, here] = 0 if off else 1
        if self._content_only > 0:
            rng = np.random.default_rng([self._seed, 3, self.epoch, document])
            if rng.random() < self._content_only:
                batch.memory_on[r, here][self._function_tokens[batch.tokens[r, here]]] = 0
        batch.kinds[r, here] = kind
        return at + n
