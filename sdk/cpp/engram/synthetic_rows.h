// SPDX-License-Identifier: Apache-2.0
//
// Synthetic rows: a pseudo-random table of any size, every row of which can be computed from (seed, row) alone, to test
// and measure tiers with tables that no model has been trained for. docs/formats.md gives the function. Pure; any
// thread.
#ifndef ENGRAM_CPP_SYNTHETIC_ROWS_H_
#define ENGRAM_CPP_SYNTHETIC_ROWS_H_

#include <cstdint>

#include "engram/packed_table.h"

namespace engram::sdk {

namespace internal {

// SplitMix64's output function (Steele, Lea, Flood 2014).
inline uint64_t MixBits(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

// Which bits of a word stay random and which are set, so that every value is finite and of magnitude 2^-13 to 2.
struct ValueBits {
  uint64_t keep;
  uint64_t set;
};
inline constexpr ValueBits kBf16Bits = {0x83ff83ff83ff83ffu, 0x3c003c003c003c00u};      // exponents 2^-7 to 2^0
inline constexpr ValueBits kF16Bits = {0x9fff9fff9fff9fffu, 0x2000200020002000u};       // the same
inline constexpr ValueBits kF32Bits = {0x83ffffff83ffffffu, 0x3c0000003c000000u};       // the same
inline constexpr ValueBits kFp8CodeBits = {0xbfbfbfbfbfbfbfbfu, 0};                     // codes below 2
inline constexpr ValueBits kFp8ScaleBits = {0x0303030303030303u, 0x7878787878787878u};  // scales 2^-7 to 2^-4

// Bytes [0, num_bytes) of words keep & Mix(base + k * gamma) | set, k = 1, 2, ...; returns base for what follows.
inline uint64_t FillWords(uint64_t base, ValueBits bits, uint8_t* dst, uint32_t num_bytes) {
  constexpr uint64_t kGamma = 0x9e3779b97f4a7c15u;
  for (uint32_t at = 0; at < num_bytes; at += 8) {
    base += kGamma;
    const uint64_t word = (MixBits(base) & bits.keep) | bits.set;
    if (num_bytes - at >= 8) {
      PutLittle(dst + at, word, 8);
    } else {
      PutLittle(dst + at, word, num_bytes - at);
    }
  }
  return base;
}

}  // namespace internal

// Writes one row of `format` and `head_dim` (of which PackedRowBytes() is not 0) to dst.
inline void SyntheticRow(uint64_t seed, uint64_t row, engram_row_format format, uint32_t head_dim, uint8_t* dst) {
  const uint64_t base = internal::MixBits(seed ^ internal::MixBits(row));
  switch (format) {
    case ENGRAM_ROW_BF16:
      internal::FillWords(base, internal::kBf16Bits, dst, 2 * head_dim);
      break;
    case ENGRAM_ROW_F16:
      internal::FillWords(base, internal::kF16Bits, dst, 2 * head_dim);
      break;
    case ENGRAM_ROW_F32:
      internal::FillWords(base, internal::kF32Bits, dst, 4 * head_dim);
      break;
    default:
      internal::FillWords(internal::FillWords(base, internal::kFp8CodeBits, dst, head_dim), internal::kFp8ScaleBits,
                          dst + head_dim, (head_dim + 31) / 32);
  }
}

// Whether a sparse synthetic table holds `page`; its other pages are holes.
inline bool SyntheticPageWritten(const PackedTableInfo& info, uint64_t page) {
  return page % 4096 == 0 || page + 1 == info.num_pages;
}

}  // namespace engram::sdk

#endif  // ENGRAM_CPP_SYNTHETIC_ROWS_H_
