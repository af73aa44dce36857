// SPDX-License-Identifier: Apache-2.0
//
// The kernel seam: everything the backbone computes per element or per row goes through one `Kernels` table, chosen
// once when a model is opened. `ref` is the specification (plain loops, double sums); the other sets agree with it to
// float32 rounding.
//
// Contract of every function, and what makes results independent of batch size, chunking and threads: the operations
// behind one output element, and their order, depend only on that element's own inputs and on k, n or num_positions,
// never on how many rows or tokens the call has, nor on where in a call the element lies.
//
// Arrays need the alignment of their element type only. Nothing outside the described ranges is read or written.
// Functions are pure but for their output, and may run on any number of threads at once. Files that implement a set
// for an instruction set use no standard library.
#ifndef BACKBONE_CPU_KERNELS_KERNELS_H_
#define BACKBONE_CPU_KERNELS_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

namespace backbone_cpu {

struct Kernels {
  const char* name;
  bool (*supported)();  // whether this processor can run the set

  // y[t][r] = sum over i < k of w[r][i] * x[t][i]. w [num_rows][k] dense; x [num_tokens][>= k] with row stride
  // x_stride, y [num_tokens][>= num_rows] with row stride y_stride, both in floats. k, num_rows, num_tokens may be 0.
  void (*matmul_f32)(const float* w, const float* x, size_t x_stride, float* y, size_t y_stride, size_t num_rows,
                     size_t num_tokens, size_t k);
  void (*matmul_bf16)(const uint16_t* w, const float* x, size_t x_stride, float* y, size_t y_stride, size_t num_rows,
                      size_t num_tokens, size_t k);
  void (*matmul_f16)(const uint16_t* w, const float* x, size_t x_stride, float* y, size_t y_stride, size_t num_rows,
                     size_t num_tokens, size_t k);

  // out[r][i] += sum over p < num_positions, in order, of weights[r][p] * values[p][i].
  // values [num_positions][n] dense; out and weights with strides in floats. A zero weight leaves the sum as it is.
  void (*weighted_sum)(float* out, size_t out_stride, const float* weights, size_t weights_stride, const float* values,
                       size_t num_rows, size_t num_positions, size_t n);

  // In place: x[i] = exp(scale * x[i] - max) / sum. n >= 1.
  void (*softmax)(float* x, size_t n, float scale);

  // 1 / sqrt(mean(x^2) + eps). n >= 1.
  float (*rms_scale)(const float* x, size_t n, float eps);
  // out[i] = x[i] * scale * weight[i]; out may be x.
  void (*scale_by)(float* out, const float* x, const float* weight, float scale, size_t n);
  // sum of a[i] * aw[i] * b[i] * bw[i].
  float (*weighted_dot)(const float* a, const float* aw, const float* b, const float* bw, size_t n);

  // y[i] += a * x[i].
  void (*axpy)(float* y, const float* x, float a, size_t n);
  // gate[i] = silu(gate[i]) * up[i], silu(x) = x / (1 + exp(-x)).
  void (*silu_mul)(float* gate, const float* up, size_t n);
  // acc[i] += scale * weight[i] * value[i]: one tap of a depthwise convolution.
  void (*conv_tap)(float* acc, const float* weight, const float* value, float scale, size_t n);
  // h[i] += gate * value[i] + silu(acc[i]).
  void (*add_gated_conv)(float* h, const float* acc, const float* value, float gate, size_t n);

  // Rotate-half rotary embedding of one head in place, x [2 * half]: (x0, x1) -> (x0 c - x1 s, x1 c + x0 s).
  void (*rotate)(float* x, const float* cosine, const float* sine, size_t half);

  // Stored values to float32, exactly.
  void (*widen_bf16)(float* out, const void* in, size_t n);
  void (*widen_f16)(float* out, const void* in, size_t n);
  // n E4M3 codes, then ceil(n / 32) E8M0 exponents: out = e4m3(code) * 2^(exponent - 127); exponent 255 is NaN.
  void (*widen_fp8)(float* out, const void* in, size_t n);
};

extern const Kernels kKernelsRef;
#if defined(__x86_64__)
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;
#endif

// All sets this build has, best first; ends with ref. `count` receives their number.
const Kernels* const* AllKernels(size_t* count);

// The set called `name`, or the best this processor runs when `name` is empty. Null if there is none of that name, or
// this processor cannot run it.
const Kernels* ChooseKernels(const char* name);

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_KERNELS_KERNELS_H_
