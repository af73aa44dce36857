// SPDX-License-Identifier: Apache-2.0
// NumpyRng: the draws of NumPy's default_rng(seed).integers(0, bound, dtype=int64), bit for bit. One thread at a time.
//
// Sources: NumPy's SeedSequence (numpy/random/bit_generator), PCG64 XSL-RR 128/64 (O'Neill, HMC-CS-2014-0905) and
// Lemire's bounded generation (arXiv 1805.10941) in the variant NumPy uses.
#pragma once

#include <cstdint>

#include "ngram/int128.h"

namespace engram {

class NumpyRng {
 public:
  // `seed` is a non-negative Python integer; 128 bits hold every seed + 10007 * layer.
  explicit NumpyRng(Uint128 seed);

  // Uniform in [0, bound), 1 <= bound <= 2^63 - 1. Bounds up to 2^32 consume 32-bit halves, low half first, and keep
  // the other half for the next such draw, as NumPy does.
  int64_t Integer(int64_t bound);

 private:
  uint64_t Next64();
  uint32_t Next32();

  Uint128 state_ = 0;
  Uint128 increment_ = 0;
  bool has_half_ = false;
  uint32_t half_ = 0;
};

}  // namespace engram
