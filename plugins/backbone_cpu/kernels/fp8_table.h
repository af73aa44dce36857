// SPDX-License-Identifier: Apache-2.0
//
// Scalar decoding of the stored number formats; shared by all kernel sets. Internal linkage, so that a file compiled
// for one instruction set never provides the copy another machine runs.
#ifndef BACKBONE_CPU_KERNELS_FP8_TABLE_H_
#define BACKBONE_CPU_KERNELS_FP8_TABLE_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace backbone_cpu {
namespace {

inline float FloatFromBits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

inline float WidenBf16(uint16_t bits) {
  return FloatFromBits(static_cast<uint32_t>(bits) << 16);
}

inline float WidenF16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = bits >> 10 & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 31) return FloatFromBits(sign | 0x7f800000u | mantissa << 13);
  if (exponent != 0) return FloatFromBits(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

// E4M3 "fn": bias 7, no infinity, mantissa and exponent all ones is NaN.
inline float WidenE4M3(uint8_t code) {
  const uint32_t sign = static_cast<uint32_t>(code & 0x80u) << 24;
  const uint32_t exponent = code >> 3 & 0xfu;
  const uint32_t mantissa = code & 7u;
  if (exponent == 15 && mantissa == 7) return FloatFromBits(sign | 0x7fc00000u);
  if (exponent != 0) return FloatFromBits(sign | (exponent + 120) << 23 | mantissa << 20);
  const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;
  return sign != 0 ? -magnitude : magnitude;
}

// 2^(exponent - 127); exponent 0 is the subnormal 2^-127, 255 is NaN.
inline float WidenE8M0(uint8_t exponent) {
  if (exponent == 255) return FloatFromBits(0x7fc00000u);
  return exponent == 0 ? FloatFromBits(0x00400000u) : FloatFromBits(static_cast<uint32_t>(exponent) << 23);
}

// One block of 32 values shares an exponent. A row is short (head_dim), so scalar decoding through a 256-entry table
// is not what a step's time goes to: 24 rows of 256 values are 6 thousand table reads.
inline void WidenFp8Row(float* out, const void* in, size_t n) {
  static const struct Table {
    float value[256];
    Table() {
      for (int code = 0; code < 256; ++code) value[code] = WidenE4M3(static_cast<uint8_t>(code));
    }
  } table;
  const auto* codes = static_cast<const uint8_t*>(in);
  for (size_t begin = 0; begin < n; begin += 32) {
    const float scale = WidenE8M0(codes[n + begin / 32]);
    const size_t end = begin + 32 < n ? begin + 32 : n;
    for (size_t i = begin; i < end; ++i) out[i] = table.value[codes[i]] * scale;
  }
}

}  // namespace
}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_KERNELS_FP8_TABLE_H_
