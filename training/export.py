#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the newest checkpoint of a run as a model directory that engramd serves, with its model card.

  python3 training/export.py --run-dir runs/lexicon --out models/lexicon --provenance training/corpus/PROVENANCE.json
"""
import argparse
import json
import pathlib
import re
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
         table_format: str, about: str) -> str:
    """The model card, in Markdown; `about` is what it says of the model's use."""
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
              "| command | `%s` |" % re.sub(r" --run-dir[ =]\S+", "", run["command"])]
    for key, label in (("held_out_on", "held-out loss"), ("held_out_off", "held-out loss, Engram off")):
        if key in losses:
            lines.append("| %s | %.3f (step %d) |" % (label, losses[key], losses["step"]))
    if about:
        lines += ["", about]
    if provenance:
        lines += ["", "## Data and licences", "", "| Debian package | version | licence | taken | its text |",
                  "|---|---|---|---|---|"]
        lines += ["| %s | %s | %s | %s | %s |" % (p["package"], p["version"], p["licence"], p["taken"],
                                                  "verbatim" if p["verbatim"] else "no, facts alone")
                  for p in provenance["packages"]]
        lines += ["", "Where the text itself went in, its licence holds for what the model repeats of it; the notice",
                  "is below. From the other packages single facts were taken and put into sentences of this project's",
                  "own (which city is a capital, which symbol an element has). This project takes such facts to be",
                  "nobody's expression, and the model to hold neither the lists nor their arrangement. Whoever judges",
                  "otherwise can leave a package out of `training/build_corpus.py` and train again. Exact files and",
                  "digests are in `PROVENANCE.json`. All else is under the project's licence."]
        for p in provenance["packages"]:
            if p["verbatim"]:
                lines += ["", "### Notice of %s" % p["package"], "", "```", p["notice"], "```"]
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
    parser.add_argument("--about", type=pathlib.Path, help="Markdown for the card: what it knows, how to prompt it")
    args = parser.parse_args()
    model, state, run = load_run(args.run_dir)
    model_dir.save(model, args.out, run["tokenizer"], args.tables)
    provenance = json.loads(args.provenance.read_text(encoding="utf-8")) if args.provenance else None
    if provenance:
        (args.out / "PROVENANCE.json").write_text(json.dumps(provenance, indent=1, ensure_ascii=False) + "\n",
                                                  encoding="utf-8")
    about = args.about.read_text(encoding="utf-8").rstrip() if args.about else ""
    text = card(args.out.name, model, state, run, last_held_out(args.run_dir), provenance, args.tables, about)
    (args.out / "README.md").write_text(text, encoding="utf-8")
    size = sum(f.stat().st_size for f in args.out.iterdir() if f.is_file())
    print("%s: step %d, %.1f MB" % (args.out, state["step"], size / 1e6))


if __name__ == "__main__":
    main()
