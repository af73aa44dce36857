// SPDX-License-Identifier: Apache-2.0
//
// Products of weights with activations, spread over the threads.
#ifndef BACKBONE_CPU_MATMUL_H_
#define BACKBONE_CPU_MATMUL_H_

#include <cstddef>
#include <span>

#include "kernels/kernels.h"
#include "thread_pool.h"
#include "weights.h"

namespace backbone_cpu {

// What computing needs; owned by the backbone.
struct Compute {
  const Kernels& kernels;
  ThreadPool& pool;
};

// y [num_tokens][w->rows] = x [num_tokens][w->cols] * w^T (+ bias); rows of x and y are x_stride and y_stride apart.
// With `up`: y = silu(x * w^T) * (x * up^T), and up_y, laid out like y, is scratch.
struct MatmulJob {
  const Matrix* w = nullptr;
  const Matrix* up = nullptr;
  const Vector* bias = nullptr;  // [w->rows]; null or empty: none
  const float* x = nullptr;
  size_t x_stride = 0;
  float* y = nullptr;
  float* up_y = nullptr;
  size_t y_stride = 0;
  size_t num_tokens = 0;
};

// Runs independent jobs as one parallel section. Results do not depend on how many threads there are.
void RunMatmuls(const Compute& compute, std::span<const MatmulJob> jobs);

// out[0..n) = the values of row `row`, widened.
void WidenRow(const Kernels& kernels, const Matrix& matrix, size_t row, float* out);

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_MATMUL_H_
