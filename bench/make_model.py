#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a model directory of any size with random weights and no tables, to measure serving with tables of any size.

The rows come from packed tables: `engramctl table synth --model DIR --layer L`, then memory.tables. Without NumPy: the
weights are one block of random bfloat16 values, magnitudes 2^-7 to 2^-5, written again and again from changing places.
With --like TEXT.. what the model says has the bigrams of these texts (bigram_weights.py, which needs NumPy).
"""
import argparse
import json
import os
import random
import shutil
import struct

BLOCK_BYTES = 8 << 20


def random_block(seed):
    source = random.Random(seed)
    block = bytearray(BLOCK_BYTES)
    block[0::2] = source.randbytes(BLOCK_BYTES // 2)
    # Sign bit as it comes, exponent's upper bits those of 2^-7 and 2^-6; its lowest bit is in the other byte.
    block[1::2] = bytes((byte & 0x80) | 0x3C for byte in source.randbytes(BLOCK_BYTES // 2))
    return bytes(block)


def tensors_of(args):
    """(name, shape, kind) of each tensor; kind is "random", "ones" or its bytes."""
    hidden, kv = args.hidden, args.kv_heads * args.head_dim
    embeddings, head = "random", None
    if args.like:
        import bigram_weights

        text = ""
        for path in args.like:
            with open(path, encoding="utf-8", errors="ignore") as file:
                text += file.read()
        embeddings, head = bigram_weights.embeddings_and_head(text, args.tokenizer, args.vocab_size, hidden)
    yield "model.embed_tokens.weight", [args.vocab_size, hidden], embeddings
    if head is not None:
        yield "lm_head.weight", [args.vocab_size, hidden], head
    for layer in range(args.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", [hidden], "ones"
        yield prefix + "post_attention_layernorm.weight", [hidden], "ones"
        yield prefix + "self_attn.q_proj.weight", [args.heads * args.head_dim, hidden], "random"
        yield prefix + "self_attn.k_proj.weight", [kv, hidden], "random"
        yield prefix + "self_attn.v_proj.weight", [kv, hidden], "random"
        yield prefix + "self_attn.o_proj.weight", [hidden, args.heads * args.head_dim], "random"
        yield prefix + "self_attn.q_norm.weight", [args.head_dim], "ones"
        yield prefix + "self_attn.k_norm.weight", [args.head_dim], "ones"
        for name in ("gate_proj", "up_proj"):
            yield prefix + f"mlp.{name}.weight", [args.intermediate, hidden], "random"
        yield prefix + "mlp.down_proj.weight", [hidden, args.intermediate], "random"
    memory = (args.ngram - 1) * args.hashes * args.row_values
    for layer in args.engram_layers:
        prefix = f"model.layers.{layer}.engram."
        yield prefix + "key_proj.weight", [hidden, memory], "random"
        yield prefix + "value_proj.weight", [hidden, memory], "random"
        yield prefix + "key_norm.weight", [1, hidden], "ones"
        yield prefix + "query_norm.weight", [1, hidden], "ones"
        yield prefix + "conv_norm.weight", [1, hidden], "ones"
        yield prefix + "conv.weight", [hidden, 4], "random"
    yield "model.norm.weight", [hidden], "ones"


def count(shape):
    product = 1
    for size in shape:
        product *= size
    return product


def write_tensors(path, tensors, seed):
    header, offset = {}, 0
    for name, shape, _ in tensors:
        end = offset + 2 * count(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block, places = random_block(seed), random.Random(seed + 1)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape, kind in tensors:
            left = 2 * count(shape)
            if isinstance(kind, bytes):
                file.write(kind)
                continue
            if kind == "ones":
                file.write(b"\x80\x3f" * (left // 2))
                continue
            while left > 0:
                start = 2 * places.randrange(BLOCK_BYTES // 4)
                piece = block[start : start + left]
                file.write(piece)
                left -= len(piece)
    return offset


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="directory to make")
    parser.add_argument("--tokenizer", default="models/lexicon", help="model directory whose tokenizer is used")
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--intermediate", type=int, default=3072)
    parser.add_argument("--positions", type=int, default=4096)
    parser.add_argument("--engram-layers", type=lambda text: [int(x) for x in text.split(",")], default=[1, 8])
    parser.add_argument("--ngram", type=int, default=3, help="highest n-gram order")
    parser.add_argument("--hashes", type=int, default=8, help="hash functions per order")
    parser.add_argument("--row-values", type=int, default=256)
    parser.add_argument("--row-format", default="fp8_e4m3_ue8m0")
    parser.add_argument("--rows", type=int, required=True, help="rows of each layer's table, about")
    parser.add_argument("--like", nargs="+", help="texts whose bigrams the model is to say")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    with open(os.path.join(args.tokenizer, "config.json"), encoding="utf-8") as file:
        source = json.load(file)
    args.vocab_size = source["vocab_size"]
    columns = (args.ngram - 1) * args.hashes
    config = {
        "model_type": "engram",
        "vocab_size": args.vocab_size,
        "hidden_size": args.hidden,
        "num_hidden_layers": args.layers,
        "num_attention_heads": args.heads,
        "num_key_value_heads": args.kv_heads,
        "head_dim": args.head_dim,
        "intermediate_size": args.intermediate,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "max_position_embeddings": args.positions,
        "tie_word_embeddings": not args.like,
        "qk_norm": True,
        "eos_token_id": source["eos_token_id"],
        "engram": {
            "variant": "paper",
            "layer_ids": args.engram_layers,
            "max_ngram_size": args.ngram,
            "n_heads": args.hashes,
            "head_dim": args.row_values,
            "vocab_size": args.rows // columns,
            "pad_token_id": source["pad_token_id"],
            "kernel_size": 4,
            "row_format": args.row_format,
            "seed": 0,
        },
    }
    os.makedirs(args.out)
    with open(os.path.join(args.out, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
    shutil.copy(os.path.join(args.tokenizer, "tokenizer.json"), args.out)
    num_bytes = write_tensors(os.path.join(args.out, "model.safetensors"), list(tensors_of(args)), args.seed)
    print(f"{args.out}: {num_bytes / 2e6:.0f} M weights, {len(args.engram_layers)} Engram layers of about {args.rows} rows")


if __name__ == "__main__":
    main()
