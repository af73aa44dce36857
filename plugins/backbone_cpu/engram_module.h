// SPDX-License-Identifier: Apache-2.0
//
// The Engram module of a layer: retrieved rows, gated by the hidden state, are added to the residual streams.
//   e = the token's rows, widened, side by side [m];  K = key e [S][d];  v0 = value e [d]
//   dot_s = sum(K_s key_norm_s H_s query_norm_s) / (rms(K_s) rms(H_s) sqrt(d));  g_s = sigmoid(sign sqrt(max(|dot|,
//   1e-6))) V_s = g_s v0;  paper: H_s += V_s + silu(conv(rms(V_s) conv_norm)), deepseek_v41: H_s += V_s
// conv: depthwise over positions, tap j of kernel_size reads t - (kernel_size - 1 - j) * N, nothing before the start.
#ifndef BACKBONE_CPU_ENGRAM_MODULE_H_
#define BACKBONE_CPU_ENGRAM_MODULE_H_

#include <vector>

#include "engram/host.h"
#include "kv_cache.h"
#include "matmul.h"
#include "model_config.h"
#include "step.h"
#include "weights.h"

namespace backbone_cpu {

// Bytes of one row of `head_dim` values.
uint64_t RowBytes(engram_row_format format, uint32_t head_dim);

class EngramModule {
 public:
  EngramModule(const ModelConfig& config, engram_row_format row_format, const Compute& compute, size_t max_tokens);

  // Adds the memory of step.memory_tokens to their streams [T][S][d]. `rows` [T][columns][row_bytes] as the host gave
  // them; `engram_layer` counts Engram layers; gates [T][S] receives the gates of those tokens.
  void Run(const EngramWeights& weights, uint32_t engram_layer, const Step& step, const uint8_t* rows, KvCache* cache,
           float* streams, float* gates);

 private:
  void Gate(const EngramWeights& weights, size_t index, const float* streams, float* gates) const;
  void Convolve(const EngramWeights& weights, uint32_t engram_layer, size_t index, const StepToken& place,
                const float* gates, KvCache* cache, float* streams, float* sum) const;

  const ModelConfig& config_;
  const engram_row_format row_format_;
  const Compute& compute_;
  std::vector<float> memory_;  // [memory tokens][m]: e
  std::vector<float> keys_;    // [memory tokens][S][d]
  std::vector<float> values_;  // [memory tokens][d]: v0
  std::vector<float> sums_;    // [threads][d]
};

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_ENGRAM_MODULE_H_
