#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tokens a second of one model with its rows behind a cache on disk, against the same model with its rows in memory.

    bench/make_model.py --out /tmp/m --rows 36000000 --hidden 1024 --layers 16 --engram-layers 1,8
    for layer in 1 8; do build/release/bin/engramctl table synth --model /tmp/m --layer $layer \\
        --format fp8_e4m3_ue8m0 --out /tmp/m/l$layer.ngt; done
    bench/serve_bench.py --model /tmp/m --text /usr/share/vim/vim90/doc/*.txt

Both contestants run side by side, idle while the other is measured, and take turns at every measurement, since the speed
of a shared machine shifts within seconds; medians of all turns are printed, and of the ratios of turns. Baselines: `memory` is
a full copy of the tables, which must fit; `computed` is a store of the same rows that computes each on demand, for
machines where they do not. Cold: the first prompts after a start with an empty cache. Warm: after --warm tokens of other
text. Decoding continues real text, but what a model with random weights then says is not text: nearly all its n-grams
are new, which is the worst case. Made with --like TEXT.. the model says what has the bigrams of these texts; give all but
the file that --text names. Decoding is measured --repeat times in each round with other texts. Only the standard library
is needed.
"""
import argparse
import glob
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Daemon:
    def __init__(self, args, memory):
        self.dir = tempfile.TemporaryDirectory(prefix="engram-bench-")
        config = os.path.join(self.dir.name, "engramd.yaml")
        tables = "".join(
            f"    {layer}: {os.path.join(os.path.abspath(args.model), f'l{layer}.ngt')}\n" for layer in args.layers
        )
        plugins = os.path.join(args.build, "lib/engram/plugins")
        with open(config, "w", encoding="utf-8") as file:
            file.write(
                f"server: {{listen: '127.0.0.1:0'}}\n"
                f"model: {{path: {os.path.abspath(args.model)}}}\n"
                f"backbone: {{options: {{weights: {args.weights}}}}}\n"
                f"plugins: {{directories: [{plugins}, {plugins}/test]}}\n"
                f"memory:\n  lookahead: {args.lookahead}\n  tiers:\n{memory}  tables:\n{tables}"
            )
        self.log = open(os.path.join(self.dir.name, "log"), "w+", encoding="utf-8")
        started = time.monotonic()
        self.process = subprocess.Popen(
            [os.path.join(args.build, "bin/engramd"), "--config", config], stderr=self.log, stdout=subprocess.DEVNULL
        )
        self.port = None
        while self.port is None:
            time.sleep(0.05)
            with open(self.log.name, encoding="utf-8") as log:
                text = log.read()
            if self.process.poll() is not None:
                sys.exit(f"engramd ended with {self.process.returncode}:\n{text}")
            found = re.search(r"ready: .*listening on http://127\.0\.0\.1:(\d+)", text)
            self.port = int(found.group(1)) if found else None
        self.start_s = time.monotonic() - started

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        self.dir.cleanup()

    def call(self, method, route, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request(method, route, None if body is None else json.dumps(body))
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            sys.exit(f"{route}: {response.status} {text[:300]}")
        return json.loads(text)

    def generate(self, prompt, max_tokens, seed):
        body = {"prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True, "seed": seed}
        return self.call("POST", "/v1/completions", body)

    def tiers(self):
        return self.call("GET", "/admin/v1/tiers")

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) << 10


def together(work, count):
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - started


class Text:
    """Token ids of real text, handed out once each."""

    def __init__(self, ids):
        self.ids, self.at = ids, 0

    def take(self, count):
        if self.at + count > len(self.ids):
            sys.exit(f"the text has {len(self.ids)} tokens, which is too few")
        self.at += count
        return self.ids[self.at - count : self.at]


def totals(answer):
    caches = [tier for tier in answer["tiers"] if tier["cache"]]
    return {
        "rows": sum(tier["rows"] for tier in caches),
        "hits": sum(tier["hits"] for tier in caches),
        "stall_s": sum(layer["stall_seconds"] for layer in answer["layers"]),
        "lead_s": sum(layer["lead_seconds"] for layer in answer["layers"]),
    }


def measure(daemon, results, name, tokens, work):
    before = totals(daemon.tiers())
    started = time.monotonic()
    work()
    seconds = time.monotonic() - started
    after = totals(daemon.tiers())
    rows = after["rows"] - before["rows"]
    results.setdefault(name, []).append(
        {
            "tokens_per_s": tokens / seconds,
            "hit_percent": 100 * (after["hits"] - before["hits"]) / rows if rows else float("nan"),
            "stall_percent": 100 * (after["stall_s"] - before["stall_s"]) / seconds,
        }
    )


def parts(args, ids):
    """What is measured, in order: (name or None, tokens, work of a daemon). Every daemon gets the same text."""
    text = Text(ids)

    def prefill(count):
        prompts = [text.take(2000) for _ in range(count)]
        return 2000 * count, lambda daemon: [daemon.generate(prompt, 1, 1) for prompt in prompts]

    def decode(streams, seed):
        starts = [text.take(16) for _ in range(streams)]
        return streams * args.tokens, lambda daemon: together(
            lambda i: daemon.generate(starts[i], args.tokens, seed + i), streams
        )

    yield "prefill cold", *prefill(1)
    yield "decode 1 cold", *decode(1, 0)
    yield None, *prefill(args.warm // 2000)
    for _ in range(args.prompts):
        yield "prefill", *prefill(1)
    for turn in range(args.repeat):
        yield "decode 1", *decode(1, 100 + turn)
        yield "decode 8", *decode(8, 200 + 8 * turn)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="directory with config.json, weights and lLAYER.ngt tables")
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--text", nargs="+", default=sorted(glob.glob("/usr/share/vim/vim*/doc/*.txt")))
    parser.add_argument("--cache", default="2GiB")
    parser.add_argument("--baseline", choices=["memory", "computed"], default="memory")
    parser.add_argument("--lookahead", type=int, default=1024, help="memory.lookahead")
    parser.add_argument("--weights", default="native")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=3, help="prompts of 2,000 tokens, measured")
    parser.add_argument("--tokens", type=int, default=128, help="tokens decoded by each stream")
    parser.add_argument("--repeat", type=int, default=1, help="measurements of decoding in each round")
    parser.add_argument("--warm", type=int, default=20000, help="tokens read before the warm part")
    args = parser.parse_args()
    with open(os.path.join(args.model, "config.json"), encoding="utf-8") as file:
        args.layers = json.load(file)["engram"]["layer_ids"]

    cached = (
        f"    - {{name: cache, plugin: tier_dram, options: {{mode: cache}}, capacity: {args.cache}}}\n"
        "    - {name: disk, plugin: tier_file}\n"
    )
    baseline = {
        "memory": "    - {name: dram, plugin: tier_dram}\n",
        "computed": "    - {name: computed, plugin: fault_tier, options: {rows: synthetic, may_block: false}}\n",
    }[args.baseline]
    contestants = {f"rows from {args.baseline}": baseline, f"{args.cache} of cache before disk": cached}
    results = {name: {} for name in contestants}
    ids = None
    for number in range(args.rounds):
        daemons = {name: Daemon(args, memory) for name, memory in contestants.items()}
        if ids is None:
            ids = []
            for path in args.text:
                with open(path, encoding="utf-8", errors="ignore") as file:
                    text = file.read()
                # Pieces that a request can carry.
                for start in range(0, len(text), 100_000):
                    body = {"prompt": text[start : start + 100_000]}
                    ids += next(iter(daemons.values())).call("POST", "/tokenize", body)["tokens"]
        for turn, (part, tokens, work) in enumerate(parts(args, ids)):
            # Who comes first takes turns too.
            for name in list(daemons)[:: 1 if turn % 2 == 0 else -1]:
                if part is None:
                    work(daemons[name])
                else:
                    measure(daemons[name], results[name], part, tokens, lambda: work(daemons[name]))
        for name, daemon in daemons.items():
            print(
                f"round {number + 1}, {name}: started in {daemon.start_s:.1f} s, {daemon.resident_bytes() / 2**20:.0f} MiB"
                f" resident, load {os.getloadavg()[0]:.1f}",
                file=sys.stderr,
            )
            daemon.stop()

    base, ours = contestants
    print(f"{'':14} {'tokens/s ' + base:>24} {'on disk':>10} {'ratio':>7} {'hits %':>7} {'stall %':>8}")
    for part in results[base]:
        median = {
            name: {key: statistics.median(entry[key] for entry in results[name][part]) for key in results[name][part][0]}
            for name in contestants
        }
        ratio = statistics.median(
            mine["tokens_per_s"] / theirs["tokens_per_s"] for mine, theirs in zip(results[ours][part], results[base][part])
        )
        print(
            f"{part:14} {median[base]['tokens_per_s']:24.1f} {median[ours]['tokens_per_s']:10.1f} {ratio:7.3f}"
            f" {median[ours]['hit_percent']:7.1f} {median[ours]['stall_percent']:8.2f}"
        )


if __name__ == "__main__":
    main()
