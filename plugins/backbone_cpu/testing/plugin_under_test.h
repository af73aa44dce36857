// SPDX-License-Identifier: Apache-2.0
//
// Test support: the real backbone_cpu.so through its ABI, a host that serves rows from a model's own safetensors, and
// the addressing of Engram models in plain loops.
#ifndef BACKBONE_CPU_TESTING_PLUGIN_UNDER_TEST_H_
#define BACKBONE_CPU_TESTING_PLUGIN_UNDER_TEST_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engram/abi.h"
#include "engram/backbone.h"
#include "engram/safetensors.h"

namespace backbone_cpu::testing {

// The plugin's function table; loads the library once per process.
const engram_backbone_functions& Plugin();

// Row ids of one Engram layer: mix = XOR of id[t-i] * multiplier[i], row = mix mod prime + offset.
struct LayerHash {
  std::vector<int64_t> multipliers;  // [N]
  std::vector<int64_t> primes;       // [columns]
};

// Addresses tokens of a model.
struct Addresser {
  std::vector<int32_t> compressed;  // [vocab]
  int32_t pad = 0;                  // compressed id before the start
  uint32_t max_ngram_size = 0;
  uint32_t num_heads = 0;
  std::map<uint32_t, LayerHash> layers;  // by model layer number

  // [tokens.size()][columns] for positions 0...
  std::vector<int64_t> Rows(uint32_t layer, const std::vector<int32_t>& tokens) const;
};

// The rows of a model's tables as the host hands them out.
class RowSource {
 public:
  RowSource(const std::string& model_dir, std::vector<uint32_t> layers);
  // Appends the bytes of `row` of Engram layer `index`.
  void Append(uint32_t index, int64_t row, std::vector<uint8_t>* out) const;

 private:
  struct Table {
    uint64_t weight_bytes = 0;  // per row
    uint64_t scale_bytes = 0;
    std::vector<uint8_t> weights, scales;
  };
  std::vector<Table> tables_;
};

struct SliceRequest {
  engram_sequence_id sequence = 0;
  uint32_t num_tokens = 0;  // to run now, from the sequence's history
  bool memory_off = false;
};

struct StepResult {
  std::vector<std::vector<float>> logits;              // [tokens][vocab]; all tokens are flagged
  std::vector<std::vector<float>> hidden;              // [tokens][d]
  std::vector<std::vector<std::vector<float>>> gates;  // [Engram layer][token][S]
  // With look_closely; else empty.
  std::vector<std::vector<std::vector<float>>> lens;          // [layer][token][vocab]
  std::vector<std::vector<std::vector<float>>> memory_norms;  // [Engram layer][token][S]
  std::vector<std::vector<std::vector<float>>> stream_norms;  // [Engram layer][token][S]
};

// One opened model, with what the host knows of its sequences. Failures of calls that must succeed throw.
class OpenedModel {
 public:
  OpenedModel(const std::string& model_dir, Addresser addresser,
              std::vector<std::pair<std::string, std::string>> options);
  ~OpenedModel();
  OpenedModel(const OpenedModel&) = delete;
  OpenedModel& operator=(const OpenedModel&) = delete;

  engram_backbone* backbone() { return backbone_; }
  const engram_backbone_info& info() const { return info_; }
  const std::string& log() const { return log_; }

  engram_sequence_id New(uint32_t reserve, std::vector<int32_t> history = {});
  engram_sequence_id Fork(engram_sequence_id source, uint32_t reserve);
  void Truncate(engram_sequence_id sequence, uint32_t length);
  void Free(engram_sequence_id sequence);
  // Tokens the sequence will be run over; Step takes them in order.
  std::vector<int32_t>& History(engram_sequence_id sequence) { return histories_[sequence].tokens; }

  StepResult Step(const std::vector<SliceRequest>& requests);
  // Later steps have ENGRAM_BATCH_LENS.
  void LookClosely() { looks_closely_ = true; }
  // Runs what is left of a sequence in chunks and returns the results of all its tokens.
  StepResult RunAll(engram_sequence_id sequence, uint32_t chunk, bool memory_off = false);
  // Greedy tokens after `prompt`.
  std::vector<int32_t> Greedy(const std::vector<int32_t>& prompt, size_t count, bool memory_off);

 private:
  struct Past {
    std::vector<int32_t> tokens;
    uint32_t length = 0;
  };
  static engram_status AwaitRows(void* context, engram_batch_rows* rows, uint32_t layer, engram_row_view* view,
                                 engram_message* message);
  static void Log(void* context, engram_log_level level, const char* message);

  Addresser addresser_;
  engram_host host_ = {};
  engram_backbone* backbone_ = nullptr;
  engram_backbone_info info_ = {};
  bool looks_closely_ = false;
  std::string log_;
  std::unique_ptr<RowSource> source_;
  std::map<engram_sequence_id, Past> histories_;
  std::vector<std::vector<uint8_t>> rows_;  // of the step under way, by Engram layer
  std::vector<int> num_awaits_;
};

int32_t Argmax(const std::vector<float>& values);

}  // namespace backbone_cpu::testing

#endif  // BACKBONE_CPU_TESTING_PLUGIN_UNDER_TEST_H_
