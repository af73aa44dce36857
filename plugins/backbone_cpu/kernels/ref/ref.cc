// SPDX-License-Identifier: Apache-2.0
//
// The specification of every kernel: plain loops, sums in double.
#include <cmath>
#include <cstring>

#include "kernels/fp8_table.h"
#include "kernels/kernels.h"

namespace backbone_cpu {
namespace {

float Same(float value) {
  return value;
}

template <typename Stored, float (*Widen)(Stored)>
void Matmul(const Stored* w, const float* x, size_t x_stride, float* y, size_t y_stride, size_t num_rows,
            size_t num_tokens, size_t k) {
  for (size_t t = 0; t < num_tokens; ++t) {
    for (size_t r = 0; r < num_rows; ++r) {
      double sum = 0;
      for (size_t i = 0; i < k; ++i) sum += static_cast<double>(Widen(w[r * k + i])) * x[t * x_stride + i];
      y[t * y_stride + r] = static_cast<float>(sum);
    }
  }
}

void WeightedSum(float* out, size_t out_stride, const float* weights, size_t weights_stride, const float* values,
                 size_t num_rows, size_t num_positions, size_t n) {
  for (size_t r = 0; r < num_rows; ++r) {
    for (size_t p = 0; p < num_positions; ++p) {
      for (size_t i = 0; i < n; ++i) out[r * out_stride + i] += weights[r * weights_stride + p] * values[p * n + i];
    }
  }
}

void Softmax(float* x, size_t n, float scale) {
  float max = x[0] * scale;
  for (size_t i = 0; i < n; ++i) {
    x[i] *= scale;
    if (x[i] > max) max = x[i];
  }
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    x[i] = std::exp(x[i] - max);
    sum += x[i];
  }
  const float inverse = static_cast<float>(1.0 / sum);
  for (size_t i = 0; i < n; ++i) x[i] *= inverse;
}

float RmsScale(const float* x, size_t n, float eps) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  return static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(n) + eps));
}

void ScaleBy(float* out, const float* x, const float* weight, float scale, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

float WeightedDot(const float* a, const float* aw, const float* b, const float* bw, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * aw[i] * b[i] * bw[i];
  return static_cast<float>(sum);
}

float Silu(float x) {
  return x / (1.0f + std::exp(-x));
}

void Axpy(float* y, const float* x, float a, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] += a * x[i];
}

void SiluMul(float* gate, const float* up, size_t n) {
  for (size_t i = 0; i < n; ++i) gate[i] = Silu(gate[i]) * up[i];
}

void ConvTap(float* acc, const float* weight, const float* value, float scale, size_t n) {
  for (size_t i = 0; i < n; ++i) acc[i] += scale * weight[i] * value[i];
}

void AddGatedConv(float* h, const float* acc, const float* value, float gate, size_t n) {
  for (size_t i = 0; i < n; ++i) h[i] += gate * value[i] + Silu(acc[i]);
}

void Rotate(float* x, const float* cosine, const float* sine, size_t half) {
  for (size_t i = 0; i < half; ++i) {
    const float first = x[i];
    const float second = x[half + i];
    x[i] = first * cosine[i] - second * sine[i];
    x[half + i] = second * cosine[i] + first * sine[i];
  }
}

template <float (*Widen)(uint16_t)>
void WidenHalf(float* out, const void* in, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    uint16_t bits;
    std::memcpy(&bits, static_cast<const char*>(in) + 2 * i, sizeof(bits));
    out[i] = Widen(bits);
  }
}

bool Supported() {
  return true;
}

}  // namespace

const Kernels kKernelsRef = {
    .name = "ref",
    .supported = Supported,
    .matmul_f32 = Matmul<float, Same>,
    .matmul_bf16 = Matmul<uint16_t, WidenBf16>,
    .matmul_f16 = Matmul<uint16_t, WidenF16>,
    .weighted_sum = WeightedSum,
    .softmax = Softmax,
    .rms_scale = RmsScale,
    .scale_by = ScaleBy,
    .weighted_dot = WeightedDot,
    .axpy = Axpy,
    .silu_mul = SiluMul,
    .conv_tap = ConvTap,
    .add_gated_conv = AddGatedConv,
    .rotate = Rotate,
    .widen_bf16 = WidenHalf<WidenBf16>,
    .widen_f16 = WidenHalf<WidenF16>,
    .widen_fp8 = WidenFp8Row,
};

}  // namespace backbone_cpu
