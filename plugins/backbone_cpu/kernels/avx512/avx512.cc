// SPDX-License-Identifier: Apache-2.0
//
// Kernels for AVX-512 F, BW, DQ and VL (with F16C's conversions, part of F).
#include <immintrin.h>

#include "kernels/fp8_table.h"
#include "kernels/kernels.h"

namespace backbone_cpu {
namespace {

struct Vec {
  using F = __m512;
  static constexpr size_t kLanes = 16;
  // 4 x 6 sums, 4 widened weights: 28 of 32 registers, 24 multiply-adds for 10 loads.
  static constexpr size_t kRows = 4;
  static constexpr size_t kTokens = 6;

  static __mmask16 Mask(size_t n) { return static_cast<__mmask16>((1u << n) - 1); }
  static F Zero() { return _mm512_setzero_ps(); }
  static F Set1(float value) { return _mm512_set1_ps(value); }
  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static F LoadN(const float* p, size_t n) { return _mm512_maskz_loadu_ps(Mask(n), p); }
  static void Store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static void StoreN(float* p, F x, size_t n) { _mm512_mask_storeu_ps(p, Mask(n), x); }
  static F FromBf16(__m256i bits) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16)); }
  static F LoadBf16(const uint16_t* p) { return FromBf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static F LoadBf16N(const uint16_t* p, size_t n) { return FromBf16(_mm256_maskz_loadu_epi16(Mask(n), p)); }
  static F LoadF16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F LoadF16N(const uint16_t* p, size_t n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(Mask(n), p)); }
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }
  static F Min(F a, F b) { return _mm512_min_ps(a, b); }
  static F RoundToInt(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F Pow2Times(F n, F x) { return _mm512_scalef_ps(x, n); }
  static float Sum(F x) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
  }
  static float MaxLane(F x) { return _mm512_reduce_max_ps(x); }
};

bool Supported() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

}  // namespace
}  // namespace backbone_cpu

#include "kernels/simd_kernels.h"

namespace backbone_cpu {
const Kernels kKernelsAvx512 = BACKBONE_CPU_SIMD_KERNELS("avx512", Supported);
}  // namespace backbone_cpu
