// SPDX-License-Identifier: Apache-2.0
// Backbone: C++ view of one opened backbone plugin. Threads as in engram/backbone.h: one engine thread calls sequences
// and Step(); info() and Stats() are free for all. Errors of the plugin become Results with its message.
#pragma once

#include <engram/backbone.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "plugin/plugin_host.h"
#include "plugin/plugin_library.h"

namespace engram {

// Who answers the backbone's await_rows: the memory room. Called on the engine thread inside Step().
class RowProvider {
 public:
  virtual ~RowProvider() = default;
  // Rows of the layer with index `layer` for all tokens of the batch `rows` stands for; blocks until they are there.
  virtual Result<engram_row_view> AwaitRows(engram_batch_rows* rows, uint32_t layer) = 0;
};

// engram_backbone_info with its strings and arrays copied; see there for the meaning and units.
struct BackboneInfo {
  uint32_t vocab_size = 0;
  uint32_t hidden_size = 0;
  uint32_t num_layers = 0;
  uint32_t num_streams = 1;
  uint32_t max_positions = 0;
  uint32_t max_batch_tokens = 0;
  uint32_t max_sequences = 0;
  std::vector<uint32_t> engram_layers;
  uint32_t num_columns = 0;
  uint32_t row_values = 0;
  engram_row_format row_format = 0;
  uint64_t weight_bytes = 0;
  uint64_t kv_capacity_tokens = 0;
  uint64_t kv_bytes_per_token = 0;
  std::string device;
  std::string weight_type;
};

// engram_step_output as spans; valid until the next Step().
struct StepOutput {
  uint32_t num_logits = 0;
  const float* logits = nullptr;  // [num_logits][vocab_size]
  const float* gates = nullptr;   // [num_engram_layers][num_tokens][num_streams] or nullptr
  const float* hidden = nullptr;  // [num_logits][hidden_size] or nullptr
  // With ENGRAM_BATCH_LENS, from a backbone that knows it (ABI minor 2); else nullptr.
  const float* lens_logits = nullptr;   // [num_layers][num_logits][vocab_size]
  const float* memory_norms = nullptr;  // [num_engram_layers][num_tokens][num_streams]
  const float* stream_norms = nullptr;  // as memory_norms
};

class Backbone {
 public:
  // `rows` must outlive the backbone. Blocks while weights load.
  static Result<std::unique_ptr<Backbone>> Open(std::shared_ptr<const PluginLibrary> library,
                                                const std::filesystem::path& model_dir, const PluginOptions& options,
                                                RowProvider& rows);
  ~Backbone();
  Backbone(const Backbone&) = delete;
  Backbone& operator=(const Backbone&) = delete;

  const BackboneInfo& info() const { return info_; }
  const PluginLibrary& library() const { return *library_; }
  Result<engram_sequence_id> NewSequence(uint32_t reserve_tokens);
  void FreeSequence(engram_sequence_id sequence);
  Status TruncateSequence(engram_sequence_id sequence, uint32_t length);
  Result<engram_sequence_id> ForkSequence(engram_sequence_id source, uint32_t reserve_tokens);
  // `batch.struct_size` is filled in here. kInternal when the plugin's output does not fit the batch; an error that
  // await_rows gave is returned as it was.
  Result<StepOutput> Step(engram_batch batch);
  Result<engram_backbone_stats> Stats() const;

 private:
  Backbone(std::shared_ptr<const PluginLibrary> library, RowProvider& rows);
  Status Describe();
  std::string_view name() const { return library_->name(); }
  std::shared_ptr<const PluginLibrary> library_;  // outlives instance_
  const engram_backbone_functions* functions_;
  std::unique_ptr<PluginHost> host_;  // outlives instance_
  engram_backbone* instance_ = nullptr;
  BackboneInfo info_;
};

}  // namespace engram
