# SPDX-License-Identifier: Apache-2.0
"""The model in float64 against the five reference models, with Engram on and off."""
import json
import unittest

from paths import VECTORS

try:
    import torch
    from engram_model import model_dir
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise
    torch = None


@unittest.skipIf(torch is None, "PyTorch is not installed")
class ReferenceModels(unittest.TestCase):
    MODELS = ("plain", "dense-paper", "dense-paper-hc4", "dense-v41-hc4-fp8", "moe-paper-hc4-fp8")

    def run_model(self, model, tokens, on):
        tokens = torch.tensor([tokens])
        positions = torch.arange(tokens.shape[1])[None]
        memory = model.lookup(model.rows(tokens, positions)) if on else {}
        out = model(tokens, model.layout(positions), memory)
        return model.logits(out.hidden)[0], {layer: g[0] for layer, g in out.gates.items()}

    def greedy(self, model, prompt, num_tokens, on):
        tokens = list(prompt)
        for _ in range(num_tokens):
            tokens.append(int(self.run_model(model, tokens, on)[0][-1].argmax()))
        return tokens[len(prompt):]

    def check_case(self, model, case):
        prompt = case["prompt"]
        logits, gates = self.run_model(model, prompt, True)
        self.assertLess((logits[-1] - torch.tensor(case["last_logits"])).abs().max(), 1e-4)
        logprobs = logits.log_softmax(-1)
        for i, expected in enumerate(case["logprobs"]):
            self.assertAlmostEqual(float(logprobs[i, prompt[i + 1]]), expected, delta=1e-4)
        self.assertEqual(self.greedy(model, prompt, len(case["greedy"]), True), case["greedy"])
        if "rows" not in case:
            return
        positions = torch.arange(len(prompt))[None]
        for layer, rows in model.rows(torch.tensor([prompt]), positions).items():
            self.assertEqual(rows[0].tolist(), case["rows"][str(layer)])
        for layer, expected in case["gates"].items():
            self.assertLess((gates[int(layer)] - torch.tensor(expected)).abs().max(), 1e-5)
        off = self.run_model(model, prompt, False)[0][-1][:16]
        self.assertLess((off - torch.tensor(case["last_logits_engram_off_first16"])).abs().max(), 1e-4)
        self.assertEqual(self.greedy(model, prompt, len(case["greedy_engram_off"]), False), case["greedy_engram_off"])

    def test_logits_gates_rows_and_greedy(self):
        for name in self.MODELS:
            folder = VECTORS / "models" / name
            model = model_dir.load(folder, VECTORS / "tokenizer.json", torch.float64)
            expected = json.loads((folder / "expected.json").read_text())
            self.assertGreater(len(expected["cases"]), 0)
            for i, case in enumerate(expected["cases"]):
                with self.subTest(model=name, case=i), torch.no_grad():
                    self.check_case(model, case)

    def test_mixed_precision_runs_and_stays_close(self):
        tokens = torch.tensor([[5, 77, 300, 12, 9, 1000, 4, 8]])
        positions = torch.arange(8)[None]
        for name in self.MODELS:
            with self.subTest(model=name):
                model = model_dir.load(VECTORS / "models" / name, VECTORS / "tokenizer.json")
                memory = model.lookup(model.rows(tokens, positions))
                exact = model(tokens, model.layout(positions), memory).hidden
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    hidden = model(tokens, model.layout(positions), memory).hidden
                hidden.float().pow(2).sum().backward()
                self.assertTrue(all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters()))
                self.assertLess(float((hidden - exact).detach().norm() / exact.detach().norm()), 0.3)

    def test_packed_sequences_equal_separate_ones(self):
        for name in ("dense-paper-hc4", "moe-paper-hc4-fp8"):
            with self.subTest(model=name), torch.no_grad():
                model = model_dir.load(VECTORS / "models" / name, VECTORS / "tokenizer.json", torch.float64)
                a, b = [5, 77, 300, 12, 9, 1000, 4, 8], [7, 7, 2000]
                tokens = torch.tensor([a + b])
                positions = torch.tensor([list(range(len(a))) + list(range(len(b)))])
                out = model(tokens, model.layout(positions), model.lookup(model.rows(tokens, positions)))
                packed = model.logits(out.hidden)[0]
                alone = torch.cat([self.run_model(model, x, True)[0] for x in (a, b)])
                self.assertLess((packed - alone).abs().max(), 1e-10)


if __name__ == "__main__":
    unittest.main()
