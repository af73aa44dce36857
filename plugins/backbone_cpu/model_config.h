// SPDX-License-Identifier: Apache-2.0
//
// What config.json of a model says, checked and with the defaults its model_type implies.
//
// Model types: `engram` (also plain, without an `engram` object), `qwen3`, `qwen3_moe`, `qwen2`, `llama`, `mistral`.
// Key names and meanings are those of Hugging Face's configurations.
#ifndef BACKBONE_CPU_MODEL_CONFIG_H_
#define BACKBONE_CPU_MODEL_CONFIG_H_

#include <engram/host.h>

#include <cstdint>
#include <string>
#include <vector>

namespace backbone_cpu {

enum class EngramVariant { kPaper, kDeepseekV41 };

struct EngramConfig {
  EngramVariant variant = EngramVariant::kPaper;
  std::vector<uint32_t> layers;  // model layer numbers, ascending; empty: a plain model
  uint32_t max_ngram_size = 0;   // N
  uint32_t num_heads = 0;        // K
  uint32_t head_dim = 0;
  uint32_t kernel_size = 0;          // 0: no convolution
  engram_row_format row_format = 0;  // 0: not stated, so the tables' tensors say it

  uint32_t num_columns() const { return (max_ngram_size - 1) * num_heads; }
  uint32_t memory_width() const { return num_columns() * head_dim; }  // m
  // The convolution's reach into the past, in positions.
  uint32_t history() const { return kernel_size == 0 ? 0 : (kernel_size - 1) * max_ngram_size; }
};

struct ModelConfig {
  uint32_t vocab_size = 0;
  uint32_t hidden_size = 0;
  uint32_t num_layers = 0;
  uint32_t num_heads = 0;
  uint32_t num_kv_heads = 0;
  uint32_t head_dim = 0;           // even
  uint32_t intermediate_size = 0;  // of dense layers; 0 when there are none
  uint32_t max_positions = 0;
  float rms_norm_eps = 0;
  bool tie_word_embeddings = false;
  bool qk_norm = false;
  bool qkv_bias = false;
  bool output_bias = false;
  std::vector<double> inverse_frequencies;  // [head_dim / 2], rope scaling applied

  // Mixture of experts; 0 experts: none.
  uint32_t num_experts = 0;
  uint32_t num_experts_per_token = 0;
  uint32_t moe_intermediate_size = 0;
  uint32_t shared_intermediate_size = 0;  // moe_intermediate_size * n_shared_experts; 0: no shared expert
  bool norm_topk_prob = false;
  std::vector<bool> is_moe_layer;  // [num_layers]

  uint32_t num_streams = 1;  // hc_mult
  uint32_t sinkhorn_iterations = 20;
  float hc_eps = 1e-6f;

  EngramConfig engram;

  uint32_t query_width() const { return num_heads * head_dim; }
  uint32_t kv_width() const { return num_kv_heads * head_dim; }
  uint32_t stream_width() const { return num_streams * hidden_size; }
};

// Reads model_dir/config.json. Errors are PluginError and name the file and the key.
ModelConfig ReadModelConfig(const std::string& model_dir);

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_MODEL_CONFIG_H_
