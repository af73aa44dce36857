// SPDX-License-Identifier: Apache-2.0
//
// Grouped-query attention of one layer over the paged KV cache.
#ifndef BACKBONE_CPU_ATTENTION_H_
#define BACKBONE_CPU_ATTENTION_H_

#include <memory>
#include <vector>

#include "kv_cache.h"
#include "matmul.h"
#include "model_config.h"
#include "step.h"
#include "weights.h"

namespace backbone_cpu {

class Attention {
 public:
  // Buffers for max_tokens tokens of sequences of at most max_context positions.
  Attention(const ModelConfig& config, const Compute& compute, size_t max_tokens, size_t max_context);

  // Once per step, before the layers: angles of its positions.
  void Prepare(const Step& step);

  // out [T][d] = attention of x [T][d]; keys and values of the step's tokens enter the cache.
  void Run(const LayerWeights& weights, uint32_t layer, const Step& step, const float* x, KvCache* cache, float* out);

 private:
  void RotateAndStore(const LayerWeights& weights, uint32_t layer, size_t token, const StepToken& place,
                      KvCache* cache);
  void Attend(uint32_t layer, const StepSlice& slice, size_t first, size_t count, uint32_t kv_head, size_t thread,
              KvCache* cache);

  const ModelConfig& config_;
  const Compute& compute_;
  const size_t group_;        // query heads per KV head
  const size_t tile_tokens_;  // query tokens that share one pass over keys and values
  const size_t score_stride_;
  std::vector<float> cosine_, sine_;           // [T][head_dim / 2]
  std::vector<float> q_;                       // [T][query_width]
  std::vector<float> k_, v_;                   // [T][kv_width]
  std::vector<float> attended_;                // [T][query_width]
  std::vector<float> tiles_;                   // [threads][2][tile rows][head_dim]: queries and sums
  std::unique_ptr<void, FreeDeleter> scores_;  // float [threads][tile rows][score_stride_], touched as far as needed

  struct Tile {
    uint32_t slice, first, count, kv_head;
  };
  std::vector<Tile> work_;  // of this step, the same for all layers
  bool is_small_ = false;
};

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_ATTENTION_H_
