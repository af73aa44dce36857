// SPDX-License-Identifier: Apache-2.0
//
// The kernels of kernels.h over one vector type. A file per instruction set defines `Vec` (its lanes and primitive
// operations) in the anonymous namespace of backbone_cpu and then includes this; so every function here has internal
// linkage and is compiled with that file's flags only.
//
// Vec provides: F (the register), kLanes, kRows and kTokens (matmul register tile), Zero, Set1, Load, LoadN, Store,
// StoreN, LoadBf16, LoadBf16N, LoadF16, LoadF16N, Fma(a, b, c) = a * b + c, Add, Sub, Mul, Div, Max, Min, Sum, MaxLane,
// RoundToInt, Pow2Times (2^n times x, n integral). The ...N forms touch n < kLanes elements and fill with zeros.
//
// Order of operations: lane j of a sum over i takes i = j mod kLanes in ascending order, and Sum() adds the lanes in
// one fixed tree. That is all an element's value depends on, whatever tile it was computed in.

namespace backbone_cpu {
namespace {

using F = Vec::F;
constexpr size_t kLanes = Vec::kLanes;

struct StoredF32 {
  using Type = float;
  static F Load(const float* p) { return Vec::Load(p); }
  static F LoadN(const float* p, size_t n) { return Vec::LoadN(p, n); }
};
struct StoredBf16 {
  using Type = uint16_t;
  static F Load(const uint16_t* p) { return Vec::LoadBf16(p); }
  static F LoadN(const uint16_t* p, size_t n) { return Vec::LoadBf16N(p, n); }
};
struct StoredF16 {
  using Type = uint16_t;
  static F Load(const uint16_t* p) { return Vec::LoadF16(p); }
  static F LoadN(const uint16_t* p, size_t n) { return Vec::LoadF16N(p, n); }
};

// R rows of w, `row_step` rows apart, times T tokens.
template <typename Stored, int R, int T>
inline void MatmulTile(const typename Stored::Type* w, const float* x, size_t x_stride, float* y, size_t y_stride,
                       size_t k, size_t row_step = 1) {
  const size_t w_step = row_step * k;
  F acc[R][T];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) acc[r][t] = Vec::Zero();
  }
  size_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    F wide[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) wide[r] = Stored::Load(w + r * w_step + i);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const F token = Vec::Load(x + t * x_stride + i);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) acc[r][t] = Vec::Fma(wide[r], token, acc[r][t]);
    }
  }
  if (i < k) {
    for (int r = 0; r < R; ++r) {
      const F wide = Stored::LoadN(w + r * w_step + i, k - i);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) acc[r][t] = Vec::Fma(wide, Vec::LoadN(x + t * x_stride + i, k - i), acc[r][t]);
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) y[t * y_stride + r * row_step] = Vec::Sum(acc[r][t]);
  }
}

// R rows, row_step apart, times num_tokens tokens, in tiles of kTokens and what is left.
template <typename Stored, int R>
inline void MatmulRows(const typename Stored::Type* w, const float* x, size_t x_stride, float* y, size_t y_stride,
                       size_t num_tokens, size_t k, size_t row_step = 1) {
  size_t t = 0;
  for (; t + Vec::kTokens <= num_tokens; t += Vec::kTokens) {
    MatmulTile<Stored, R, Vec::kTokens>(w, x + t * x_stride, x_stride, y + t * y_stride, y_stride, k, row_step);
  }
  const float* rest_x = x + t * x_stride;
  float* rest_y = y + t * y_stride;
  switch (num_tokens - t) {
    case 5:
      if constexpr (Vec::kTokens > 5) MatmulTile<Stored, R, 5>(w, rest_x, x_stride, rest_y, y_stride, k, row_step);
      break;
    case 4:
      if constexpr (Vec::kTokens > 4) MatmulTile<Stored, R, 4>(w, rest_x, x_stride, rest_y, y_stride, k, row_step);
      break;
    case 3:
      MatmulTile<Stored, R, 3>(w, rest_x, x_stride, rest_y, y_stride, k, row_step);
      break;
    case 2:
      MatmulTile<Stored, R, 2>(w, rest_x, x_stride, rest_y, y_stride, k, row_step);
      break;
    case 1:
      MatmulTile<Stored, R, 1>(w, rest_x, x_stride, rest_y, y_stride, k, row_step);
      break;
    default:
      break;
  }
}

template <typename Stored>
void Matmul(const typename Stored::Type* w, const float* x, size_t x_stride, float* y, size_t y_stride, size_t num_rows,
            size_t num_tokens, size_t k) {
  // Decode reads each weight once, from memory. A tile takes its rows from as many equal parts of w, so that the
  // hardware prefetcher sees streams that run on from tile to tile instead of ones that end with each row.
  if (num_tokens == 1) {
    const size_t step = num_rows / 8;
    for (size_t r = 0; r < step; ++r) MatmulTile<Stored, 8, 1>(w + r * k, x, x_stride, y + r, y_stride, k, step);
    for (size_t r = 8 * step; r < num_rows; ++r) MatmulTile<Stored, 1, 1>(w + r * k, x, x_stride, y + r, y_stride, k);
    return;
  }
  // A block of activations stays in half of a 1 MiB L2 while all rows pass over it.
  const size_t fitting = k == 0 ? num_tokens : (size_t{512} << 10) / (k * sizeof(float));
  const size_t block = fitting < Vec::kTokens ? Vec::kTokens : fitting - fitting % Vec::kTokens;
  for (size_t t = 0; t < num_tokens; t += block) {
    const size_t num_here = num_tokens - t < block ? num_tokens - t : block;
    const float* block_x = x + t * x_stride;
    float* block_y = y + t * y_stride;
    const size_t step = num_rows / Vec::kRows;
    for (size_t r = 0; r < step; ++r) {
      MatmulRows<Stored, Vec::kRows>(w + r * k, block_x, x_stride, block_y + r, y_stride, num_here, k, step);
    }
    for (size_t r = step * Vec::kRows; r < num_rows; ++r) {
      MatmulRows<Stored, 1>(w + r * k, block_x, x_stride, block_y + r, y_stride, num_here, k);
    }
  }
}

// R rows of J whole vectors, or of `partial` < kLanes elements when J is 1 and partial is not 0.
template <int R, int J>
inline void WeightedSumTile(float* out, size_t out_stride, const float* weights, size_t weights_stride,
                            const float* values, size_t num_positions, size_t n, size_t partial) {
  F acc[R][J];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j) {
      const float* from = out + r * out_stride + j * kLanes;
      acc[r][j] = partial == 0 ? Vec::Load(from) : Vec::LoadN(from, partial);
    }
  }
  for (size_t p = 0; p < num_positions; ++p) {
    F value[J];
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j) {
      const float* from = values + p * n + j * kLanes;
      value[j] = partial == 0 ? Vec::Load(from) : Vec::LoadN(from, partial);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const F weight = Vec::Set1(weights[r * weights_stride + p]);
#pragma GCC unroll 8
      for (int j = 0; j < J; ++j) acc[r][j] = Vec::Fma(weight, value[j], acc[r][j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j) {
      float* to = out + r * out_stride + j * kLanes;
      if (partial == 0) {
        Vec::Store(to, acc[r][j]);
      } else {
        Vec::StoreN(to, acc[r][j], partial);
      }
    }
  }
}

template <int R>
inline void WeightedSumRows(float* out, size_t out_stride, const float* weights, size_t weights_stride,
                            const float* values, size_t num_positions, size_t n) {
  size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    WeightedSumTile<R, 4>(out + i, out_stride, weights, weights_stride, values + i, num_positions, n, 0);
  }
  for (; i + kLanes <= n; i += kLanes) {
    WeightedSumTile<R, 1>(out + i, out_stride, weights, weights_stride, values + i, num_positions, n, 0);
  }
  if (i < n) {
    WeightedSumTile<R, 1>(out + i, out_stride, weights, weights_stride, values + i, num_positions, n, n - i);
  }
}

void WeightedSum(float* out, size_t out_stride, const float* weights, size_t weights_stride, const float* values,
                 size_t num_rows, size_t num_positions, size_t n) {
  constexpr size_t kSumRows = kLanes / 4;  // 4 x 4 accumulators of 32 registers, 2 x 4 of 16
  size_t r = 0;
  for (; r + kSumRows <= num_rows; r += kSumRows) {
    WeightedSumRows<kSumRows>(out + r * out_stride, out_stride, weights + r * weights_stride, weights_stride, values,
                              num_positions, n);
  }
  for (; r < num_rows; ++r) {
    WeightedSumRows<1>(out + r * out_stride, out_stride, weights + r * weights_stride, weights_stride, values,
                       num_positions, n);
  }
}

// exp: 2^round(x / ln 2) times a degree-6 polynomial of the rest (Cephes' coefficients); 2 ulp. Keeps NaN: Max and Min
// return their second operand when one is NaN.
inline F Exp(F x) {
  x = Vec::Min(Vec::Set1(88.7f), Vec::Max(Vec::Set1(-87.3f), x));
  const F n = Vec::RoundToInt(Vec::Mul(x, Vec::Set1(1.44269504088896341f)));
  F rest = Vec::Fma(n, Vec::Set1(-0.693359375f), x);
  rest = Vec::Fma(n, Vec::Set1(2.12194440e-4f), rest);
  F sum = Vec::Set1(1.9875691500e-4f);
  sum = Vec::Fma(sum, rest, Vec::Set1(1.3981999507e-3f));
  sum = Vec::Fma(sum, rest, Vec::Set1(8.3334519073e-3f));
  sum = Vec::Fma(sum, rest, Vec::Set1(4.1665795894e-2f));
  sum = Vec::Fma(sum, rest, Vec::Set1(1.6666665459e-1f));
  sum = Vec::Fma(sum, rest, Vec::Set1(5.0000001201e-1f));
  sum = Vec::Add(Vec::Fma(Vec::Mul(rest, rest), sum, rest), Vec::Set1(1.0f));
  return Vec::Pow2Times(n, sum);
}

inline F Silu(F x) {
  return Vec::Div(x, Vec::Add(Vec::Set1(1.0f), Exp(Vec::Sub(Vec::Zero(), x))));
}

void Softmax(float* x, size_t n, float scale) {
  const F scales = Vec::Set1(scale);
  F max = Vec::Set1(x[0] * scale);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F scaled = Vec::Mul(Vec::Load(x + i), scales);
    Vec::Store(x + i, scaled);
    max = Vec::Max(max, scaled);
  }
  float top = Vec::MaxLane(max);
  for (; i < n; ++i) {
    x[i] *= scale;
    if (x[i] > top) top = x[i];
  }
  const F tops = Vec::Set1(top);
  F sums = Vec::Zero();
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const F value = Exp(Vec::Sub(Vec::Load(x + i), tops));
    Vec::Store(x + i, value);
    sums = Vec::Add(sums, value);
  }
  if (i < n) {
    Vec::StoreN(x + i, Exp(Vec::Sub(Vec::LoadN(x + i, n - i), tops)), n - i);
    sums = Vec::Add(sums, Vec::LoadN(x + i, n - i));
  }
  const F inverse = Vec::Set1(1.0f / Vec::Sum(sums));
  for (i = 0; i + kLanes <= n; i += kLanes) Vec::Store(x + i, Vec::Mul(Vec::Load(x + i), inverse));
  if (i < n) Vec::StoreN(x + i, Vec::Mul(Vec::LoadN(x + i, n - i), inverse), n - i);
}

float RmsScale(const float* x, size_t n, float eps) {
  F sums = Vec::Zero();
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F value = Vec::Load(x + i);
    sums = Vec::Fma(value, value, sums);
  }
  if (i < n) {
    const F value = Vec::LoadN(x + i, n - i);
    sums = Vec::Fma(value, value, sums);
  }
  return 1.0f / __builtin_sqrtf(Vec::Sum(sums) / static_cast<float>(n) + eps);
}

float WeightedDot(const float* a, const float* aw, const float* b, const float* bw, size_t n) {
  F sums = Vec::Zero();
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    sums = Vec::Fma(Vec::Mul(Vec::Load(a + i), Vec::Load(aw + i)), Vec::Mul(Vec::Load(b + i), Vec::Load(bw + i)), sums);
  }
  if (i < n) {
    const size_t rest = n - i;
    sums = Vec::Fma(Vec::Mul(Vec::LoadN(a + i, rest), Vec::LoadN(aw + i, rest)),
                    Vec::Mul(Vec::LoadN(b + i, rest), Vec::LoadN(bw + i, rest)), sums);
  }
  return Vec::Sum(sums);
}

// out[i] = function(i-th elements of the inputs), whole vectors first, then the rest with the same operations.
template <typename Function, typename... Inputs>
inline void ForEach(float* out, size_t n, const Function& function, Inputs... inputs) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Vec::Store(out + i, function(Vec::Load(inputs + i)...));
  if (i < n) Vec::StoreN(out + i, function(Vec::LoadN(inputs + i, n - i)...), n - i);
}

void ScaleBy(float* out, const float* x, const float* weight, float scale, size_t n) {
  const F scales = Vec::Set1(scale);
  ForEach(
      out, n, [scales](F value, F w) { return Vec::Mul(Vec::Mul(value, scales), w); }, x, weight);
}

void Axpy(float* y, const float* x, float a, size_t n) {
  const F factor = Vec::Set1(a);
  ForEach(
      y, n, [factor](F sum, F value) { return Vec::Fma(factor, value, sum); }, static_cast<const float*>(y), x);
}

void SiluMul(float* gate, const float* up, size_t n) {
  ForEach(
      gate, n, [](F g, F u) { return Vec::Mul(Silu(g), u); }, static_cast<const float*>(gate), up);
}

void ConvTap(float* acc, const float* weight, const float* value, float scale, size_t n) {
  const F scales = Vec::Set1(scale);
  ForEach(
      acc, n, [scales](F sum, F w, F v) { return Vec::Fma(Vec::Mul(scales, w), v, sum); },
      static_cast<const float*>(acc), weight, value);
}

void AddGatedConv(float* h, const float* acc, const float* value, float gate, size_t n) {
  const F gates = Vec::Set1(gate);
  ForEach(
      h, n, [gates](F sum, F conv, F v) { return Vec::Add(sum, Vec::Fma(gates, v, Silu(conv))); },
      static_cast<const float*>(h), acc, value);
}

void Rotate(float* x, const float* cosine, const float* sine, size_t half) {
  const auto rotate = [](F first, F second, F c, F s, F* new_first, F* new_second) {
    *new_first = Vec::Sub(Vec::Mul(first, c), Vec::Mul(second, s));
    *new_second = Vec::Add(Vec::Mul(second, c), Vec::Mul(first, s));
  };
  F first;
  F second;
  size_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    rotate(Vec::Load(x + i), Vec::Load(x + half + i), Vec::Load(cosine + i), Vec::Load(sine + i), &first, &second);
    Vec::Store(x + i, first);
    Vec::Store(x + half + i, second);
  }
  if (i < half) {
    const size_t rest = half - i;
    rotate(Vec::LoadN(x + i, rest), Vec::LoadN(x + half + i, rest), Vec::LoadN(cosine + i, rest),
           Vec::LoadN(sine + i, rest), &first, &second);
    Vec::StoreN(x + i, first, rest);
    Vec::StoreN(x + half + i, second, rest);
  }
}

template <typename Stored>
void WidenHalf(float* out, const void* in, size_t n) {
  // The input may lie at odd addresses; the loads are unaligned ones, so only the pointer type needs care.
  const auto* from = static_cast<const typename Stored::Type*>(in);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Vec::Store(out + i, Stored::Load(from + i));
  if (i < n) Vec::StoreN(out + i, Stored::LoadN(from + i, n - i), n - i);
}

}  // namespace
}  // namespace backbone_cpu

// The table of a set; the including file names it.
#define BACKBONE_CPU_SIMD_KERNELS(set_name, is_supported)                                                            \
  {                                                                                                                  \
    .name = set_name, .supported = is_supported, .matmul_f32 = Matmul<StoredF32>, .matmul_bf16 = Matmul<StoredBf16>, \
    .matmul_f16 = Matmul<StoredF16>, .weighted_sum = WeightedSum, .softmax = Softmax, .rms_scale = RmsScale,         \
    .scale_by = ScaleBy, .weighted_dot = WeightedDot, .axpy = Axpy, .silu_mul = SiluMul, .conv_tap = ConvTap,        \
    .add_gated_conv = AddGatedConv, .rotate = Rotate, .widen_bf16 = WidenHalf<StoredBf16>,                           \
    .widen_f16 = WidenHalf<StoredF16>, .widen_fp8 = WidenFp8Row                                                      \
  }
