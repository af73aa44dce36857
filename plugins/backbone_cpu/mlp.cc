// SPDX-License-Identifier: Apache-2.0
#include "mlp.h"

#include <algorithm>
#include <cstring>

namespace backbone_cpu {

namespace {
constexpr size_t kSmallWork = 32 * 1024;
}  // namespace

Mlp::Mlp(const ModelConfig& config, const Compute& compute, size_t max_tokens) : config_(config), compute_(compute) {
  const size_t rows = max_tokens * config.num_experts_per_token;
  const size_t dense = max_tokens * std::max(config.intermediate_size, config.shared_intermediate_size);
  gate_.resize(std::max(dense, rows * config.moe_intermediate_size));
  up_.resize(gate_.size());
  scores_.resize(max_tokens * config.num_experts);
  choices_.resize(rows);
  first_row_.resize(config.num_experts + 1);
  gathered_.resize(rows * config.hidden_size);
  expert_out_.resize(rows * config.hidden_size);
}

void Mlp::Run(const LayerWeights& weights, const float* x, size_t num_tokens, float* out) {
  if (weights.mlp.gate.rows != 0) {
    RunDense(weights.mlp, x, num_tokens, out);
  } else {
    std::fill_n(out, num_tokens * config_.hidden_size, 0.0f);
  }
  if (!weights.experts.empty()) RunExperts(weights, x, num_tokens, out);
}

void Mlp::RunDense(const MlpWeights& weights, const float* x, size_t num_tokens, float* out) {
  const size_t hidden = config_.hidden_size;
  const size_t intermediate = weights.gate.rows;
  const MatmulJob in = {.w = &weights.gate,
                        .up = &weights.up,
                        .x = x,
                        .x_stride = hidden,
                        .y = gate_.data(),
                        .up_y = up_.data(),
                        .y_stride = intermediate,
                        .num_tokens = num_tokens};
  RunMatmuls(compute_, {&in, 1});
  const MatmulJob down = {.w = &weights.down,
                          .x = gate_.data(),
                          .x_stride = intermediate,
                          .y = out,
                          .y_stride = hidden,
                          .num_tokens = num_tokens};
  RunMatmuls(compute_, {&down, 1});
}

void Mlp::RunExperts(const LayerWeights& weights, const float* x, size_t num_tokens, float* out) {
  const size_t hidden = config_.hidden_size;
  const size_t per_token = config_.num_experts_per_token;
  const size_t intermediate = config_.moe_intermediate_size;
  const MatmulJob route = {.w = &weights.router,
                           .x = x,
                           .x_stride = hidden,
                           .y = scores_.data(),
                           .y_stride = config_.num_experts,
                           .num_tokens = num_tokens};
  RunMatmuls(compute_, {&route, 1});

  std::fill(first_row_.begin(), first_row_.end(), 0);
  for (size_t t = 0; t < num_tokens; ++t) {
    Choice* choices = choices_.data() + t * per_token;
    Choose(scores_.data() + t * config_.num_experts, choices);
    for (size_t c = 0; c < per_token; ++c) ++first_row_[choices[c].expert + 1];
  }
  for (size_t e = 0; e < config_.num_experts; ++e) first_row_[e + 1] += first_row_[e];
  for (size_t i = 0; i < num_tokens * per_token; ++i) {
    // Afterwards first_row_[e] is the end of e's rows.
    choices_[i].row = first_row_[choices_[i].expert]++;
    std::memcpy(gathered_.data() + choices_[i].row * hidden, x + i / per_token * hidden, hidden * sizeof(float));
  }
  const auto add_jobs = [&](auto make_job) {
    jobs_.clear();
    for (size_t e = 0; e < config_.num_experts; ++e) {
      const size_t begin = e == 0 ? 0 : first_row_[e - 1];
      if (first_row_[e] != begin) jobs_.push_back(make_job(weights.experts[e], begin, first_row_[e] - begin));
    }
  };
  add_jobs([&](const MlpWeights& expert, size_t row, size_t count) {
    return MatmulJob{.w = &expert.gate,
                     .up = &expert.up,
                     .x = gathered_.data() + row * hidden,
                     .x_stride = hidden,
                     .y = gate_.data() + row * intermediate,
                     .up_y = up_.data() + row * intermediate,
                     .y_stride = intermediate,
                     .num_tokens = count};
  });
  RunMatmuls(compute_, jobs_);
  add_jobs([&](const MlpWeights& expert, size_t row, size_t count) {
    return MatmulJob{.w = &expert.down,
                     .x = gate_.data() + row * intermediate,
                     .x_stride = intermediate,
                     .y = expert_out_.data() + row * hidden,
                     .y_stride = hidden,
                     .num_tokens = count};
  });
  RunMatmuls(compute_, jobs_);
  compute_.pool.ParallelFor(num_tokens, num_tokens * per_token * hidden < kSmallWork, [&](size_t t, size_t) {
    for (size_t c = 0; c < per_token; ++c) {
      const Choice& choice = choices_[t * per_token + c];
      compute_.kernels.axpy(out + t * hidden, expert_out_.data() + choice.row * hidden, choice.weight, hidden);
    }
  });
}

// scores: router outputs of one token, overwritten. Choices come out ascending by expert, so that a token's sum over
// its experts has one order.
void Mlp::Choose(float* scores, Choice* choices) const {
  const size_t count = config_.num_experts_per_token;
  compute_.kernels.softmax(scores, config_.num_experts, 1.0f);
  float sum = 0;
  for (size_t c = 0; c < count; ++c) {
    // Chosen ones are marked -1, below every probability; `>` keeps the lowest index on ties, and a NaN is never chosen
    // twice because it is never above anything.
    uint32_t best = 0;
    while (scores[best] == -1.0f) ++best;
    for (uint32_t e = best + 1; e < config_.num_experts; ++e) {
      if (scores[e] > scores[best]) best = e;
    }
    choices[c] = {best, scores[best], 0};
    sum += scores[best];
    scores[best] = -1.0f;
  }
  if (config_.norm_topk_prob) {
    for (size_t c = 0; c < count; ++c) choices[c].weight /= sum;
  }
  std::sort(choices, choices + count, [](const Choice& a, const Choice& b) { return a.expert < b.expert; });
}

}  // namespace backbone_cpu
