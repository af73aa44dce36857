// SPDX-License-Identifier: Apache-2.0
#include "attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace backbone_cpu {

namespace {
// Query rows (tokens x heads of a group) per pass over a block: enough to fill the matmul's token tiles, few enough for
// their scores to stay in L2 at a few thousand positions.
constexpr size_t kTileRows = 24;
constexpr size_t kSmallWork = 32 * 1024;
constexpr uint32_t kBlock = KvCache::kBlockPositions;
}  // namespace

Attention::Attention(const ModelConfig& config, const Compute& compute, size_t max_tokens, size_t max_context)
    : config_(config),
      compute_(compute),
      group_(config.num_heads / config.num_kv_heads),
      tile_tokens_(std::max<size_t>(1, kTileRows / group_)),
      score_stride_((max_context + kBlock - 1) / kBlock * kBlock),
      cosine_(max_tokens * config.head_dim / 2),
      sine_(cosine_.size()),
      q_(max_tokens * config.query_width()),
      k_(max_tokens * config.kv_width()),
      v_(k_.size()),
      attended_(q_.size()),
      tiles_(compute.pool.num_threads() * 2 * tile_tokens_ * group_ * config.head_dim),
      scores_(AllocateAligned(compute.pool.num_threads() * tile_tokens_ * group_ * score_stride_ * sizeof(float))) {}

void Attention::Prepare(const Step& step) {
  const size_t half = config_.head_dim / 2;
  for (size_t t = 0; t < step.tokens.size(); ++t) {
    for (size_t i = 0; i < half; ++i) {
      const double angle = config_.inverse_frequencies[i] * step.tokens[t].position;
      cosine_[t * half + i] = static_cast<float>(std::cos(angle));
      sine_[t * half + i] = static_cast<float>(std::sin(angle));
    }
  }
  work_.clear();
  size_t work = 0;
  for (uint32_t s = 0; s < step.slices.size(); ++s) {
    const StepSlice& slice = step.slices[s];
    work += size_t{slice.num_tokens} * (slice.position + slice.num_tokens) * config_.query_width();
    for (uint32_t head = 0; head < config_.num_kv_heads; ++head) {
      for (size_t first = 0; first < slice.num_tokens; first += tile_tokens_) {
        const size_t count = std::min<size_t>(tile_tokens_, slice.num_tokens - first);
        work_.push_back({s, static_cast<uint32_t>(first), static_cast<uint32_t>(count), head});
      }
    }
  }
  is_small_ = work < kSmallWork;
}

void Attention::Run(const LayerWeights& weights, uint32_t layer, const Step& step, const float* x, KvCache* cache,
                    float* out) {
  const size_t num_tokens = step.tokens.size();
  const size_t hidden = config_.hidden_size;
  const auto project = [&](const Matrix& w, const Vector& bias, float* y) {
    return MatmulJob{
        .w = &w, .bias = &bias, .x = x, .x_stride = hidden, .y = y, .y_stride = w.rows, .num_tokens = num_tokens};
  };
  const std::array<MatmulJob, 3> jobs = {project(weights.q, weights.q_bias, q_.data()),
                                         project(weights.k, weights.k_bias, k_.data()),
                                         project(weights.v, weights.v_bias, v_.data())};
  RunMatmuls(compute_, jobs);
  compute_.pool.ParallelFor(num_tokens, num_tokens * config_.query_width() < kSmallWork,
                            [&](size_t t, size_t) { RotateAndStore(weights, layer, t, step.tokens[t], cache); });
  compute_.pool.ParallelFor(work_.size(), is_small_, [&](size_t item, size_t thread) {
    const Tile& tile = work_[item];
    Attend(layer, step.slices[tile.slice], tile.first, tile.count, tile.kv_head, thread, cache);
  });
  const MatmulJob output = {.w = &weights.o,
                            .bias = &weights.o_bias,
                            .x = attended_.data(),
                            .x_stride = config_.query_width(),
                            .y = out,
                            .y_stride = hidden,
                            .num_tokens = num_tokens};
  RunMatmuls(compute_, {&output, 1});
}

void Attention::RotateAndStore(const LayerWeights& weights, uint32_t layer, size_t token, const StepToken& place,
                               KvCache* cache) {
  const Kernels& kernels = compute_.kernels;
  const size_t head_dim = config_.head_dim;
  const float* cosine = cosine_.data() + token * head_dim / 2;
  const float* sine = sine_.data() + token * head_dim / 2;
  const auto prepare = [&](float* head, const Vector& norm) {
    if (!norm.empty()) {
      kernels.scale_by(head, head, norm.data(), kernels.rms_scale(head, head_dim, config_.rms_norm_eps), head_dim);
    }
    kernels.rotate(head, cosine, sine, head_dim / 2);
  };
  float* q = q_.data() + token * config_.query_width();
  for (size_t head = 0; head < config_.num_heads; ++head) prepare(q + head * head_dim, weights.q_norm);
  float* k = k_.data() + token * config_.kv_width();
  const float* v = v_.data() + token * config_.kv_width();
  const size_t slot = size_t{place.slot()} * head_dim;
  for (uint32_t head = 0; head < config_.num_kv_heads; ++head) {
    prepare(k + head * head_dim, weights.k_norm);
    std::memcpy(cache->Keys(place.block(), layer, head) + slot, k + head * head_dim, head_dim * sizeof(float));
    std::memcpy(cache->Values(place.block(), layer, head) + slot, v + head * head_dim, head_dim * sizeof(float));
  }
}

// Tokens [first, first + count) of a slice, all query heads of one KV head. Scores of positions after a token's own are
// computed with the rest of their block and then set to a weight of zero, which leaves sums as they are; so a token's
// result does not depend on which tokens share its tile.
void Attention::Attend(uint32_t layer, const StepSlice& slice, size_t first, size_t count, uint32_t kv_head,
                       size_t thread, KvCache* cache) {
  const Kernels& kernels = compute_.kernels;
  const size_t head_dim = config_.head_dim;
  const size_t rows = count * group_;
  const size_t tile_floats = tile_tokens_ * group_ * head_dim;
  float* queries = tiles_.data() + thread * 2 * tile_floats;
  float* sums = queries + tile_floats;
  float* scores = static_cast<float*>(scores_.get()) + thread * tile_tokens_ * group_ * score_stride_;
  const size_t context = slice.position + first + count;  // positions the last token sees

  for (size_t t = 0; t < count; ++t) {
    const size_t token = slice.first_token + first + t;
    std::memcpy(queries + t * group_ * head_dim,
                q_.data() + token * config_.query_width() + kv_head * group_ * head_dim,
                group_ * head_dim * sizeof(float));
  }
  std::fill_n(sums, rows * head_dim, 0.0f);
  for (size_t begin = 0; begin < context; begin += kBlock) {
    const size_t here = std::min<size_t>(kBlock, context - begin);
    kernels.matmul_f32(cache->Keys(slice.sequence->blocks[begin / kBlock], layer, kv_head), queries, head_dim,
                       scores + begin, score_stride_, here, rows, head_dim);
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  for (size_t row = 0; row < rows; ++row) {
    float* row_scores = scores + row * score_stride_;
    const size_t visible = slice.position + first + row / group_ + 1;
    kernels.softmax(row_scores, visible, scale);
    std::fill(row_scores + visible, row_scores + context, 0.0f);
  }
  for (size_t begin = 0; begin < context; begin += kBlock) {
    const size_t here = std::min<size_t>(kBlock, context - begin);
    kernels.weighted_sum(sums, head_dim, scores + begin, score_stride_,
                         cache->Values(slice.sequence->blocks[begin / kBlock], layer, kv_head), rows, here, head_dim);
  }
  for (size_t t = 0; t < count; ++t) {
    const size_t token = slice.first_token + first + t;
    std::memcpy(attended_.data() + token * config_.query_width() + kv_head * group_ * head_dim,
                sums + t * group_ * head_dim, group_ * head_dim * sizeof(float));
  }
}

}  // namespace backbone_cpu
