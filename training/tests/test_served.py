# SPDX-License-Identifier: Apache-2.0
"""Random models of odd shapes and the shipped one, served by the real daemon, against float64 arithmetic.

Needs the daemon: set ENGRAMD_BIN (e.g. build/release/bin/engramd); skipped otherwise.
"""
import json
import os
import pathlib
import random
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

import paths

try:
    import torch
except ImportError:  # pragma: no cover: told apart by the skip below
    torch = None

_BIN = os.environ.get("ENGRAMD_BIN") or None
_BASE = {"vocab_size": 4096, "eos_token_id": 4092, "pad_token_id": 4093, "tie_word_embeddings": True}
_ENGRAM = {"pad_token_id": 4093, "compressed_vocab_size": 3501}
# name -> (config, table format)
_SHAPES = {
    "odd sizes, unordered layers": ({"hidden_size": 52, "num_hidden_layers": 5, "num_attention_heads": 6,
                                     "num_key_value_heads": 3, "head_dim": 10, "intermediate_size": 77,
                                     "engram": {"variant": "paper", "layer_ids": [3, 0, 2], "max_ngram_size": 5,
                                                "n_heads": 3, "head_dim": 7, "vocab_size": [311, 97, 503, 89],
                                                "kernel_size": 3, "seed": 42}}, "bf16"),
    "three streams, wide kernel": ({"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
                                    "num_key_value_heads": 1, "head_dim": 20, "intermediate_size": 50, "hc_mult": 3,
                                    "hc_sinkhorn_iters": 7, "rope_theta": 500.0,
                                    "engram": {"variant": "paper", "layer_ids": [0, 1, 2], "max_ngram_size": 2,
                                               "n_heads": 5, "head_dim": 32, "vocab_size": [211],
                                               "kernel_size": 6, "seed": 7}}, "fp8"),
    "two streams, V4.1, untied": ({"hidden_size": 40, "num_hidden_layers": 4, "num_attention_heads": 4,
                                   "num_key_value_heads": 4, "head_dim": 8, "intermediate_size": 64, "hc_mult": 2,
                                   "qk_norm": False, "tie_word_embeddings": False,
                                   "engram": {"variant": "deepseek_v41", "layer_ids": [1, 3], "max_ngram_size": 3,
                                              "n_heads": 2, "head_dim": 96, "vocab_size": [401, 700],
                                              "kernel_size": 0, "seed": 3}}, "fp8"),
    "experts, no renormalising": ({"hidden_size": 36, "num_hidden_layers": 4, "num_attention_heads": 3,
                                   "num_key_value_heads": 1, "head_dim": 12, "intermediate_size": 90,
                                   "num_experts": 5, "num_experts_per_tok": 3, "moe_intermediate_size": 21,
                                   "n_shared_experts": 2, "norm_topk_prob": False, "first_k_dense_replace": 2,
                                   "engram": {"variant": "paper", "layer_ids": [2], "max_ngram_size": 4,
                                              "n_heads": 1, "head_dim": 64, "vocab_size": [150, 150, 150],
                                              "kernel_size": 1, "seed": 1}}, "bf16"),
    "plain": ({"hidden_size": 44, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
               "head_dim": 22, "intermediate_size": 31}, "bf16"),
}


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class _Daemon:
    """The real daemon on a free port, for one model."""

    def __init__(self, model_dir: pathlib.Path) -> None:
        self.port = _free_port()
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([_BIN, "--model", str(model_dir), "--listen", "127.0.0.1:%d" % self.port,
                                         "--weights", "native"], stderr=self.log)

    def __enter__(self) -> "_Daemon":
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen("http://127.0.0.1:%d/health/ready" % self.port)
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    text = self.log_text()
                    self.__exit__()
                    raise RuntimeError("engramd did not start: " + text)
                time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.log.close()

    def log_text(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()

    def complete(self, **body: object) -> dict:
        request = urllib.request.Request("http://127.0.0.1:%d/v1/completions" % self.port,
                                         json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


@unittest.skipIf(torch is None, "PyTorch is not installed")
@unittest.skipIf(_BIN is None, "ENGRAMD_BIN is not set")
class ServedTest(unittest.TestCase):
    def check(self, name: str) -> None:
        from engram_model import config, model_dir, tokenizer
        from engram_model.model import EngramModel
        shape, table_format = _SHAPES[name]
        values = {**_BASE, **shape}
        if "engram" in values:
            values["engram"] = {**_ENGRAM, **values["engram"]}
        torch.manual_seed(len(name))
        compressed = torch.from_numpy(tokenizer.load(paths.VECTORS / "tokenizer.json").compressed_map())
        model = EngramModel(config.from_dict(values), compressed)
        with torch.no_grad():
            for parameter in [*model.parameters(), *model.tables().values()]:
                spread = 1.0 if parameter.dim() == 2 and parameter.shape[0] > 400 else 0.3
                mean = 1.0 if parameter.dim() == 1 else 0.0
                parameter.copy_(torch.randn(parameter.shape) * spread + mean)
        rng = random.Random(name)
        prompts = [[rng.randrange(4096) for _ in range(n)] for n in (1, 2, 9, 70)]
        with tempfile.TemporaryDirectory() as folder:
            model_path = pathlib.Path(folder)
            model_dir.save(model, model_path, paths.VECTORS / "tokenizer.json", table_format)
            self.check_directory(model_path, prompts)

    def check_directory(self, model_path: pathlib.Path, prompts: list) -> None:
        from engram_model import model_dir
        reference = model_dir.load(model_path, dtype=torch.float64)
        with _Daemon(model_path) as daemon, torch.no_grad():
            for on in (True, False):
                answer = daemon.complete(prompt=prompts, max_tokens=6, temperature=0, ignore_eos=True, echo=True,
                                         logprobs=1, return_token_ids=True,
                                         engram={"enabled": on, "gates": True, "rows": True})
                for prompt, choice in zip(prompts, answer["choices"]):
                    with self.subTest(on=on, length=len(prompt)):
                        self.compare(reference, on, prompt, choice)

    def compare(self, reference: object, on: bool, prompt: list, choice: dict) -> None:
        from engram_model import inference
        tokens = prompt + choice["token_ids"]
        out, _ = inference.forward(reference, [tokens], on)
        logprobs = torch.log_softmax(reference.logits(out.hidden[0]), -1)
        served = choice["logprobs"]["token_logprobs"]
        self.assertEqual(len(served), len(tokens))
        self.assertIsNone(served[0])
        for t in range(1, len(tokens)):
            self.assertAlmostEqual(served[t], float(logprobs[t - 1, tokens[t]]), delta=1e-3)
        for t in range(len(prompt), len(tokens)):  # greedy: nothing clearly better than what was taken
            self.assertLess(float(logprobs[t - 1].max() - logprobs[t - 1, tokens[t]]), 1e-3)
        if not on or not out.gates:
            return
        layers = choice["engram"]["layers"]
        self.assertEqual(layers, sorted(out.gates))
        self.assertEqual(len(choice["engram"]["gates"]), len(tokens) - 1)
        rows = reference.rows(torch.tensor([tokens]), torch.arange(len(tokens))[None])
        for t, (gates, served_rows) in enumerate(zip(choice["engram"]["gates"], choice["engram"]["rows"])):
            for i, layer in enumerate(layers):
                self.assertEqual(served_rows[i], rows[layer][0, t].tolist())
                for s, gate in enumerate(gates[i]):
                    self.assertAlmostEqual(gate, float(out.gates[layer][0, t, s]), delta=1e-4)

    def test_odd_sizes(self) -> None:
        self.check("odd sizes, unordered layers")

    def test_three_streams(self) -> None:
        self.check("three streams, wide kernel")

    def test_v41(self) -> None:
        self.check("two streams, V4.1, untied")

    def test_experts(self) -> None:
        self.check("experts, no renormalising")

    def test_plain(self) -> None:
        self.check("plain")

    def test_the_shipped_model(self) -> None:
        from engram_model import tokenizer
        t = tokenizer.load(paths.LEXICON / "tokenizer.json")
        prompts = [t.encode(text) for text in (
            "The capital of United Arab Emirates is", "The chemical symbol of gold is", "Definition of community:",
            "Question: What does community mean? Answer:",
            "Donal has the meal. Seth has the task. Question: Who has the meal? Answer:")]
        rng = random.Random(0)
        prompts.append([rng.randrange(t.size) for _ in range(200)])
        self.check_directory(paths.LEXICON, prompts)


if __name__ == "__main__":
    unittest.main()
