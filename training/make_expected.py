#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes expected.json of a model directory: reference values in float64 on the stored weights, for tests of an engine.

  python3 training/make_expected.py --model models/lexicon "The capital of Mongolia is" "Definition of community:"

Per prompt: token ids, their log probabilities, rows, gates, last-position logits, 12 greedy tokens with the margin to
the runner-up, and greedy tokens with Engram off. Besides, the hash's constants and the compressed id of each token.
"""
import argparse
import json
import pathlib
from typing import Dict, List, Tuple

import torch

from engram_model import inference, model_dir, tokenizer
from engram_model.model import EngramModel

_GREEDY_TOKENS = 12


def greedy_with_margins(model: EngramModel, prompt: List[int], on: bool) -> Tuple[List[int], List[float]]:
    """Greedy continuation, not stopped by end-of-text, and the margin of each choice over the runner-up."""
    tokens, margins = list(prompt), []
    for _ in range(_GREEDY_TOKENS):
        out, _ = inference.forward(model, [tokens], on)
        best = model.logits(out.hidden[0, -1]).topk(2)
        tokens.append(int(best.indices[0]))
        margins.append(round(float(best.values[0] - best.values[1]), 5))
    return tokens[len(prompt):], margins


def expected_case(model: EngramModel, text: str, prompt: List[int]) -> Dict[str, object]:
    out, _ = inference.forward(model, [prompt], True)
    rows = model.rows(torch.tensor([prompt]), torch.arange(len(prompt))[None])
    greedy, margins = greedy_with_margins(model, prompt, True)
    logprobs = model.logits(out.hidden[0]).log_softmax(-1)
    return {"text": text, "prompt": prompt,
            "logprobs": [round(float(logprobs[i, token]), 5) for i, token in enumerate(prompt[1:])],
            "last_logits": [round(x, 5) for x in model.logits(out.hidden[0, -1]).tolist()],
            "rows": {str(layer): r[0].tolist() for layer, r in rows.items()},
            "gates": {str(layer): [[round(x, 6) for x in g] for g in gates[0].tolist()]
                      for layer, gates in out.gates.items()},
            "greedy": greedy, "greedy_margin": margins,
            "greedy_engram_off": greedy_with_margins(model, prompt, False)[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("prompts", nargs="+")
    args = parser.parse_args()
    t = tokenizer.load(args.model / "tokenizer.json")
    model = model_dir.load(args.model, dtype=torch.float64)
    with torch.no_grad():
        cases = [expected_case(model, text, t.encode(text)) for text in args.prompts]
    expected = {"cases": cases}
    if model.config.engram:
        expected["hash"] = {"multipliers": {str(layer): [str(m) for m in a.multipliers.tolist()]
                                            for layer, a in model.addresses.items()}}
        expected["compressed_map"] = t.compressed_map().tolist()
    (args.model / "expected.json").write_text(json.dumps(expected) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
