# SPDX-License-Identifier: Apache-2.0
"""Reference implementation of the Engram model family: addressing, tokenizer, model, files.

`addressing`, `tokenizer`, `safetensors_io` and `quantize` need NumPy alone; `model`, `row_adam` and `checkpoint`
need PyTorch (1.13 or newer).
"""
