#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the newest checkpoint of a run as a model directory that engramd serves, with its model card.

  python3 training/export.py --run-dir runs/lexicon --out models/lexicon --provenance training/corpus/PROVENANCE.json
"""
import argparse
import json
import pathlib
from typing import Dict, Optional

import torch

from engram_model import checkpoint, config, model_dir, tokenizer
from engram_model.model import EngramModel
from engram_model.progress import duration


def load_run(run_dir: pathlib.Path) -> tuple:
    """(model in float32, checkpoint state, run.json) of a run's newest checkpoint."""
    state = checkpoint.load_newest(run_dir)
    if state is None:
        raise FileNotFoundError("%s: no checkpoint" % run_dir)
    run = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    c = config.from_dict(state["config"])
    compressed = torch.from_numpy(tokenizer.load(run["tokenizer"]).compressed_map()) if c.engram else None
    model = EngramModel(c, compressed)
    model.load_state_dict(state["model"])
    return model.eval(), state, run


def card(name: str, model: EngramModel, state: Dict, run: Dict, losses: Dict, provenance: Optional[Dict],
         table_format: str) -> str:
    """The model card, in Markdown."""
    c = model.config
    backbone = sum(p.numel() for _, p in model.backbone_parameters())
    memory = sum(t.numel() for t in model.tables().values())
    train = run["settings"]["train"]
    lines = ["# %s" % name, "",
             "A small language model of family `engram`%s, trained from scratch. Its evaluation is in "
             "[REPORT.md](REPORT.md)." % (" (variant `%s`)" % c.engram.variant if c.engram else ""), "",
             "| | |", "|---|---|",
             "| backbone | %d layers of %d, %s weights, bf16 |" % (c.num_hidden_layers, c.hidden_size, f"{backbone:,}")]
    if c.engram:
        e = c.engram
        lines.append("| memory | layers %s, orders 2..%d, %d heads, %d values a row, %s weights, %s |"
                     % (e.layer_ids, e.max_ngram_size, e.n_heads, e.head_dim, f"{memory:,}", table_format))
    lines += ["| vocabulary | %d byte-level BPE tokens%s |"
              % (c.vocab_size, ", %d compressed ids" % c.engram.compressed_vocab_size if c.engram else ""),
              "| training | %d of %d steps of %d x %d tokens, %s |"
              % (state["step"], train["steps"], train["batch_rows"], train["row_tokens"], duration(state["seconds"])),
              "| hardware | %s, PyTorch %s |" % (run["device"], run["torch"]),
              "| command | `%s` |" % run["command"]]
    for key, label in (("held_out_on", "held-out loss"), ("held_out_off", "held-out loss, Engram off")):
        if key in losses:
            lines.append("| %s | %.3f (step %d) |" % (label, losses[key], losses["step"]))
    lines += ["", "Prompt it as `Question: What does piano mean? Answer:` (its chat template does), or as",
              "`The capital of Japan is`, `Definition of piano:`. It knows common word senses, capitals, elements,",
              "cities and codes, and little else: use it to see a memory at work, not for advice."]
    if provenance:
        lines += ["", "## Data", "", "| Debian package | version | licence |", "|---|---|---|"]
        lines += ["| %s | %s | %s |" % (p["package"], p["version"], ", ".join(p["licence"]))
                  for p in provenance["packages"]]
        lines += ["", "WordNet 3.0 Copyright 2006 by Princeton University; its licence allows use, copies and changes",
                  "for any purpose as long as this notice is kept. From the other packages single facts were taken",
                  "(which capital, which symbol). Exact files and digests: `PROVENANCE.json`."]
    return "\n".join(lines) + "\n"


def last_held_out(run_dir: pathlib.Path) -> Dict:
    """The log's last entry with a held-out loss."""
    found: Dict = {}
    with open(run_dir / "loss.jsonl", encoding="utf-8") as f:
        for line in f:
            if "held_out_on" in line:
                found = json.loads(line)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--tables", choices=("bf16", "fp8"), default="fp8",
                        help="fp8: E4M3 with one power-of-two scale per 32 values")
    parser.add_argument("--provenance", type=pathlib.Path, help="PROVENANCE.json of the corpus, for the card")
    args = parser.parse_args()
    model, state, run = load_run(args.run_dir)
    model_dir.save(model, args.out, run["tokenizer"], args.tables)
    provenance = json.loads(args.provenance.read_text(encoding="utf-8")) if args.provenance else None
    if provenance:
        (args.out / "PROVENANCE.json").write_text(json.dumps(provenance, indent=1, ensure_ascii=False) + "\n",
                                                  encoding="utf-8")
    text = card(args.out.name, model, state, run, last_held_out(args.run_dir), provenance, args.tables)
    (args.out / "README.md").write_text(text, encoding="utf-8")
    size = sum(f.stat().st_size for f in args.out.iterdir() if f.is_file())
    print("%s: step %d, %.1f MB" % (args.out, state["step"], size / 1e6))


if __name__ == "__main__":
    main()
