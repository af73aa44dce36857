#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Resident memory against what the configuration adds up to, with caches of several sizes before tables on disk.

    bench/make_model.py --out /tmp/m --rows 1200000 --hidden 256 --layers 4 --engram-layers 1,2 ...
    for layer in 1 2; do build/release/bin/engramctl table synth --model /tmp/m --layer $layer \\
        --format fp8_e4m3_ue8m0 --out /tmp/m/l$layer.ngt; done
    bench/resident.py --model /tmp/m

The daemon generates until the cache is full, with prompts of random tokens in parallel, so that the KV cache fills too,
which is made small by --kv-tokens. Sum: weights, KV cache, tiers and fixed part of GET /admin/v1/status. Only the standard
library.
"""
import argparse
import json
import os
import random

import serve_bench


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="directory with config.json, weights and lLAYER.ngt tables")
    parser.add_argument("--build", default=os.path.join(serve_bench.ROOT, "build/release"))
    parser.add_argument("--caches", nargs="+", default=["16MiB", "64MiB", "256MiB"])
    parser.add_argument("--kv-tokens", type=int, default=8192)
    args = parser.parse_args()
    with open(os.path.join(args.model, "config.json"), encoding="utf-8") as file:
        args.layers = json.load(file)["engram"]["layer_ids"]
    args.lookahead = 1024
    args.weights = f"native, kv_cache_tokens: {args.kv_tokens}"
    print(f"{'cache':>8} {'weights':>8} {'KV':>7} {'tiers':>8} {'fixed':>7} {'sum':>8} {'resident':>9} {'ratio':>6}  MiB")
    for cache in args.caches:
        daemon = serve_bench.Daemon(
            args,
            f"    - {{name: cache, plugin: tier_dram, options: {{mode: cache}}, capacity: {cache}}}\n"
            "    - {name: disk, plugin: tier_file}\n",
        )
        source = random.Random(1)
        streams, length = 4, args.kv_tokens // 4 - 8

        def generate(_):
            daemon.generate([source.randrange(4, 4000) for _ in range(length)], 2, 1)

        # Full: what goes in is what goes out.
        while sum(tier["evictions"] for tier in daemon.tiers()["tiers"]) == 0:
            serve_bench.together(generate, streams)
        serve_bench.together(generate, streams)
        memory = daemon.call("GET", "/admin/v1/status")["memory"]
        total = sum(memory[f"{part}_bytes"] for part in ("weights", "kv", "tiers", "fixed"))
        mib = lambda value: value / 2**20
        print(
            f"{cache:>8} {mib(memory['weights_bytes']):8.1f} {mib(memory['kv_bytes']):7.1f} {mib(memory['tiers_bytes']):8.1f}"
            f" {mib(memory['fixed_bytes']):7.1f} {mib(total):8.1f} {mib(memory['resident_bytes']):9.1f}"
            f" {memory['resident_bytes'] / total:6.3f}",
            flush=True,
        )
        daemon.stop()


if __name__ == "__main__":
    main()
