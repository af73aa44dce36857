// SPDX-License-Identifier: Apache-2.0
//
// Steps with ENGRAM_BATCH_LENS: what the head makes of every layer, and how much the Engram modules added.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backbone.h"

namespace backbone_cpu {

namespace {

float Length(const float* x, size_t size) {
  double sum = 0;
  for (size_t i = 0; i < size; ++i) sum += double{x[i]} * x[i];
  return static_cast<float>(std::sqrt(sum));
}

}  // namespace

void Backbone::PrepareLens(const engram_batch& batch) {
  lens_flagged_ = static_cast<size_t>(std::count_if(batch.wants_logits, batch.wants_logits + batch.num_tokens,
                                                    [](uint8_t wants) { return wants != 0; }));
  lens_streams_.resize(size_t{batch.num_tokens} * config_.stream_width());
  lens_hidden_.resize(lens_flagged_ * config_.hidden_size);
  lens_logits_.resize(size_t{config_.num_layers} * lens_flagged_ * config_.vocab_size);
  const size_t num_norms = config_.engram.layers.size() * batch.num_tokens * config_.num_streams;
  memory_norms_.assign(num_norms, 0.0f);
  stream_norms_.assign(num_norms, 0.0f);
}

void Backbone::Look(uint32_t layer, const engram_batch& batch) {
  if (lens_flagged_ == 0) return;
  const size_t width = config_.stream_width();
  float* next = lens_streams_.data();
  for (size_t t = 0; t < batch.num_tokens; ++t) {
    if (batch.wants_logits[t] == 0) continue;
    std::memcpy(next, streams_.data() + t * width, width * sizeof(float));
    next += width;
  }
  Head(lens_streams_.data(), lens_flagged_, lens_hidden_.data(),
       lens_logits_.data() + size_t{layer} * lens_flagged_ * config_.vocab_size);
}

void Backbone::MeasureMemory(uint32_t engram_layer, size_t num_tokens) {
  const size_t hidden = config_.hidden_size;
  const size_t first = size_t{engram_layer} * num_tokens * config_.num_streams;
  for (const uint32_t token : step_.memory_tokens) {
    for (size_t s = 0; s < config_.num_streams; ++s) {
      const size_t place = size_t{token} * config_.num_streams + s;
      float* before = lens_streams_.data() + place * hidden;
      const float* after = streams_.data() + place * hidden;
      stream_norms_[first + place] = Length(before, hidden);
      for (size_t i = 0; i < hidden; ++i) before[i] = after[i] - before[i];
      memory_norms_[first + place] = Length(before, hidden);
    }
  }
}

}  // namespace backbone_cpu
