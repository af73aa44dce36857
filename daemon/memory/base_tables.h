// SPDX-License-Identifier: Apache-2.0
// BaseTables: the rows of one model as they are stored, before any edit: one table per Engram layer and the tier chain
// its rows come through. Complete in itself: another may be opened beside it, with tiers of its own, and each lives as
// long as a MemoryView holds it.
//
// Threads: Open() and the destructor: any one thread; both block (tables load, tiers close). All else: any threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "memory/hot_sets.h"
#include "memory/tier_chain.h"
#include "ngram/geometry.h"

namespace engram {

// What all tiers of one model may take together.
class TierBudget {
 public:
  explicit TierBudget(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}  // 0: no limit
  // Takes `bytes`, which the caller gives back; false if they exceed what is left.
  bool Take(uint64_t bytes);
  void GiveBack(uint64_t bytes) { used_bytes_.fetch_sub(bytes, std::memory_order_relaxed); }
  uint64_t limit_bytes() const { return limit_bytes_; }
  uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }

 private:
  const uint64_t limit_bytes_;
  std::atomic<uint64_t> used_bytes_{0};
};

struct BaseTablesOptions {
  std::string model_name;
  std::filesystem::path model_dir;  // safetensors with model.layers.L.engram.embed.*
  uint32_t head_dim = 0;
  std::vector<TierSpec> tiers;
  std::map<uint32_t, std::filesystem::path> packed_tables;  // by model layer; the others' rows are in model_dir
  std::optional<HotSetOptions> hot_sets;                    // not given: caches start cold
  std::function<Status()> go_on;  // asked while tables load, on any thread; its error ends that
};

class BaseTables {
 public:
  // Checks every table against the geometry (rows, row bytes, a packed table's layer and hash constants:
  // kInvalidArgument with both values), then opens the tiers and attaches the tables. The last tier must be a store,
  // and the only one. kResourceExhausted, before any table loads, when the tiers would take more than is left of the
  // budget: a tier's capacity, or all of its tables where it states none and is not persistent. Caches then warm up in
  // the background.
  static Result<std::unique_ptr<BaseTables>> Open(BaseTablesOptions options, const Geometry& geometry,
                                                  std::shared_ptr<TierBudget> budget);
  // Of chains attached by the caller, ascending by layer, all with rows of the same size.
  explicit BaseTables(std::vector<std::unique_ptr<TableChain>> chains);
  ~BaseTables();
  BaseTables(const BaseTables&) = delete;
  BaseTables& operator=(const BaseTables&) = delete;

  // Layers are counted ascending by model layer number.
  uint32_t num_layers() const { return static_cast<uint32_t>(chains_.size()); }
  TableChain& chain(uint32_t layer) const { return *chains_[layer]; }
  uint32_t row_bytes() const { return chains_.front()->row_bytes(); }
  engram_row_format row_format() const { return row_format_; }
  bool may_block() const { return may_block_; }
  bool gains_from_lookahead() const { return gains_from_lookahead_; }  // TableChain's, of any
  // By model layer number.
  const std::map<uint32_t, std::filesystem::path>& packed_tables() const { return packed_tables_; }

  // Per layer 64 hex digits that tell tables apart. Of a packed table: its content digest, or where it states none the
  // digest of its header. Of a table in safetensors: the SHA-256 of its layer, shape, format and 64 rows spread evenly
  // over it; so equal identities do not prove that all rows are equal.
  const std::vector<std::string>& identities() const { return identities_; }
  uint64_t tier_bytes() const { return tier_bytes_; }  // what it takes of the budget

  std::vector<TierTableStats> tier_stats() const;
  std::optional<HotSets::Progress> warm_up() const;  // none where caches start cold

 private:
  struct LoadingSource;
  struct StoredTable;
  struct BudgetShare;
  // In this order: chains detach before their sources go, and the budget's share is given back after both.
  std::unique_ptr<BudgetShare> share_;
  std::vector<StoredTable> tables_;
  std::vector<std::unique_ptr<TableChain>> chains_;
  std::map<uint32_t, std::filesystem::path> packed_tables_;
  std::vector<std::string> identities_;
  engram_row_format row_format_ = 0;
  uint64_t tier_bytes_ = 0;
  bool may_block_ = false;
  bool gains_from_lookahead_ = false;
  std::unique_ptr<HotSets> hot_sets_;  // last: reads the chains
};

}  // namespace engram
