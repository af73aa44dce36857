// SPDX-License-Identifier: Apache-2.0
//
// SwiGLU of a dense layer, and the mixture of experts: softmax over all experts, the top k (lowest index on ties),
// renormalised if asked, plus an ungated shared expert.
#ifndef BACKBONE_CPU_MLP_H_
#define BACKBONE_CPU_MLP_H_

#include <cstdint>
#include <vector>

#include "matmul.h"
#include "model_config.h"
#include "weights.h"

namespace backbone_cpu {

class Mlp {
 public:
  Mlp(const ModelConfig& config, const Compute& compute, size_t max_tokens);

  // out [T][d] from x [T][d].
  void Run(const LayerWeights& weights, const float* x, size_t num_tokens, float* out);

 private:
  struct Choice {
    uint32_t expert;
    float weight;
    uint32_t row;  // in the gathered arrays, which are grouped by expert
  };

  void RunDense(const MlpWeights& weights, const float* x, size_t num_tokens, float* out);
  void RunExperts(const LayerWeights& weights, const float* x, size_t num_tokens, float* out);
  void Choose(float* scores, Choice* choices) const;

  const ModelConfig& config_;
  const Compute& compute_;
  std::vector<float> gate_, up_;              // [T][widest intermediate], or [T * k][moe_intermediate]
  std::vector<float> scores_;                 // [T][num_experts]
  std::vector<Choice> choices_;               // [T][k], ascending by expert
  std::vector<uint32_t> first_row_;           // [num_experts + 1]
  std::vector<float> gathered_, expert_out_;  // [T * k][d]
  std::vector<MatmulJob> jobs_;
};

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_MLP_H_
