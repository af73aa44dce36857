// SPDX-License-Identifier: Apache-2.0
//
// Test support: small models with random weights, written as a model directory, and an independent forward pass in
// double precision over the stored weights: straight loops after the formulas, no cache, no sharing of code.
#ifndef BACKBONE_CPU_TESTING_RANDOM_MODEL_H_
#define BACKBONE_CPU_TESTING_RANDOM_MODEL_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engram/safetensors.h"
#include "testing/plugin_under_test.h"

namespace backbone_cpu::testing {

using engram::sdk::TensorType;

// A directory under the system's temporary one, removed with everything in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Tensor {
  TensorType type = TensorType::kF32;
  std::vector<uint64_t> shape;
  std::vector<uint8_t> bytes;  // as stored
  std::vector<double> values;  // what the bytes mean; of an F8_E4M3 table with its scales applied
};
using Tensors = std::map<std::string, Tensor>;

void WriteText(const std::string& path, const std::string& text);
void WriteSafetensors(const std::string& path, const Tensors& tensors);

struct ModelSpec {
  std::string name;  // of the test case
  std::string model_type = "engram";
  uint32_t vocab = 101, hidden = 24, layers = 3, heads = 4, kv_heads = 2, head_dim = 10, ffn = 33;
  uint32_t streams = 1;
  std::string variant;  // empty: plain
  std::vector<uint32_t> engram_layers;
  uint32_t max_ngram = 3, engram_heads = 2, engram_head_dim = 7, kernel = 0;
  TensorType weight_type = TensorType::kF32;
  TensorType row_type = TensorType::kF32;
  bool tie = true, qk_norm = true, qkv_bias = false, output_bias = false;
  uint32_t experts = 0, experts_per_token = 0, moe_ffn = 0, shared_experts = 0, first_dense = 0;
  bool norm_topk = false;
  uint32_t sinkhorn_iterations = 20;
  bool sharded = false;
  std::string rope;  // text of rope_scaling, if any: {"rope_type": .., ..}
  double rope_theta = 10000;
  double eps = 1e-6;
};

struct RandomModel {
  ModelSpec spec;
  Tensors tensors;
  Addresser addresser;
  std::string config;  // text of config.json
};

RandomModel MakeRandomModel(const ModelSpec& spec, uint64_t seed);
void WriteModel(const RandomModel& model, const std::string& directory);

struct ReferenceResult {
  std::vector<std::vector<double>> logits;              // [T][vocab]
  std::vector<std::vector<double>> hidden;              // [T][d]
  std::vector<std::vector<std::vector<double>>> gates;  // [Engram layer][T][S]
  std::vector<std::vector<std::vector<double>>> lens;   // [layer][T][vocab]
  // [Engram layer][T][S]: norms of what was added to the streams, and of the streams before.
  std::vector<std::vector<std::vector<double>>> memory_norms;
  std::vector<std::vector<std::vector<double>>> stream_norms;
};
ReferenceResult RunReference(const RandomModel& model, const std::vector<int32_t>& tokens, bool memory_off);

}  // namespace backbone_cpu::testing

#endif  // BACKBONE_CPU_TESTING_RANDOM_MODEL_H_
