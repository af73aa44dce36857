// SPDX-License-Identifier: Apache-2.0
// ModelMemory: the Engram memory of one model: the base tables, the versions of edits over them, the overlays. It
// answers a backbone's await_rows. Data outlives code: tables belong here, not to a backbone.
//
// A sequence takes a View() when it begins and sees that memory to its end, whatever is published or swapped meanwhile.
// What no view and no retained version holds any more is freed by the thread "memory-gc".
//
// A batch's rows: the engine calls BeginBatch() with the row ids of every token, then steps the backbone, which calls
// AwaitRows() layer by layer while later layers are still being gathered, then EndBatch().
//
// Threads: Open() and the destructor: any one thread. BeginBatch(), AwaitRows(), EndBatch(): the engine thread, one
// batch at a time. Publish(), SwapBase(), Adopt(): one thread at a time, beside all others. The rest: any threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "memory/base_tables.h"
#include "memory/memory_view.h"
#include "memory/overlay.h"
#include "memory/row_codec.h"
#include "memory/row_gather.h"
#include "memory/row_lookahead.h"
#include "memory/token_rows.h"
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
  uint32_t retain_versions = 1000;                          // the latest, for as_of; at least the current one is kept
  std::optional<HotSetOptions> hot_sets;                    // not given: caches start cold
  std::chrono::milliseconds read_timeout = RowGather::kReadTimeout;  // of a layer's rows in a batch
  // Of a prompt, whose rows are read before a batch asks for them. 0: no row is, those of sampled tokens neither.
  uint32_t lookahead_tokens = 1024;
  std::function<Status()> go_on;  // asked while Open() loads, on any thread; its error ends it
};

// Where a view takes a row from.
struct RowPlace {
  enum class Kind { kTier, kCommit, kOverlay };
  Kind kind = Kind::kTier;
  std::string name;      // the tier's or overlay's
  uint64_t version = 0;  // kCommit: that wrote it
};
const char* RowPlaceKindName(RowPlace::Kind kind);  // "tier", "commit", "overlay"

class ModelMemory final : public RowProvider {
 public:
  // Opens the base tables (BaseTables::Open() has the errors). Blocks while they load. Version 0, without edits, is
  // current.
  static Result<std::unique_ptr<ModelMemory>> Open(ModelMemoryOptions options, CompressedMap map);
  ~ModelMemory() override;

  const Geometry& geometry() const;
  const EngramConfig& config() const;
  const CompressedMap& compressed_map() const;
  engram_row_format row_format() const;
  uint32_t row_bytes() const;
  const RowCodec& codec() const;
  const std::vector<uint32_t>& layers() const;  // model layer numbers, ascending: what layer indexes count

  // The current version, or `as_of`, and these overlays. kNotFound with the field "engram.as_of" names the oldest and
  // the newest version that is retained, one with "engram.overlays[i]" the overlay.
  Result<MemoryView> View(std::optional<uint64_t> as_of = {}, std::span<const std::string> overlays = {}) const;
  // Makes `edits` current: for every View() from here on. The ones before stay for as_of while they are among the
  // latest options.retain_versions. Its version is above all before, its layers are this model's.
  void Publish(std::shared_ptr<const MemoryEdits> edits);
  std::vector<uint64_t> retained_versions() const;  // ascending; the last one is current
  OverlayDirectory& overlays() const;

  // Another base for the same geometry, with tiers of its own configured as at Open(); the layers without a packed
  // table are read from the model's directory. Blocks while it loads. As BaseTables::Open(); also kInvalidArgument for
  // another row format, and kResourceExhausted when the tiers do not fit beside those of the bases still in use.
  Result<std::shared_ptr<BaseTables>> OpenBase(std::map<uint32_t, std::filesystem::path> packed_tables) const;
  // Makes `base` current, with `versions` as edits over it, at once: ascending, not empty, the last one current.
  // Versions from before that are not among them are no longer retained: they are edits of another base. The last
  // version may be the current one, when the base's rows with its edits are the same as before.
  void SwapBase(std::shared_ptr<BaseTables> base, std::vector<std::shared_ptr<const MemoryEdits>> versions);
  void SwapBase(std::shared_ptr<BaseTables> base, std::shared_ptr<const MemoryEdits> edits);
  // Takes over the edits, the retained versions and the overlays of a memory that this one replaces; before any View().
  // kFailedPrecondition, with both values, unless geometry, row format and the identities of the bases are the same.
  Status Adopt(const ModelMemory& predecessor);

  // Rows of layers()[layer_index] as the view has them (guarded entries apart): uint8 dst[ids][row_bytes]. May block.
  // kInvalidArgument for an id or layer that is not there.
  Status ReadRows(const MemoryView& view, uint32_t layer_index, std::span<const uint64_t> ids, uint8_t* dst) const;

  // Of each row, where the view takes it from, as far as can be told without waiting (TableChain::Locate()). `ids` are
  // below the layer's number of rows.
  std::vector<RowPlace> FindPlaces(const MemoryView& view, uint32_t layer_index, std::span<const uint64_t> ids) const;

  // Row ids of the tokens that follow what `addresser` has seen: appends uint64 [tokens][num_layers][num_columns].
  void AppendRowIds(RowAddresser& addresser, std::span<const int32_t> tokens, std::vector<uint64_t>& ids) const;
  // Appends the guarded entries of the view that hold at tokens that follow what `tail` has seen, token i as
  // `first_token` + i. For views with has_guarded().
  void AppendGuarded(const MemoryView& view, SuffixTail& tail, std::span<const int32_t> tokens, uint32_t first_token,
                     std::vector<GuardedMatch>& matches) const;

  // Has rows of a prompt's tokens [first_token, end) read ahead where that is of use; `prompt_ids` as AppendRowIds()
  // makes them, of the whole prompt. Returns at once.
  void LookAhead(const MemoryView& view, std::shared_ptr<const PromptProgress> progress,
                 std::span<const uint64_t> prompt_ids, uint32_t first_token, uint32_t end) const;
  uint32_t lookahead_tokens() const;
  uint64_t lookahead_rows() const;  // read so far

  // Has the rows of one token that was just sampled read before its batch begins, where that is of use
  // (TokenRowReader); `ids` as AppendRowIds() makes them. nullptr: the batch reads them. Engine thread.
  std::shared_ptr<TokenRows> AskRows(const MemoryView& view, std::span<const uint64_t> ids) const;
  uint64_t tokens_asked() const;  // so far

  // Starts gathering; tokens of the batch not covered by `runs` have memory off: their rows are unspecified bytes. Runs
  // must not overlap. The handle goes into engram_batch.rows. Never fails: what goes wrong is AwaitRows()'s error.
  engram_batch_rows* BeginBatch(uint32_t num_tokens, std::span<const BatchRowIds> runs);
  // `layer` indexes geometry().layers sorted ascending by layer number, as engram_backbone_info.engram_layers is.
  Result<engram_row_view> AwaitRows(engram_batch_rows* rows, uint32_t layer) override;
  // Why the open batch has no rows, once AwaitRows() has said so. Engine thread.
  const std::optional<Error>& BatchFailure() const;
  // Ends the batch, also after a failed step: the engine may let go of its ids and views.
  void EndBatch(engram_batch_rows* rows);

  // Of the current base where they count what its tiers do; so those begin again with another base.
  std::vector<LayerRowStats> layer_stats() const;
  std::vector<TierTableStats> tier_stats() const;
  std::optional<HotSets::Progress> warm_up() const;  // none where caches start cold
  uint64_t tier_bytes() const;                       // BaseTables's
  RowHeat::Report heat(uint32_t layer_index) const;  // of layers()[layer_index]
  // A tier has not answered a read that nobody waits for any more.
  bool stalled() const;
  // From a batch without rows until the store of every table has answered (StoreWatch). Any thread.
  bool failing() const;

 private:
  struct Impl;
  explicit ModelMemory(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace engram
