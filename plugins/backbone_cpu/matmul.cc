// SPDX-License-Identifier: Apache-2.0
#include "matmul.h"

#include <algorithm>
#include <cstring>

namespace backbone_cpu {

namespace {

using engram::sdk::TensorType;

// Below this many multiply-adds (some 2 microseconds) a second thread costs more than it brings.
constexpr size_t kSmallWork = 32 * 1024;
// Rows per item are a multiple of every kernel's row tile (8, 4 and 3).
constexpr size_t kRowQuantum = 24;
// Fewer and longer items read memory better, more of them share it out better.
constexpr size_t kItemsPerThread = 4;

void Multiply(const Kernels& kernels, const Matrix& w, size_t first_row, size_t num_rows, const MatmulJob& job,
              float* y) {
  const void* rows = w.Row(first_row);
  float* out = y + first_row;
  switch (w.type) {
    case TensorType::kBF16:
      kernels.matmul_bf16(static_cast<const uint16_t*>(rows), job.x, job.x_stride, out, job.y_stride, num_rows,
                          job.num_tokens, w.cols);
      break;
    case TensorType::kF16:
      kernels.matmul_f16(static_cast<const uint16_t*>(rows), job.x, job.x_stride, out, job.y_stride, num_rows,
                         job.num_tokens, w.cols);
      break;
    default:
      kernels.matmul_f32(static_cast<const float*>(rows), job.x, job.x_stride, out, job.y_stride, num_rows,
                         job.num_tokens, w.cols);
  }
}

void RunPart(const Kernels& kernels, const MatmulJob& job, size_t first_row, size_t num_rows) {
  Multiply(kernels, *job.w, first_row, num_rows, job, job.y);
  if (job.up != nullptr) Multiply(kernels, *job.up, first_row, num_rows, job, job.up_y);
  const bool has_bias = job.bias != nullptr && !job.bias->empty();
  if (!has_bias && job.up == nullptr) return;
  for (size_t t = 0; t < job.num_tokens; ++t) {
    float* y = job.y + t * job.y_stride + first_row;
    if (has_bias) kernels.axpy(y, job.bias->data() + first_row, 1.0f, num_rows);
    if (job.up != nullptr) kernels.silu_mul(y, job.up_y + t * job.y_stride + first_row, num_rows);
  }
}

}  // namespace

void RunMatmuls(const Compute& compute, std::span<const MatmulJob> jobs) {
  size_t total_rows = 0;
  size_t work = 0;
  for (const MatmulJob& job : jobs) {
    total_rows += job.w->rows;
    work += job.w->rows * job.w->cols * job.num_tokens * (job.up == nullptr ? 1 : 2);
  }
  const size_t num_threads = compute.pool.num_threads();
  const size_t wanted = num_threads == 1 ? total_rows : total_rows / (num_threads * kItemsPerThread);
  const size_t item_rows = std::max(kRowQuantum, wanted - wanted % kRowQuantum);
  size_t num_items = 0;
  for (const MatmulJob& job : jobs) num_items += (job.w->rows + item_rows - 1) / item_rows;

  compute.pool.ParallelFor(num_items, work < kSmallWork, [&](size_t item, size_t) {
    const MatmulJob* job = jobs.data();
    for (;; ++job) {
      const size_t items_here = (job->w->rows + item_rows - 1) / item_rows;
      if (item < items_here) break;
      item -= items_here;
    }
    const size_t first_row = item * item_rows;
    RunPart(compute.kernels, *job, first_row, std::min(item_rows, job->w->rows - first_row));
  });
}

void WidenRow(const Kernels& kernels, const Matrix& matrix, size_t row, float* out) {
  switch (matrix.type) {
    case TensorType::kBF16:
      kernels.widen_bf16(out, matrix.Row(row), matrix.cols);
      break;
    case TensorType::kF16:
      kernels.widen_f16(out, matrix.Row(row), matrix.cols);
      break;
    default:
      std::memcpy(out, matrix.Row(row), matrix.cols * sizeof(float));
  }
}

}  // namespace backbone_cpu
