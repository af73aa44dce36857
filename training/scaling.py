#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains a series of models that differ in one thing, and writes a table and a plot of their held-out losses.

  python3 training/scaling.py --sweep tables --config training/configs/lexicon.yaml --runs runs/tables
  python3 training/scaling.py --sweep split --config training/configs/lexicon.yaml --runs runs/split
  python3 training/scaling.py --sweep parts --config training/configs/lexicon.yaml --runs runs/parts

tables: the backbone fixed, the memory 1/8, 1/4, 1/2 and 1 of the configuration's rows: does the loss fall with the
logarithm of the slots? split: a fixed budget of sparse weights divided between experts and memory, four ways (after the
U-curve of arXiv 2601.07372): is there a best share? parts: the configuration, the same with four streams, with
experts that hold as many weights as its feed-forward layers, and without memory. A killed sweep goes on where it was.
Meant for a GPU; on CPUs take a small configuration (configs/sweep.yaml).
"""
import argparse
import copy
import json
import pathlib
import subprocess
import sys
from typing import Any, Dict, List, Tuple

import yaml

from engram_model import plots

_HERE = pathlib.Path(__file__).resolve().parent
_TABLE_SHARES = (0.125, 0.25, 0.5, 1.0)
_EXPERT_SHARES = (1.0, 0.75, 0.5, 0.25)
_LABELS = {"tables": "memory weights", "split": "share of sparse weights in experts",
           "parts": "1 dense, 2 four streams, 3 experts, 4 plain"}


def memory_weights(model: Dict[str, Any]) -> int:
    """Weights of all tables, but for the rounding up to primes."""
    e = model.get("engram")
    return len(e["layer_ids"]) * e["n_heads"] * sum(e["vocab_size"]) * e["head_dim"] if e else 0


def with_table_share(settings: Dict[str, Any], share: float) -> Dict[str, Any]:
    out = copy.deepcopy(settings)
    e = out["model"]["engram"]
    e["vocab_size"] = [max(16, round(rows * share)) for rows in e["vocab_size"]]
    return out


def with_expert_share(settings: Dict[str, Any], share: float) -> Dict[str, Any]:
    """Experts hold `share` of the configuration's memory weights, the tables the rest; two experts act on a token."""
    budget = memory_weights(settings["model"])
    out = copy.deepcopy(settings)
    model = out["model"]
    width = model["intermediate_size"] // 2  # two active experts cost what the dense layer did
    layers = model["num_hidden_layers"] - 1
    experts = max(2, round(share * budget / (3 * model["hidden_size"] * width * layers)))
    model.update(num_experts=experts, num_experts_per_tok=2, moe_intermediate_size=width, n_shared_experts=0,
                 norm_topk_prob=True, first_k_dense_replace=1)
    if share == 1.0:
        del model["engram"]
        return out
    return with_table_share(out, 1 - share)


def with_parts(settings: Dict[str, Any]) -> List[Tuple[str, float, Dict[str, Any]]]:
    """The configuration, the same with four streams, with experts (as many weights, half of them at work), and plain:
    without memory, the feed-forward layers wider by what Engram's projections hold.
    """
    streams, experts, plain = (copy.deepcopy(settings) for _ in range(3))
    streams["model"]["hc_mult"] = 4
    experts["model"].update(num_experts=4, num_experts_per_tok=2, n_shared_experts=0, norm_topk_prob=True,
                            moe_intermediate_size=settings["model"]["intermediate_size"] // 4)
    e = plain["model"].pop("engram")
    width = (e["max_ngram_size"] - 1) * e["n_heads"] * e["head_dim"]
    plain["model"]["intermediate_size"] += round(len(e["layer_ids"]) * 2 * width
                                                 / (3 * settings["model"]["num_hidden_layers"]))
    return [("dense", 1.0, settings), ("four-streams", 2.0, streams), ("four-experts", 3.0, experts),
            ("plain", 4.0, plain)]


def variants(sweep: str, settings: Dict[str, Any]) -> List[Tuple[str, float, Dict[str, Any]]]:
    """(name, value on the x axis, settings) of each run."""
    if sweep == "tables":
        made = [with_table_share(settings, s) for s in _TABLE_SHARES]
        return [("memory-%d" % memory_weights(m["model"]), float(memory_weights(m["model"])), m) for m in made]
    if sweep == "parts":
        return with_parts(settings)
    return [("experts-%d-percent" % (100 * s), s, with_expert_share(settings, s)) for s in _EXPERT_SHARES]


def last_losses(run_dir: pathlib.Path) -> Dict[str, float]:
    """The log's last entry with a held-out loss, and `trained`: the mean loss of the last 20 steps."""
    log = [json.loads(line) for line in (run_dir / "loss.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [entry["loss"] for entry in log[-20:]]
    return dict(next(entry for entry in reversed(log) if "held_out_on" in entry), trained=sum(last) / len(last))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", required=True, choices=("tables", "split", "parts"))
    parser.add_argument("--config", required=True, help="the configuration the series starts from")
    parser.add_argument("--runs", required=True, type=pathlib.Path, help="folder of the runs and the result")
    parser.add_argument("--steps", type=int, help="steps of every run [the configuration's]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to train.py")
    args = parser.parse_args()
    with open(args.config, encoding="utf-8") as f:
        settings = yaml.safe_load(f)
    if args.steps:
        settings["train"]["steps"] = args.steps
    args.runs.mkdir(parents=True, exist_ok=True)
    results = []
    for name, x, changed in variants(args.sweep, settings):
        config = args.runs / (name + ".yaml")
        config.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")
        command = [sys.executable, str(_HERE / "train.py"), "--config", str(config), "--run-dir", str(args.runs / name)]
        for override in args.set:
            command += ["--set", override]
        print(name, flush=True)
        subprocess.run(command, check=True)
        entry = last_losses(args.runs / name)
        results.append({"name": name, "x": x, "memory_weights": memory_weights(changed["model"]),
                        "experts": changed["model"].get("num_experts", 0), "trained": entry["trained"],
                        "held_out": entry["held_out_on"], "held_out_off": entry.get("held_out_off"),
                        "step": entry["step"]})
    label = _LABELS[args.sweep]
    plots.lines(args.runs / "scaling.png", "loss by " + label, label, "loss",
                {"held out": [(r["x"], r["held_out"]) for r in results],
                 "training, last 20 steps": [(r["x"], r["trained"]) for r in results]}, log_x=args.sweep == "tables")
    rows = ["| run | steps | memory weights | experts | training loss, last 20 steps | held-out loss |",
            "|---|---|---|---|---|---|"]
    rows += ["| %s | %d | %s | %d | %.3f | %.3f |" % (r["name"], r["step"], f"{r['memory_weights']:,}", r["experts"],
                                                      r["trained"], r["held_out"]) for r in results]
    (args.runs / "scaling.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (args.runs / "scaling.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
