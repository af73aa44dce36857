#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains a model of the Engram family from a configuration file; started again, it resumes from the last checkpoint.

  python3 training/train.py --config training/configs/lexicon.yaml --run-dir runs/lexicon

The run directory holds checkpoints, loss.jsonl (one line a step) and the configuration. A run that was killed continues
to the same loss curve, bit for bit on CPUs with the same number of threads. SIGTERM and SIGINT save and stop.
"""
import argparse
import dataclasses
import json
import math
import os
import pathlib
import platform
import signal
import sys
import time
from typing import Any, Dict, List, Optional

import torch
import yaml

from engram_model import checkpoint, config, corpus, measures, ops, tokenizer
from engram_model.model import EngramModel
from engram_model.progress import Progress
from engram_model.row_adam import RowAdam


@dataclasses.dataclass
class TrainConfig:
    """The `train` section of a configuration file."""
    steps: int
    seed: int = 1
    batch_rows: int = 32
    row_tokens: int = 128
    learning_rate: float = 3e-3
    table_lr_factor: float = 5.0  # tables learn at learning_rate * this, without weight decay (the paper's setting)
    betas: tuple = (0.9, 0.98)
    weight_decay: float = 0.05
    warmup_steps: int = 100
    final_lr_ratio: float = 0.02
    decay_steps: int = 0  # 0: the cosine begins after the warm-up; else the rate stays and falls in the last steps, so
    # that a run may be given more or fewer steps until it falls, and is what it would have been from the start
    clip: float = 1.0
    balance_loss: float = 0.01  # weight of the experts' load-balance loss
    gate_budget: float = 1.0  # mean gate of a layer above which gate_cost is due
    gate_cost: float = 0.0  # times the square of what is above the budget, a layer; makes gates compete
    gate_cost_from: int = 0  # first step with that cost
    held_out_every: int = 200
    held_out_batches: int = 4
    checkpoint_minutes: float = 5.0
    threads: int = 0  # 0: PyTorch's choice


class Run:
    """Everything a training step needs; `state` and `restore` are the checkpoint."""

    def __init__(self, settings: Dict[str, Any], device: str, base: pathlib.Path) -> None:
        self.train = TrainConfig(**settings["train"])
        data = settings["data"]
        self.tokenizer_path = _resolve(base, data["tokenizer"])
        t = tokenizer.load(self.tokenizer_path)
        compressed = torch.from_numpy(t.compressed_map())
        self.model_config = complete_model_config(settings["model"], t, int(compressed.max()) + 1)
        self.device = torch.device(device)
        self.model = EngramModel(self.model_config, compressed)
        self.model.initialise(self.train.seed)
        self.model.to(self.device)
        eos, pad = self.model_config.eos_token_id, self.model_config.pad_token_id
        common = dict(batch_rows=self.train.batch_rows, row_tokens=self.train.row_tokens, pad=pad)
        documents = corpus.load(_resolve(base, data["train"]), t, eos)
        self.packer = corpus.Packer(documents, self.train.seed, slices=data.get("slices"),
                                    memory_off=data.get("memory_off"), prompt_weight=data.get("prompt_weight"),
                                    later_from=data.get("later_from", 0), later_slices=data.get("later_slices"),
                                    memory_content_only=data.get("memory_content_only", 0.0),
                                    function_tokens=measures.function_tokens(t),
                                    **common)
        held_out = corpus.load(_resolve(base, data["held_out"]), t, eos)
        packer = corpus.Packer(held_out, 0, **common)
        batches = min(self.train.held_out_batches, max(1, len(packer.rows_in_epoch(0)) // self.train.batch_rows))
        self.held_out = [packer.next_batch() for _ in range(batches)]
        decayed = [p for n, p in self.model.backbone_parameters() if p.dim() > 1 and "norm" not in n and "_hc" not in n]
        kept = {id(p) for p in decayed}
        plain = [p for _, p in self.model.backbone_parameters() if id(p) not in kept]
        self.adam = torch.optim.AdamW([{"params": decayed, "weight_decay": self.train.weight_decay},
                                       {"params": plain, "weight_decay": 0.0}],
                                      lr=self.train.learning_rate, betas=tuple(self.train.betas), eps=1e-9)
        self.rows = RowAdam(self.model.tables(), tuple(self.train.betas))
        self.step, self.seconds = 0, 0.0
        self._autocast = self.device.type == "cuda"
        self._forward = self.model
        if self.device.type == "cuda" and hasattr(torch, "compile") and not self.model_config.num_experts:
            torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as it is
            self._forward = torch.compile(self.model)  # not for experts: they route by data, which would recompile

    def train_step(self) -> Dict[str, float]:
        """One optimiser step; returns what the log records."""
        rate = learning_rate(self.train, self.step)
        batch = self.packer.next_batch()
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.zero_grad(set_to_none=True)
        total, losses, out = self._loss(batch, True, train=True)
        objective = total + self.train.balance_loss * out.balance if self.model_config.num_experts else total
        if self.train.gate_cost and self.step >= self.train.gate_cost_from:
            used = torch.from_numpy((batch.kinds >= 0) * batch.memory_on).to(self.device)
            objective = objective + self.train.gate_cost * above_budget(out.gates, used, self.train.gate_budget)
        objective.backward()
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in self.model.backbone_parameters()], self.train.clip)
        self.adam.step()
        self.rows.step(rate * self.train.table_lr_factor)
        self.step += 1
        live = torch.from_numpy(batch.kinds.reshape(-1) >= 0).to(losses.device)
        return {"step": self.step, "loss": float(losses[live].mean()), "objective": float(total),
                "grad_norm": float(norm), "lr": rate, "tokens": int(live.sum())}

    @torch.no_grad()
    def held_out_loss(self, on: bool) -> float:
        """Mean cross entropy per token of the held-out batches."""
        total, count = 0.0, 0
        for batch in self.held_out:
            _, losses, _ = self._loss(batch, on, train=False)
            live = torch.from_numpy(batch.kinds.reshape(-1) >= 0).to(losses.device)
            total, count = total + float(losses[live].double().sum()), count + int(live.sum())
        return total / count

    def _loss(self, batch: corpus.Batch, on: bool, train: bool):
        tokens, targets, positions, weights, memory_on = (
            torch.from_numpy(a).to(self.device) for a in (batch.tokens, batch.targets, batch.positions, batch.weights,
                                                          batch.memory_on))
        rows = self.model.rows(tokens, positions) if on else {}
        memory = self.rows.gather(rows) if train else self.model.lookup(rows)
        some_off = train and not bool((memory_on > 0).all())
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
            out = self._forward(tokens, self.model.layout(positions), memory, memory_on if some_off else None)
            weights = weights.reshape(-1)
            total, losses = ops.head_loss(out.hidden.flatten(0, 1), self.model.head, targets.reshape(-1),
                                          weights / weights.sum())
        return total, losses, out

    def state(self) -> Dict[str, Any]:
        return {"step": self.step, "seconds": self.seconds, "order": self.packer.state(),
                "model": self.model.state_dict(), "adam": self.adam.state_dict(), "rows": self.rows.state_dict(),
                "rng": torch.get_rng_state(), "config": self.model_config.to_json()}

    def restore(self, state: Dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["adam"])
        self.rows.load_state_dict(state["rows"])
        self.packer.seek(*state["order"])
        torch.set_rng_state(state["rng"].cpu())
        self.step, self.seconds = state["step"], state["seconds"]


def learning_rate(c: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine to `final_lr_ratio`, over the last `decay_steps` alone if that is set."""
    begin = max(c.warmup_steps, c.steps - c.decay_steps) if c.decay_steps else c.warmup_steps
    if step < c.warmup_steps:
        return c.learning_rate * (step + 1) / c.warmup_steps
    done = min(1.0, max(0.0, (step - begin) / max(1, c.steps - begin)))
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return c.learning_rate * (c.final_lr_ratio + (1 - c.final_lr_ratio) * cosine)


def above_budget(gates: Dict[int, torch.Tensor], used: torch.Tensor, budget: float) -> torch.Tensor:
    """Squares of what each layer's mean gate is above the budget, summed up; gates [B,T,S], used [B,T] is 1 or 0."""
    count = used.sum().clamp_min(1)
    over = [(g.float().mean(-1) * used).sum() / count - budget for g in gates.values()]
    return sum(x.clamp_min(0) ** 2 for x in over)


def complete_model_config(values: Dict[str, Any], t: tokenizer.Tokenizer, compressed_size: int) -> config.ModelConfig:
    """Fills in what follows from the tokenizer."""
    values = dict(values)
    values.update(vocab_size=t.size, eos_token_id=t.added["<|endoftext|>"], pad_token_id=t.added["<|pad|>"])
    if values.get("engram"):
        values["engram"] = dict(values["engram"], pad_token_id=values["pad_token_id"],
                                compressed_vocab_size=compressed_size)
    return config.from_dict(values)


def load_settings(path: str, overrides: List[str]) -> Dict[str, Any]:
    """Reads a YAML (or JSON) file and applies `section.key=value` overrides."""
    with open(path, encoding="utf-8") as f:
        settings = yaml.safe_load(f)
    for override in overrides:
        key, _, value = override.partition("=")
        *parents, last = key.split(".")
        target = settings
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = yaml.safe_load(value)
    return settings


def _resolve(base: pathlib.Path, path: str) -> pathlib.Path:
    """Paths in a configuration are relative to training/."""
    return pathlib.Path(path) if os.path.isabs(path) else base / path


def _truncate_log(path: pathlib.Path, step: int) -> None:
    """Drops lines after the checkpoint: they will be made again, the same."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:
            break  # the line a kill cut short
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    os.replace(temporary, path)


def train(run: Run, run_dir: pathlib.Path, settings: Dict[str, Any], until: Optional[int], checkpoint_steps: int,
          show_seconds: float) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    saved = checkpoint.load_newest(run_dir)
    if saved:
        run.restore(saved)
        print("resumed at step %d" % run.step, flush=True)
    log_path = run_dir / "loss.jsonl"
    _truncate_log(log_path, run.step)
    (run_dir / "run.json").write_text(json.dumps(
        {"settings": settings, "model": run.model_config.to_json(), "tokenizer": str(run.tokenizer_path),
         "torch": torch.__version__, "device": _device_name(run.device), "threads": torch.get_num_threads(),
         "command": " ".join([os.path.basename(sys.executable)] + sys.argv)}, indent=1) + "\n", encoding="utf-8")
    stop: List[int] = []
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda number, _: stop.append(number))
    last_step = min(run.train.steps, until or run.train.steps)
    tokens = run.train.batch_rows * run.train.row_tokens
    progress = Progress("train", last_step, "tokens", tokens, run.step, show_seconds)
    begin, saved_at, saved_step = time.monotonic() - run.seconds, time.monotonic(), run.step
    with open(log_path, "a", encoding="utf-8") as log:
        while run.step < last_step and not stop:
            entry = run.train_step()
            if not math.isfinite(entry["loss"]):
                raise FloatingPointError("step %d: the loss is %s" % (run.step, entry["loss"]))
            if run.step % run.train.held_out_every == 0 or run.step == run.train.steps:
                entry["held_out_on"] = run.held_out_loss(True)
                if run.model_config.engram is not None:
                    entry["held_out_off"] = run.held_out_loss(False)
            run.seconds = time.monotonic() - begin
            log.write(json.dumps(entry) + "\n")
            log.flush()
            progress.show(run.step, "loss %.3f" % entry["loss"])
            due = time.monotonic() - saved_at > 60 * run.train.checkpoint_minutes
            if due or (checkpoint_steps and run.step % checkpoint_steps == 0):
                checkpoint.save(run_dir, run.step, run.state())
                saved_at, saved_step = time.monotonic(), run.step
    if saved_step != run.step:
        checkpoint.save(run_dir, run.step, run.state())
    for layer, count in run.rows.touched_rows().items():
        print("layer %d: %d of %d rows updated" % (layer, count, len(run.model.tables()[layer])))
    print("%s at step %d of %d" % ("stopped by signal" if stop else "done", run.step, run.train.steps), flush=True)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return "%s, %d threads" % (line.split(":", 1)[1].strip(), torch.get_num_threads())
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML or JSON file, see training/configs/")
    parser.add_argument("--run-dir", required=True, help="checkpoints and log; an existing run is resumed")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="override, e.g. train.steps=100 (repeatable)")
    parser.add_argument("--until", type=int, help="stop after this step; the schedule stays that of train.steps")
    parser.add_argument("--checkpoint-steps", type=int, default=0, help="also write a checkpoint every N steps")
    parser.add_argument("--show-seconds", type=float, default=30, help="seconds between progress lines in a log file")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    settings = load_settings(args.config, args.set)
    threads = settings["train"].get("threads", 0)
    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # attention weights underflow, and products of denormals are slow
    if args.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
    run = Run(settings, args.device, pathlib.Path(__file__).resolve().parent)
    tables = sum(t.numel() for t in run.model.tables().values())
    backbone = sum(p.numel() for _, p in run.model.backbone_parameters())
    print("%d backbone weights, %d memory weights, %s" % (backbone, tables, _device_name(run.device)), flush=True)
    train(run, pathlib.Path(args.run_dir), settings, args.until, args.checkpoint_steps, args.show_seconds)


if __name__ == "__main__":
    main()
