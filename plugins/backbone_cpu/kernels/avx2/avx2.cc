// SPDX-License-Identifier: Apache-2.0
//
// Kernels for AVX2 with FMA and F16C.
#include <immintrin.h>

#include "kernels/fp8_table.h"
#include "kernels/kernels.h"

namespace backbone_cpu {
namespace {

struct Vec {
  using F = __m256;
  static constexpr size_t kLanes = 8;
  // 3 x 4 sums, 3 widened weights and one token: all 16 registers.
  static constexpr size_t kRows = 3;
  static constexpr size_t kTokens = 4;

  static __m256i Mask(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static __m128i LoadHalvesN(const uint16_t* p, size_t n) {
    uint16_t filled[8] = {};
    __builtin_memcpy(filled, p, 2 * n);
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(filled));
  }
  static F Zero() { return _mm256_setzero_ps(); }
  static F Set1(float value) { return _mm256_set1_ps(value); }
  static F Load(const float* p) { return _mm256_loadu_ps(p); }
  static F LoadN(const float* p, size_t n) { return _mm256_maskload_ps(p, Mask(n)); }
  static void Store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static void StoreN(float* p, F x, size_t n) { _mm256_maskstore_ps(p, Mask(n), x); }
  static F FromBf16(__m128i bits) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16)); }
  static F LoadBf16(const uint16_t* p) { return FromBf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static F LoadBf16N(const uint16_t* p, size_t n) { return FromBf16(LoadHalvesN(p, n)); }
  static F LoadF16(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static F LoadF16N(const uint16_t* p, size_t n) { return _mm256_cvtph_ps(LoadHalvesN(p, n)); }
  static F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F Add(F a, F b) { return _mm256_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm256_div_ps(a, b); }
  static F Max(F a, F b) { return _mm256_max_ps(a, b); }
  static F Min(F a, F b) { return _mm256_min_ps(a, b); }
  static F RoundToInt(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F Pow2Times(F n, F x) {
    // n is in [-126, 128]; in two steps, for 2^128 has no float.
    const __m256i exponent = _mm256_cvtps_epi32(n);
    const __m256i half = _mm256_srai_epi32(exponent, 1);
    const __m256i bias = _mm256_set1_epi32(127);
    const F first = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    const F second =
        _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(exponent, half), bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(x, first), second);
  }
  static float Sum(F x) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
  }
  static float MaxLane(F x) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
  }
};

bool Supported() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

}  // namespace
}  // namespace backbone_cpu

#include "kernels/simd_kernels.h"

namespace backbone_cpu {
const Kernels kKernelsAvx2 = BACKBONE_CPU_SIMD_KERNELS("avx2", Supported);
}  // namespace backbone_cpu
