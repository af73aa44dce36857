# SPDX-License-Identifier: Apache-2.0
"""Gradients, the row optimiser, packing, and a run that is killed and resumed."""
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import unittest

import numpy as np

from paths import TRAINING, VECTORS
from engram_model import corpus, tokenizer

try:
    import torch
    import torch.nn.functional as F
    import train
    from engram_model import config, model_dir, ops
    from engram_model.model import EngramModel
    from engram_model.row_adam import RowAdam
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise
    torch = None

TINY = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
            intermediate_size=48, vocab_size=4096, eos_token_id=4092, pad_token_id=4093)
TINY_ENGRAM = dict(layer_ids=[1], vocab_size=[200, 300], n_heads=2, head_dim=32, pad_token_id=4093,
                   compressed_vocab_size=3501)


def write_corpus(path, count, seed):
    rng = np.random.default_rng(seed)
    with open(path, "w", encoding="utf-8") as f:
        for i in range(count):
            text = "The code of box %d is" % rng.integers(100)
            f.write(json.dumps({"kind": ("fact", "reading")[i % 2], "text": text + " %d." % rng.integers(100),
                                "answer_at": len(text)}) + "\n")


class Packing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name) / "c.jsonl"
        write_corpus(path, 60, 3)
        self.documents = corpus.load(path, tokenizer.load(VECTORS / "tokenizer.json"), 4092)

    def packer(self, rows=3):
        return corpus.Packer(self.documents, 7, rows, 40, 4093, slices={"reading": 3}, memory_off={"reading": 0.5},
                             prompt_weight={"reading": 0.25})

    def test_each_epoch_holds_each_due_document_once(self):
        packer = self.packer()
        seen = [sorted(d for row in packer.rows_in_epoch(e) for d in row) for e in range(3)]
        facts = [i for i in range(60) if i % 2 == 0]
        self.assertEqual([[d for d in s if d % 2 == 0] for s in seen], [facts] * 3)
        readings = [d for s in seen for d in s if d % 2]
        self.assertEqual(sorted(readings), [i for i in range(60) if i % 2])

    def test_later_epochs_may_hold_more_or_less_of_a_kind(self):
        packer = corpus.Packer(self.documents, 7, 3, 40, 4093, slices={"reading": 3}, later_from=2,
                               later_slices={"reading": 6, "fact": 2})
        seen = [[d for row in packer.rows_in_epoch(e) for d in row] for e in range(4)]
        self.assertEqual([sum(d % 2 == 0 for d in s) for s in seen], [30, 30, 15, 15])
        self.assertEqual([sum(d % 2 for d in s) for s in seen], [10, 10, 5, 5])

    @unittest.skipIf(torch is None, "PyTorch is not installed")
    def test_some_documents_have_memory_at_content_words_only(self):
        from engram_model import measures

        t = tokenizer.load(VECTORS / "tokenizer.json")
        function = measures.function_tokens(t)
        self.assertTrue(function[t.encode(" of")[0]] and function[t.encode(".")[0]])
        self.assertFalse(function[t.encode("7")[0]])
        packer = corpus.Packer(self.documents, 7, 14, 40, 4093, memory_content_only=0.5, function_tokens=function)
        batch = packer.next_batch()
        live = batch.kinds >= 0
        self.assertTrue((batch.memory_on[live & ~function[batch.tokens]] == 1).all())
        self.assertEqual(set(np.unique(batch.memory_on[live & function[batch.tokens]])), {0, 1})

    def test_targets_positions_and_weights(self):
        batch = self.packer(14).next_batch()  # all of an epoch
        live = batch.kinds >= 0
        self.assertTrue(((batch.targets == 4092) & live).any())
        inside = live[:, :-1] & (batch.positions[:, 1:] == batch.positions[:, :-1] + 1) & live[:, 1:]
        self.assertTrue((batch.targets[:, :-1][inside] == batch.tokens[:, 1:][inside]).all())
        self.assertTrue((batch.weights[~live] == 0).all())
        self.assertEqual(set(np.unique(batch.weights[batch.kinds == 1])), {0.25, 1})
        self.assertEqual(set(np.unique(batch.weights[batch.kinds == 0])), {1})
        self.assertTrue((batch.memory_on[batch.kinds == 0] == 1).all())

    def test_seek_continues_where_it_was(self):
        a, b = self.packer(), self.packer()
        for _ in range(7):  # past the end of the first epoch
            a.next_batch()
        self.assertGreater(a.epoch, 0)
        b.seek(*a.state())
        for field in ("tokens", "targets", "positions", "weights", "memory_on", "kinds"):
            x, y = a.next_batch(), b.next_batch()
            np.testing.assert_array_equal(getattr(x, field), getattr(y, field))


@unittest.skipIf(torch is None, "PyTorch is not installed")
class Gradients(unittest.TestCase):
    def check(self, f, *inputs):
        self.assertTrue(torch.autograd.gradcheck(f, inputs, eps=1e-6, atol=1e-6))

    def random(self, *shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    def test_hand_written_gradients(self):
        torch.manual_seed(0)
        self.check(lambda x, w: ops.rms_norm(x, w, 1e-6), self.random(2, 3, 2, 5), self.random(2, 5))
        self.check(ops.swiglu, self.random(3, 4), self.random(3, 4))
        angles = torch.rand(2, 3, 1, 2, dtype=torch.float64)
        self.check(lambda x: ops.rotate(x, angles.cos(), angles.sin()), self.random(2, 3, 2, 4))
        positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]])
        self.check(lambda x, w: ops.causal_conv(x, w, 2, positions), self.random(1, 9, 3), self.random(3, 4))

    def test_head_loss_equals_cross_entropy(self):
        torch.manual_seed(1)
        hidden, head = self.random(300, 8), self.random(20, 8)  # more tokens than one chunk
        targets, weights = torch.randint(20, (300,)), torch.rand(300, dtype=torch.float64)
        total, losses = ops.head_loss(hidden, head, targets, weights)
        grads = torch.autograd.grad(total, (hidden, head))
        plain = F.cross_entropy(hidden @ head.t(), targets, reduction="none")
        expected = torch.autograd.grad((plain * weights).sum(), (hidden, head))
        torch.testing.assert_close(losses, plain.detach())
        for a, b in zip(grads, expected):
            torch.testing.assert_close(a, b)

    def test_every_parameter_of_every_kind_of_model_learns(self):
        compressed = torch.from_numpy(tokenizer.load(VECTORS / "tokenizer.json").compressed_map())
        kinds = {"paper": {}, "paper, 2 streams": dict(hc_mult=2, hc_sinkhorn_iters=3),
                 "v41": dict(hc_mult=2, engram=dict(TINY_ENGRAM, variant="deepseek_v41", kernel_size=0)),
                 "experts": dict(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=16, n_shared_experts=1,
                                 first_k_dense_replace=1), "plain": dict(engram=None)}
        tokens = torch.randint(4090, (2, 12), generator=torch.Generator().manual_seed(2))
        positions = torch.arange(12).repeat(2, 1)
        for name, changes in kinds.items():
            with self.subTest(name):
                model = EngramModel(config.from_dict({**TINY, "engram": TINY_ENGRAM, **changes}), compressed)
                model.initialise(0)
                # Convolutions start at zero, which stops the gradient of the norm before them.
                if hasattr(getattr(model.model.layers[1], "engram", None), "conv"):
                    torch.nn.init.normal_(model.model.layers[1].engram.conv.weight)
                rows = RowAdam(model.tables(), (0.9, 0.98))
                out = model(tokens, model.layout(positions), rows.gather(model.rows(tokens, positions)))
                total, _ = ops.head_loss(out.hidden.flatten(0, 1), model.head, tokens.flatten(), torch.ones(24) / 24)
                (total + out.balance).backward()
                still = [n for n, p in model.backbone_parameters() if p.grad is None or not bool((p.grad != 0).any())]
                self.assertEqual(still, [])
                before = {k: t.clone() for k, t in model.tables().items()}
                rows.step(0.01)
                for layer, table in model.tables().items():
                    changed = set((table != before[layer]).any(1).nonzero().flatten().tolist())
                    touched = set(model.rows(tokens, positions)[layer].flatten().tolist())
                    self.assertEqual(changed, touched)


@unittest.skipIf(torch is None, "PyTorch is not installed")
class RowOptimiser(unittest.TestCase):
    def test_two_updates_against_the_formula(self):
        table = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        adam = RowAdam({0: table}, (0.9, 0.98), eps=0.0)
        first = second = 0.0
        value = np.array([3.0, 4.0])
        for t, grad in enumerate((np.array([1.0, -2.0]), np.array([0.5, 0.5])), 1):
            memory = adam.gather({0: torch.tensor([[[1]]])})[0]
            (memory.flatten() * torch.tensor(grad)).sum().backward()
            adam.step(0.1)
            first, second = 0.9 * first + 0.1 * grad, 0.98 * second + 0.02 * np.mean(grad * grad)
            value = value - 0.1 * (first / (1 - 0.9 ** t)) / np.sqrt(second / (1 - 0.98 ** t))
            np.testing.assert_allclose(table[1].numpy(), value, rtol=1e-5)
        self.assertEqual(table[0].tolist(), [1.0, 2.0])
        self.assertEqual(adam.touched_rows(), {0: 1})

    def test_a_row_used_twice_gets_the_sum_of_its_gradients(self):
        adam = RowAdam({0: torch.zeros(3, 2)}, (0.0, 0.0), eps=0.0)
        memory = adam.gather({0: torch.tensor([[[1], [1], [2]]])})[0]
        (memory * torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])).sum().backward()
        self.assertEqual(adam._touched[0][2].grad.tolist(), [[1.0, 1.0], [0.0, 0.0]])


@unittest.skipIf(torch is None, "PyTorch is not installed")
class Schedule(unittest.TestCase):
    def rates(self, **changes):
        c = train.TrainConfig(**{**dict(steps=40, learning_rate=1.0, warmup_steps=4, final_lr_ratio=0.1), **changes})
        return [train.learning_rate(c, step) for step in range(c.steps + 1)]

    def test_warm_up_then_cosine(self):
        rates = self.rates()
        np.testing.assert_allclose(rates[:5], [0.25, 0.5, 0.75, 1, 1])
        self.assertTrue(all(a > b for a, b in zip(rates[4:], rates[5:])))
        self.assertAlmostEqual(rates[-1], 0.1)

    def test_a_late_fall_leaves_what_was_before_it(self):
        short, long = self.rates(decay_steps=10), self.rates(steps=60, decay_steps=10)
        self.assertEqual(short[:31], long[:31])
        self.assertEqual(set(long[4:51]), {1.0})
        self.assertEqual(short[30:], long[50:])
        self.assertAlmostEqual(short[-1], 0.1)


@unittest.skipIf(torch is None, "PyTorch is not installed")
class GateBudget(unittest.TestCase):
    def test_only_what_is_above_the_budget_costs(self):
        gates = {1: torch.tensor([[[0.9], [0.7], [0.1], [0.0]]]), 2: torch.full((1, 4, 1), 0.3)}
        used = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
        self.assertAlmostEqual(float(train.above_budget(gates, used, 0.5)), 0.3 ** 2, places=6)
        self.assertEqual(float(train.above_budget(gates, used, 0.8)), 0)


@unittest.skipIf(torch is None, "PyTorch is not installed")
class KillAndResume(unittest.TestCase):
    STEPS, CHECKPOINT = 30, 5
    KILL_AT = random.randrange(1, 24)  # before the first checkpoint, between two, or at one

    def settings(self, folder):
        for name, count, seed in (("train", 200, 0), ("held_out", 20, 1)):
            write_corpus(folder / (name + ".jsonl"), count, seed)
        settings = {"model": {**{k: v for k, v in TINY.items() if k not in ("vocab_size",)}, "engram": TINY_ENGRAM},
                    "data": {"train": str(folder / "train.jsonl"), "held_out": str(folder / "held_out.jsonl"),
                             "tokenizer": str(VECTORS / "tokenizer.json"), "slices": {"reading": 4},
                             "memory_off": {"reading": 0.3}},
                    "train": {"steps": self.STEPS, "batch_rows": 4, "row_tokens": 32, "warmup_steps": 5, "threads": 1,
                              "held_out_every": 10, "held_out_batches": 1, "checkpoint_minutes": 1000,
                              "gate_cost": 0.5, "gate_budget": 0.3, "decay_steps": 20}}
        (folder / "config.json").write_text(json.dumps(settings))

    def start(self, folder, run):
        return subprocess.Popen(
            [sys.executable, str(TRAINING / "train.py"), "--config", str(folder / "config.json"), "--run-dir",
             str(folder / run), "--checkpoint-steps", str(self.CHECKPOINT), "--show-seconds", "0", "--device", "cpu"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def stop_at(self, folder, run, step, sig):
        process = self.start(folder, run)
        with process.stderr:
            for line in process.stderr:
                if " %d/%d " % (step, self.STEPS) in line:
                    process.send_signal(sig)
                    break
            process.stderr.read()
        return process.wait()

    def finish(self, folder, run):
        process = self.start(folder, run)
        _, errors = process.communicate()
        self.assertEqual(process.returncode, 0, errors)
        return (folder / run / "loss.jsonl").read_text()

    def test_killed_and_stopped_runs_make_the_same_loss_curve(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            self.settings(folder)
            whole = self.finish(folder, "whole")
            self.assertEqual(len(whole.splitlines()), self.STEPS)
            losses = [json.loads(line)["loss"] for line in whole.splitlines()]
            self.assertLess(np.mean(losses[-5:]), np.mean(losses[:5]))
            self.assertEqual(self.stop_at(folder, "killed", self.KILL_AT, signal.SIGKILL), -signal.SIGKILL)
            self.assertEqual(self.finish(folder, "killed"), whole, "killed at step %d" % self.KILL_AT)
            self.assertEqual(self.stop_at(folder, "stopped", self.KILL_AT, signal.SIGTERM), 0)
            saved = sorted(p.name for p in (folder / "stopped").glob("checkpoint-*.pt"))
            self.assertGreaterEqual(int(saved[-1][11:19]), self.KILL_AT)  # SIGTERM saved outside the rhythm of 5
            self.assertEqual(self.finish(folder, "stopped"), whole)
            weights = [torch.load(folder / run / ("checkpoint-%08d.pt" % self.STEPS))["model"]
                       for run in ("whole", "killed", "stopped")]
            for name, value in weights[0].items():
                self.assertTrue(torch.equal(value, weights[1][name]) and torch.equal(value, weights[2][name]), name)
            self.check_export(folder)

    def check_export(self, folder):
        for tables, limit in (("bf16", 2 ** -8), ("fp8", 2 ** -4)):
            out = folder / ("out-" + tables)
            subprocess.run([sys.executable, str(TRAINING / "export.py"), "--run-dir", str(folder / "whole"), "--out",
                            str(out), "--tables", tables], check=True, stdout=subprocess.DEVNULL)
            trained = torch.load(folder / "whole" / ("checkpoint-%08d.pt" % self.STEPS))["model"]
            loaded = model_dir.load(out)
            self.assertEqual(set(loaded.state_dict()), set(trained))
            for name, value in loaded.state_dict().items():
                error = (value - trained[name]).abs().max() / trained[name].abs().max().clamp_min(1e-9)
                self.assertLess(float(error), limit if "engram.embed" in name else 2 ** -8, name)
            model_dir.save(loaded, folder / "again", out / "tokenizer.json", tables)
            again = model_dir.load(folder / "again").state_dict()
            self.assertTrue(all(torch.equal(value, again[name]) for name, value in loaded.state_dict().items()))
            self.assertIn("chat_template", json.loads((out / "tokenizer_config.json").read_text()))


if __name__ == "__main__":
    unittest.main()
