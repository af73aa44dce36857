// SPDX-License-Identifier: Apache-2.0
// ModelMemory: all Engram tables of one model and the tier chain their rows come through. It answers a backbone's
// await_rows. Data outlives code: tables belong here, not to a backbone.
//
// A batch's rows: the engine calls BeginBatch() with the row ids of every token, then steps the backbone, which calls
// AwaitRows() layer by layer while later layers are still being gathered, then EndBatch().
//
// Threads: Open() and the destructor: any one thread. BeginBatch(), AwaitRows(), EndBatch(): the engine thread, one
// batch at a time. AppendRowIds(): any thread. stats(): any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "memory/row_gather.h"
#include "memory/tier_chain.h"
#include "ngram/compressed_map.h"
#include "ngram/geometry.h"
#include "ngram/row_addresser.h"
#include "plugin/backbone.h"
#include "plugin/tier.h"

namespace engram {

struct ModelMemoryOptions {
  std::string model_name;
  std::filesystem::path model_dir;  // safetensors with model.layers.L.engram.embed.*
  EngramConfig config;
  std::vector<TierSpec> tiers;
  std::map<uint32_t, std::filesystem::path> packed_tables;  // by model layer; the others' rows are in model_dir
  uint64_t budget_bytes = 0;                                // of the tiers; 0: no limit
};

class ModelMemory final : public RowProvider {
 public:
  // Checks every table against the geometry (rows, row bytes, a packed table's layer and hash constants:
  // kInvalidArgument with both values), opens the tiers and attaches the tables. Blocks while tables load. The last
  // tier must be a store, and the only one. kResourceExhausted, before any table loads, when the tiers would take more
  // than the budget: a tier's capacity, or all of its tables where it states none and is not persistent.
  static Result<std::unique_ptr<ModelMemory>> Open(ModelMemoryOptions options, CompressedMap map);
  ~ModelMemory() override;

  const Geometry& geometry() const;
  const EngramConfig& config() const;
  const CompressedMap& compressed_map() const;
  engram_row_format row_format() const;
  uint32_t row_bytes() const;

  // Row ids of the tokens that follow what `addresser` has seen: appends uint64 [tokens][num_layers][num_columns].
  void AppendRowIds(RowAddresser& addresser, std::span<const int32_t> tokens, std::vector<uint64_t>& ids) const;

  // Starts gathering; tokens of the batch not covered by `runs` have memory off: their rows are unspecified bytes. Runs
  // must not overlap. The handle goes into engram_batch.rows. Never fails: what goes wrong is AwaitRows()'s error.
  engram_batch_rows* BeginBatch(uint32_t num_tokens, std::span<const BatchRowIds> runs);
  // `layer` indexes geometry().layers sorted ascending by layer number, as engram_backbone_info.engram_layers is.
  Result<engram_row_view> AwaitRows(engram_batch_rows* rows, uint32_t layer) override;
  // Ends the batch, also after a failed step: nothing writes to its buffers afterwards.
  void EndBatch(engram_batch_rows* rows);

  std::vector<LayerRowStats> layer_stats() const;
  std::vector<TierTableStats> tier_stats() const;

 private:
  struct Impl;
  explicit ModelMemory(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace engram
