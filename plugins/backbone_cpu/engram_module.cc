// SPDX-License-Identifier: Apache-2.0
#include "engram_module.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace backbone_cpu {

namespace {

constexpr size_t kSmallWork = 32 * 1024;

void WidenStoredRow(const Kernels& kernels, engram_row_format format, const uint8_t* row, size_t n, float* out) {
  switch (format) {
    case ENGRAM_ROW_BF16:
      kernels.widen_bf16(out, row, n);
      break;
    case ENGRAM_ROW_F16:
      kernels.widen_f16(out, row, n);
      break;
    case ENGRAM_ROW_FP8_E4M3_UE8M0:
      kernels.widen_fp8(out, row, n);
      break;
    default:
      std::memcpy(out, row, n * sizeof(float));
  }
}

}  // namespace

uint64_t RowBytes(engram_row_format format, uint32_t head_dim) {
  switch (format) {
    case ENGRAM_ROW_F32:
      return uint64_t{head_dim} * 4;
    case ENGRAM_ROW_FP8_E4M3_UE8M0:
      return uint64_t{head_dim} + (head_dim + 31) / 32;
    default:
      return uint64_t{head_dim} * 2;
  }
}

EngramModule::EngramModule(const ModelConfig& config, engram_row_format row_format, const Compute& compute,
                           size_t max_tokens)
    : config_(config), row_format_(row_format), compute_(compute) {
  if (config.engram.layers.empty()) return;
  memory_.resize(max_tokens * config.engram.memory_width());
  keys_.resize(max_tokens * config.stream_width());
  values_.resize(max_tokens * config.hidden_size);
  sums_.resize(compute.pool.num_threads() * config.hidden_size);
}

void EngramModule::Run(const EngramWeights& weights, uint32_t engram_layer, const Step& step, const uint8_t* rows,
                       KvCache* cache, float* streams, float* gates) {
  const Kernels& kernels = compute_.kernels;
  const EngramConfig& engram = config_.engram;
  const size_t count = step.memory_tokens.size();
  const size_t hidden = config_.hidden_size;
  const size_t num_streams = config_.num_streams;
  const size_t row_bytes = RowBytes(row_format_, engram.head_dim);
  const size_t columns = engram.num_columns();
  const bool is_small = count * config_.stream_width() < kSmallWork;

  compute_.pool.ParallelFor(count, count * engram.memory_width() < kSmallWork, [&](size_t i, size_t) {
    const uint8_t* row = rows + step.memory_tokens[i] * columns * row_bytes;
    float* memory = memory_.data() + i * engram.memory_width();
    for (size_t column = 0; column < columns; ++column) {
      WidenStoredRow(kernels, row_format_, row + column * row_bytes, engram.head_dim,
                     memory + column * engram.head_dim);
    }
  });
  const auto project = [&](const Matrix& w, float* y) {
    return MatmulJob{.w = &w,
                     .x = memory_.data(),
                     .x_stride = engram.memory_width(),
                     .y = y,
                     .y_stride = w.rows,
                     .num_tokens = count};
  };
  const std::array<MatmulJob, 2> jobs = {project(weights.key, keys_.data()), project(weights.value, values_.data())};
  RunMatmuls(compute_, jobs);

  // All gates and values first: a token's convolution reads those of earlier tokens of the same slice.
  compute_.pool.ParallelFor(count, is_small, [&](size_t i, size_t) {
    const size_t token = step.memory_tokens[i];
    float* token_streams = streams + token * config_.stream_width();
    float* token_gates = gates + token * num_streams;
    Gate(weights, i, token_streams, token_gates);
    const float* value = values_.data() + i * hidden;
    if (weights.conv.empty()) {
      for (size_t s = 0; s < num_streams; ++s) kernels.axpy(token_streams + s * hidden, value, token_gates[s], hidden);
      return;
    }
    const StepToken& place = step.tokens[token];
    std::memcpy(cache->ConvValues(place.block(), engram_layer) + place.slot() * hidden, value, hidden * sizeof(float));
    double square = 0;
    for (size_t j = 0; j < hidden; ++j) square += static_cast<double>(value[j]) * value[j];
    const double mean = square / static_cast<double>(hidden);
    float* scales = cache->ConvScales(place.block(), engram_layer) + place.slot() * num_streams;
    for (size_t s = 0; s < num_streams; ++s) {
      const double gate = token_gates[s];
      scales[s] = static_cast<float>(gate / std::sqrt(gate * gate * mean + config_.rms_norm_eps));
    }
  });
  if (weights.conv.empty()) return;
  compute_.pool.ParallelFor(count, is_small, [&](size_t i, size_t thread) {
    const size_t token = step.memory_tokens[i];
    Convolve(weights, engram_layer, i, step.tokens[token], gates + token * num_streams, cache,
             streams + token * config_.stream_width(), sums_.data() + thread * hidden);
  });
}

void EngramModule::Gate(const EngramWeights& weights, size_t index, const float* streams, float* gates) const {
  const Kernels& kernels = compute_.kernels;
  const size_t hidden = config_.hidden_size;
  for (size_t s = 0; s < config_.num_streams; ++s) {
    const float* key = keys_.data() + index * config_.stream_width() + s * hidden;
    const float* stream = streams + s * hidden;
    const float product = kernels.weighted_dot(key, weights.key_norm.data() + s * hidden, stream,
                                               weights.query_norm.data() + s * hidden, hidden);
    const float dot = product * kernels.rms_scale(key, hidden, config_.rms_norm_eps) *
                      kernels.rms_scale(stream, hidden, config_.rms_norm_eps) / std::sqrt(static_cast<float>(hidden));
    const float root = std::sqrt(std::max(std::fabs(dot), 1e-6f));
    gates[s] = 1.0f / (1.0f + std::exp(dot < 0 ? root : -root));
  }
}

void EngramModule::Convolve(const EngramWeights& weights, uint32_t engram_layer, size_t index, const StepToken& place,
                            const float* gates, KvCache* cache, float* streams, float* sum) const {
  const Kernels& kernels = compute_.kernels;
  const size_t hidden = config_.hidden_size;
  const uint32_t taps = config_.engram.kernel_size;
  const uint32_t dilation = config_.engram.max_ngram_size;
  for (size_t s = 0; s < config_.num_streams; ++s) {
    std::fill_n(sum, hidden, 0.0f);
    for (uint32_t tap = 0; tap < taps; ++tap) {
      const uint32_t back = (taps - 1 - tap) * dilation;
      if (back > place.position) continue;
      const StepToken past = {place.sequence, place.position - back};
      kernels.conv_tap(sum, weights.conv.data() + (s * taps + tap) * hidden,
                       cache->ConvValues(past.block(), engram_layer) + past.slot() * hidden,
                       cache->ConvScales(past.block(), engram_layer)[past.slot() * config_.num_streams + s], hidden);
    }
    kernels.add_gated_conv(streams + s * hidden, sum, values_.data() + index * hidden, gates[s], hidden);
  }
}

}  // namespace backbone_cpu
