#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Evaluates a model directory and writes REPORT.md with its plots beside it.

  python3 training/evaluate.py --model models/lexicon --corpus training/corpus --run-dir runs/lexicon \\
      --plain-run runs/lexicon-plain

--run-dir adds the loss curve and the cost of the stored (rounded) weights; --plain-run, an equal-size model trained
without Engram, adds its logit lens and its losses. --limit takes fewer questions for a quick look.
"""
import argparse
import datetime
import json
import pathlib
import shutil
from typing import Dict, List, Optional

import torch

import export
from engram_model import corpus, measures, model_dir, plots, tokenizer
from engram_model.model import EngramModel

_EXAMPLES = ("The capital of United Arab Emirates is Abu Dhabi.", "The chemical symbol of gold is Au.",
             "Question: What does community mean? Answer: a group of people living in a particular local area.")


class Evaluation:
    """Collects sections of the report; `facts` are the numbers also written as report.json."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.out: pathlib.Path = args.model
        self.limit = args.limit
        self.t = tokenizer.load(args.model / "tokenizer.json")
        self.model = model_dir.load(args.model).to(args.device)
        self.tests = json.loads((args.corpus / "eval.json").read_text(encoding="utf-8"))
        eos = self.model.config.eos_token_id
        self.held_out = [(d["kind"], self.t.encode(d["text"]) + [eos])
                         for d in corpus.read_lines(args.corpus / "held_out.jsonl")][:: args.held_out_stride]
        self.facts: Dict[str, object] = {}
        self.text: List[str] = []
        self.plain_step = ""

    def say(self, *lines: str) -> None:
        self.text += lines

    def table(self, header: List[str], rows: List[List[str]]) -> None:
        self.say("", "| " + " | ".join(header) + " |", "|" + "---|" * len(header))
        self.say(*("| " + " | ".join(r) + " |" for r in rows))
        self.say("")

    def training_conditions(self, run_dir: pathlib.Path) -> None:
        """Says which documents were trained with Engram off: a reader of the on and off columns must know."""
        data = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))["settings"]["data"]
        off = ["%.0f %% of the documents of kind `%s`" % (100 * share, kind)
               for kind, share in (data.get("memory_off") or {}).items() if share]
        self.say("Trained with Engram switched off: %s. All else was trained with Engram on, so that switching it off "
                 "there also shows the model something it has never met." % (", ".join(off) or "nothing"))
        self.say("")

    def losses(self, plain: Optional[EngramModel]) -> None:
        columns = {"Engram on": (self.model, True), "Engram off": (self.model, False)}
        if plain is not None:
            columns["plain model"] = (plain, True)
        found = {name: measures.loss_by_kind(m, self.held_out, on) for name, (m, on) in columns.items()}
        kinds = list(next(iter(found.values())))
        self.say("## Held-out loss", "", "Nats a token. `new_wording`: facts that were trained, in a wording that was "
                 "not; `new_word`: word senses that were not trained; `reading`: new reading tasks.")
        self.table(["kind", "tokens", *columns],
                   [[k, str(found["Engram on"][k][1]), *("%.3f" % f[k][0] for f in found.values())] for k in kinds])
        self.facts["held_out_loss"] = {n: {k: v[0] for k, v in f.items()} for n, f in found.items()}

    def answers(self, group: str, title: str, explain: str) -> None:
        rows, numbers = [], {}
        for name, questions in self.tests[group].items():
            questions = questions[:self.limit] if self.limit else questions
            first_word = name.startswith("word")
            on, texts = measures.accuracy(self.model, self.t, questions, True, first_word)
            off, _ = measures.accuracy(self.model, self.t, questions, False, first_word)
            numbers[name] = {"on": on, "off": off, "questions": len(questions)}
            example = questions[0]
            rows.append([name.replace("_", " "), str(len(questions)), "%.1f %%" % (100 * on), "%.1f %%" % (100 * off),
                         "%.0f %%" % (100 * off / on) if on else "-",
                         "`%s` -> `%s`" % (example["prompt"].replace("|", "\\|"), texts[0].replace("|", "\\|"))])
            print("%s %s: %.1f %% on, %.1f %% off" % (group, name, 100 * on, 100 * off), flush=True)
        total = sum(n["questions"] for n in numbers.values())
        on, off = (sum(n[k] * n["questions"] for n in numbers.values()) / total for k in ("on", "off"))
        rows.append(["**all**", str(total), "%.1f %%" % (100 * on), "%.1f %%" % (100 * off),
                     "%.0f %%" % (100 * off / on) if on else "-", ""])
        self.say("## " + title, "", explain)
        self.table(["task", "questions", "on", "off", "kept without Engram", "example"], rows)
        numbers["all"] = {"on": on, "off": off, "questions": total}
        self.facts[group] = numbers

    def gates(self) -> None:
        sentences: Dict[str, List[Dict]] = {}
        for sentence in self.tests["sentences"]:
            sentences.setdefault(sentence["kind"], []).append(sentence)
        if self.limit:
            sentences = {kind: part[:self.limit] for kind, part in sentences.items()}
        sentences["all"] = [s for part in sentences.values() for s in part]
        found = {name: measures.gates_by_kind(self.model, self.t, part) for name, part in sentences.items()}
        layers = sorted(found["all"])
        kinds = [k for k in measures.TOKEN_KINDS + measures.REACHES if k in found["all"][layers[0]]]
        rows = [(name, layer) for name in found for layer in layers]
        plots.heat_map(self.out / "gates_by_kind.png", "mean gate",
                       ["%s, layer %d" % row for row in rows], kinds,
                       [[found[name][layer].get(k, (None, 0))[0] for k in kinds] for name, layer in rows])
        self.say("## Gates", "", "Mean gate by kind of token, over %s. An entity of two tokens or more has an end, "
                 "where its n-gram is complete; a single token counts as a content word; the first token of a text "
                 "does not count. The last two columns split the function words by whether one of their n-grams holds "
                 "a token of an entity before them; `function word` has both." % ", ".join("%d sentences of kind `%s`" % (len(part), name)
                                      for name, part in sentences.items() if name != "all"))
        self.table(["sentences", "layer", *kinds],
                   [[name, str(layer), *("%.3f (%d)" % found[name][layer][k] if k in found[name][layer] else "-"
                                         for k in kinds)] for name, layer in rows])
        self.say("![gates by kind](gates_by_kind.png)", "")
        self.facts["gates"] = {name: {str(layer): {k: v[0] for k, v in by_kind.items()}
                                      for layer, by_kind in by_layer.items()} for name, by_layer in found.items()}
        for i, text in enumerate(_EXAMPLES):
            tokens, by_layer = measures.gates_of(self.model, self.t, text)
            plots.heat_map(self.out / ("gates_%d.png" % i), "gate by token", ["layer %d" % k for k in by_layer], tokens,
                           list(by_layer.values()), (34, 22))
            self.say("![gates of an example](gates_%d.png)" % i)
        self.say("")

    def where_memory_counts(self) -> None:
        """Which tokens' memory an answer needs: a gate alone does not say, a large value may pass a small gate."""
        rows, numbers = [], {}
        for name, questions in self.tests["recall"].items():
            questions = questions[:self.limit] if self.limit else questions
            numbers[name] = {}
            for kind in (None, *measures.TOKEN_KINDS):
                right, asked = measures.first_tokens_right(self.model, self.t, questions, kind)
                numbers[name][kind or "nowhere"] = right / asked if asked else None
            rows.append([name.replace("_", " "), *("-" if v is None else "%.1f %%" % (100 * v)
                                                   for v in numbers[name].values())])
        self.say("## Where the memory counts", "", "First answer tokens right while the memory is withheld at all of "
                 "the prompt's tokens of one kind and left at the others, of the questions that have such a token.")
        self.table(["task", "nowhere", *measures.TOKEN_KINDS], rows)
        self.facts["withheld"] = numbers

    def lens(self, plain: Optional[EngramModel]) -> None:
        sequences = [tokens[:-1] for _, tokens in self.held_out if len(tokens) > 2][:128]
        series = {"Engram on": measures.logit_lens(self.model, sequences, True),
                  "Engram off": measures.logit_lens(self.model, sequences, False)}
        if plain is not None:
            series["plain model"] = measures.logit_lens(plain, sequences, True)
        plots.lines(self.out / "logit_lens.png", "logit lens: KL(final || layer), nats", "after layer (0: embedding)",
                    "KL", {k: list(enumerate(v)) for k, v in series.items()})
        layers = max(len(v) for v in series.values())
        self.say("## Logit lens", "", "KL of the final distribution from what the head would say after each layer, "
                 "nats. " + ("The plain model has about as many weights that act on a token, no memory, and "
                            "was trained on the same documents (step %s)." % self.plain_step if plain is not None
                            else "No plain model was trained for this report."))
        self.table(["model", "embedding", *("layer %d" % i for i in range(layers - 1))],
                   [[name, *("%.3f" % v for v in values)] for name, values in series.items()])
        self.say("![logit lens](logit_lens.png)", "")
        self.facts["logit_lens"] = series

    def stored_weights(self, run_dir: pathlib.Path, device: str) -> None:
        trained, _, _ = export.load_run(run_dir)
        trained = trained.to(device)
        exact = measures.loss_by_kind(trained, self.held_out, True)["all"][0]
        rounded_rows = model_dir.load(self.out).to(device)
        for name, value in trained.state_dict().items():
            if not name.endswith("engram.embed.weight"):
                rounded_rows.state_dict()[name].copy_(value)
        rows_only = measures.loss_by_kind(rounded_rows, self.held_out, True)["all"][0]
        stored = measures.loss_by_kind(self.model, self.held_out, True)["all"][0]
        self.say("## Cost of rounding", "")
        self.table(["weights", "held-out loss", "more than exact"],
                   [["as trained, float32", "%.4f" % exact, ""],
                    ["stored rows, float32 backbone", "%.4f" % rows_only, "%+.4f" % (rows_only - exact)],
                    ["as stored", "%.4f" % stored, "%+.4f" % (stored - exact)]])
        self.facts["rounding"] = {"exact": exact, "stored_rows": rows_only, "stored": stored}

    def sweeps(self, folders: List[pathlib.Path]) -> None:
        """The tables and plots of scaling.py's sweeps."""
        self.say("## Sweeps", "", "Made by `training/scaling.py`.", "")
        for folder in folders:
            plot = "sweep_%s.png" % folder.name
            shutil.copyfile(folder / "scaling.png", self.out / plot)
            self.say("### " + folder.name, "", (folder / "scaling.md").read_text(encoding="utf-8").rstrip(), "",
                     "![%s](%s)" % (folder.name, plot), "")
            self.facts["sweep_" + folder.name] = json.loads((folder / "scaling.json").read_text(encoding="utf-8"))

    def curve(self, run_dir: pathlib.Path, plain_run: Optional[pathlib.Path]) -> None:
        series = {}
        for label, folder in (("", run_dir), ("plain ", plain_run)):
            if folder is None:
                continue
            with open(folder / "loss.jsonl", encoding="utf-8") as f:
                log = [json.loads(line) for line in f]
            window = 20
            series[label + "training"] = [
                (log[i]["step"], sum(e["loss"] for e in log[i - window:i + 1]) / (window + 1))
                for i in range(window, len(log), max(1, len(log) // 200))]
            for key, name in (("held_out_on", "held out"), ("held_out_off", "held out, Engram off")):
                points = [(e["step"], e[key]) for e in log if key in e]
                if points:
                    series[label + name] = points
        plots.lines(self.out / "loss.png", "loss, nats a token", "step", "loss", series)
        self.say("## Training", "", "![loss](loss.png)", "")

    def write(self) -> None:
        (self.out / "REPORT.md").write_text("\n".join(self.text).rstrip() + "\n", encoding="utf-8")
        (self.out / "report.json").write_text(json.dumps(self.facts, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=pathlib.Path, help="model directory; gets the report")
    parser.add_argument("--corpus", required=True, type=pathlib.Path, help="folder of build_corpus.py")
    parser.add_argument("--run-dir", type=pathlib.Path, help="the run it was exported from")
    parser.add_argument("--plain-run", type=pathlib.Path, help="run of the equal-size model without Engram")
    parser.add_argument("--sweeps", nargs="*", type=pathlib.Path, default=[], help="folders of scaling.py's sweeps")
    parser.add_argument("--notes", type=pathlib.Path, help="Markdown for the head of the report: what the numbers say")
    parser.add_argument("--limit", type=int, default=0, help="questions a task [all]")
    parser.add_argument("--held-out-stride", type=int, default=1, help="take every n-th held-out document")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    e = Evaluation(args)
    plain = None
    if args.plain_run:
        plain, state, run = export.load_run(args.plain_run)
        plain = plain.to(args.device)
        e.plain_step = "%d of %d" % (state["step"], run["settings"]["train"]["steps"])
    e.say("# %s: report" % args.model.name, "", "Made by `training/evaluate.py` on %s from the stored weights, "
          "greedy decoding, float32." % datetime.date.today().isoformat(), "")
    if args.notes:
        e.say(args.notes.read_text(encoding="utf-8").rstrip(), "")
    if args.run_dir:
        e.training_conditions(args.run_dir)
    e.answers("recall", "Factual recall", "Greedy; the whole answer must be right, of word senses the first content "
              "word. Word senses: a sample of the entries trained.")
    e.answers("reading", "Reading", "New tasks whose answer stands in the prompt or follows from it; the whole answer.")
    e.losses(plain)
    if e.model.config.engram:
        e.gates()
        e.where_memory_counts()
    e.lens(plain)
    if args.run_dir:
        e.stored_weights(args.run_dir, args.device)
        e.curve(args.run_dir, args.plain_run)
    if args.sweeps:
        e.sweeps(args.sweeps)
    e.write()
    print("%s written" % (args.model / "REPORT.md"))


if __name__ == "__main__":
    main()
