// SPDX-License-Identifier: Apache-2.0
#include "hyper_connections.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace backbone_cpu {

namespace {

constexpr size_t kSmallWork = 32 * 1024;

float Sigmoid(float x) {
  return 1.0f / (1.0f + std::exp(-x));
}

// Rows: softmax plus eps; then columns and rows in turn are divided by their sums. c [S][S], row-major.
void Sinkhorn(float* c, size_t streams, uint32_t iterations, float eps) {
  for (size_t row = 0; row < streams; ++row) {
    float* values = c + row * streams;
    const float max = *std::max_element(values, values + streams);
    float sum = 0;
    for (size_t i = 0; i < streams; ++i) sum += values[i] = std::exp(values[i] - max);
    for (size_t i = 0; i < streams; ++i) values[i] = values[i] / sum + eps;
  }
  const auto normalise = [&](size_t line_stride, size_t item_stride) {
    for (size_t line = 0; line < streams; ++line) {
      float sum = eps;
      for (size_t i = 0; i < streams; ++i) sum += c[line * line_stride + i * item_stride];
      for (size_t i = 0; i < streams; ++i) c[line * line_stride + i * item_stride] /= sum;
    }
  };
  normalise(1, streams);
  for (uint32_t i = 1; i < iterations; ++i) {
    normalise(streams, 1);
    normalise(1, streams);
  }
}

}  // namespace

HyperConnections::HyperConnections(const ModelConfig& config, const Compute& compute, size_t max_tokens)
    : config_(config), compute_(compute), mix_stride_(size_t{config.num_streams} * (2 + config.num_streams)) {
  if (config.num_streams == 1) return;
  mix_.resize(max_tokens * mix_stride_);
  updated_.resize(compute.pool.num_threads() * config.stream_width());
}

void HyperConnections::Read(const MixWeights& weights, const float* streams, size_t num_tokens, float* x) {
  const size_t width = config_.stream_width();
  const size_t hidden = config_.hidden_size;
  const MatmulJob job = {.w = &weights.fn,
                         .x = streams,
                         .x_stride = width,
                         .y = mix_.data(),
                         .y_stride = mix_stride_,
                         .num_tokens = num_tokens};
  RunMatmuls(compute_, {&job, 1});
  compute_.pool.ParallelFor(num_tokens, num_tokens * width < kSmallWork, [&](size_t t, size_t) {
    const float* token_streams = streams + t * width;
    float* mix = mix_.data() + t * mix_stride_;
    ComputeMix(weights, token_streams, mix);
    std::fill_n(x + t * hidden, hidden, 0.0f);
    compute_.kernels.weighted_sum(x + t * hidden, hidden, mix, config_.num_streams, token_streams, 1,
                                  config_.num_streams, hidden);
  });
}

// mix holds fn times the streams and is replaced by pre, post and the transposed C (pre alone for the head).
void HyperConnections::ComputeMix(const MixWeights& weights, const float* streams, float* mix) const {
  const size_t count = config_.num_streams;
  const float scale = compute_.kernels.rms_scale(streams, config_.stream_width(), config_.rms_norm_eps);
  const auto value = [&](size_t i, size_t group) { return mix[i] * scale * weights.scale[group] + weights.base[i]; };
  for (size_t s = 0; s < count; ++s) mix[s] = Sigmoid(value(s, 0)) + config_.hc_eps;
  if (weights.fn.rows == count) return;
  for (size_t s = count; s < 2 * count; ++s) mix[s] = 2.0f * Sigmoid(value(s, 1));
  for (size_t i = 2 * count; i < mix_stride_; ++i) mix[i] = value(i, 2);
  float* c = mix + 2 * count;
  Sinkhorn(c, count, config_.sinkhorn_iterations, config_.hc_eps);
  for (size_t j = 0; j < count; ++j) {
    for (size_t k = j + 1; k < count; ++k) std::swap(c[j * count + k], c[k * count + j]);
  }
}

void HyperConnections::Update(const float* out, size_t num_tokens, float* streams) {
  const size_t width = config_.stream_width();
  const size_t hidden = config_.hidden_size;
  const size_t count = config_.num_streams;
  compute_.pool.ParallelFor(num_tokens, num_tokens * width < kSmallWork, [&](size_t t, size_t thread) {
    const float* post = mix_.data() + t * mix_stride_ + count;
    float* updated = updated_.data() + thread * width;
    std::fill_n(updated, width, 0.0f);
    compute_.kernels.weighted_sum(updated, hidden, post, 1, out + t * hidden, count, 1, hidden);
    compute_.kernels.weighted_sum(updated, hidden, post + count, count, streams + t * width, count, count, hidden);
    std::memcpy(streams + t * width, updated, width * sizeof(float));
  });
}

}  // namespace backbone_cpu
