#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What it brings to ask for a token's rows when it is sampled, not by its step: decoding with memory.lookahead 1024
against 0 (where prompts do not count), in turns, from stores of different slowness.

    bench/make_model.py ... --out /tmp/m    (or a copy of models/lexicon)
    for layer in 1 2; do build/release/bin/engramctl table pack --model /tmp/m --layer $layer --out /tmp/m/l$layer.ngt; done
    bench/ahead_bench.py --model /tmp/m

Stores: the packed files with O_DIRECT, alone and behind a cache of --cache, and rows that come after --delay-us. Medians
of --rounds; stall and lead are those of GET /admin/v1/tiers, for each token and layer. Only the standard library.
"""
import argparse
import copy
import json
import os
import random
import statistics
import sys

import serve_bench


def layers_of(daemon):
    return {layer["layer"]: (layer["stall_seconds"], layer["lead_seconds"]) for layer in daemon.tiers()["layers"]}


def decode(daemon, args, streams, seed):
    """Tokens a second, and by layer the microseconds of stall and lead a token."""
    source = random.Random(seed)
    prompts = [[source.randrange(4, 4000) for _ in range(8)] for _ in range(streams)]
    before = layers_of(daemon)
    seconds = serve_bench.together(lambda i: daemon.generate(prompts[i], args.tokens, seed + i), streams)
    after = layers_of(daemon)
    each = {
        layer: tuple(1e6 * (after[layer][k] - before[layer][k]) / args.tokens for k in range(2)) for layer in after
    }
    return streams * args.tokens / seconds, each


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="directory with config.json, weights and lLAYER.ngt tables")
    parser.add_argument("--build", default=os.path.join(serve_bench.ROOT, "build/release"))
    parser.add_argument("--cache", default="4MiB")
    parser.add_argument("--delay-us", type=int, default=500)
    parser.add_argument("--stores", type=int, nargs="+", default=[0, 1, 2], help="which of the stores above")
    parser.add_argument("--weights", default="native")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=200, help="decoded by each stream")
    parser.add_argument("--streams", type=lambda text: [int(x) for x in text.split(",")], default=[1, 8])
    args = parser.parse_args()
    with open(os.path.join(args.model, "config.json"), encoding="utf-8") as file:
        args.layers = json.load(file)["engram"]["layer_ids"]
    disk = "    - {name: disk, plugin: tier_file}\n"
    stores = {
        "file": disk,
        f"{args.cache} + file": f"    - {{name: cache, plugin: tier_dram, options: {{mode: cache}}, capacity: {args.cache}}}\n"
        + disk,
        f"{args.delay_us} us": f"    - {{name: far, plugin: fault_tier, options: {{delay_us: {args.delay_us}}}}}\n",
    }
    print(f"{'store':>14} {'streams':>7} {'by the step':>12} {'when sampled':>13} {'ratio':>6}  us a token: stall, lead")
    for name, memory in [list(stores.items())[number] for number in args.stores]:
        results = {}
        for number in range(args.rounds):
            for lookahead in (0, 1024):
                own = copy.copy(args)
                own.lookahead = lookahead
                daemon = serve_bench.Daemon(own, memory)
                decode(daemon, args, 1, 1000)  # warm
                for streams in args.streams:
                    results.setdefault((streams, lookahead), []).append(decode(daemon, args, streams, number))
                daemon.stop()
        for streams in args.streams:
            speed = {k: statistics.median(run[0] for run in results[streams, k]) for k in (0, 1024)}
            ratios = [new[0] / old[0] for new, old in zip(results[streams, 1024], results[streams, 0])]

            def times(k):
                median = lambda layer, i: statistics.median(run[1][layer][i] for run in results[streams, k])
                return ", ".join(f"{layer}: {median(layer, 0):.0f} {median(layer, 1):.0f}" for layer in args.layers)

            print(
                f"{name:>14} {streams:7} {speed[0]:12.1f} {speed[1024]:13.1f} {statistics.median(ratios):6.3f}"
                f"  {times(0)} -> {times(1024)}",
                flush=True,
            )
    print(f"load {os.getloadavg()[0]:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()
