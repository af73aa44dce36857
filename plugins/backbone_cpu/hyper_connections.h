// SPDX-License-Identifier: Apache-2.0
//
// Manifold-constrained hyper-connections: how S residual streams are read by and updated after a layer's function.
//   x = H flattened / rms(H) (no weight); m = fn x
//   pre = sigmoid(m[:S] scale0 + base[:S]) + eps; post = 2 sigmoid(m[S:2S] scale1 + base[S:2S])
//   C = sinkhorn(m[2S:] scale2 + base[2S:])
//   input of the function: sum_s pre_s H_s;  after it: H'_k = post_k out + sum_j C[j][k] H_j
#ifndef BACKBONE_CPU_HYPER_CONNECTIONS_H_
#define BACKBONE_CPU_HYPER_CONNECTIONS_H_

#include <vector>

#include "matmul.h"
#include "model_config.h"
#include "weights.h"

namespace backbone_cpu {

class HyperConnections {
 public:
  // Buffers for max_tokens tokens. Not used for models of one stream.
  HyperConnections(const ModelConfig& config, const Compute& compute, size_t max_tokens);

  // x [T][d] = the function's input from streams [T][S][d]; remembers post and C of each token for Update.
  // Also the final read-out with the head's weights, after which there is no Update.
  void Read(const MixWeights& weights, const float* streams, size_t num_tokens, float* x);

  // streams [T][S][d] are replaced, from the function's out [T][d].
  void Update(const float* out, size_t num_tokens, float* streams);

 private:
  void ComputeMix(const MixWeights& weights, const float* streams, float* mix) const;

  const ModelConfig& config_;
  const Compute& compute_;
  const size_t mix_stride_;     // 2S + S*S
  std::vector<float> mix_;      // [T][mix_stride_]: pre, post, C transposed ([k][j])
  std::vector<float> updated_;  // [threads][S][d]
};

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_HYPER_CONNECTIONS_H_
