// SPDX-License-Identifier: Apache-2.0
// The tier chain: places a table's rows live, caches first, one complete store last.
#pragma once

#include <engram/tier.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "memory/row_heat.h"
#include "plugin/tier.h"

namespace engram {

// One tier of the chain, first the nearest.
struct TierSpec {
  std::string name;  // unique in the chain; for metrics and messages
  std::shared_ptr<const PluginLibrary> library;
  PluginOptions options;
};

struct TierTableStats {
  std::string tier;
  std::string plugin;
  std::string medium;
  uint32_t flags = 0;  // ENGRAM_TIER_...
  uint32_t layer = 0;
  uint64_t capacity_bytes = 0;  // 0: as large as its tables
  engram_tier_stats counters{};
};

struct OpenTier {
  std::string name;
  std::shared_ptr<Tier> tier;
};

// Opens the chain's tiers. kInvalidArgument for no tier, a name twice, a last tier that is no store, or a store before
// the last (what lies behind it would never be read). Blocks.
Result<std::vector<OpenTier>> OpenTiers(const std::vector<TierSpec>& specs);

// Work space of one reading thread; grows to the largest read.
struct ChainScratch {
  std::atomic<uint32_t> level{0};  // the tier that is being read; any thread may look
  std::vector<uint8_t> found;
  std::vector<uint64_t> pending_ids;
  std::vector<uint32_t> pending_places;
  std::vector<uint8_t> rows;
  std::vector<uint64_t> fill_ids;
  std::vector<uint8_t> fill_rows;
};

class TableChain;
// That rows have not come in time: of the tier at `level` of `reading`, or of none that is known.
Error NoAnswer(const TableChain* reading, uint32_t level, std::chrono::milliseconds waited);

// One layer's table, attached to every tier of a chain. Read() from any threads at once, each with its own scratch.
class TableChain {
 public:
  // Attaches the table to all tiers; `desc.source` must stay valid. Blocks while a store fills.
  static Result<std::unique_ptr<TableChain>> Attach(const std::vector<OpenTier>& tiers, const engram_table_desc& desc);

  uint32_t layer() const { return layer_; }
  uint64_t num_rows() const { return num_rows_; }
  uint32_t row_bytes() const { return row_bytes_; }
  bool may_block() const;  // some tier may wait for a device or peer
  const std::string& tier_name(uint32_t level) const { return levels_[level].name; }
  // A cache that fills stands before a tier that may block: rows read early come at less cost when they are needed.
  bool gains_from_lookahead() const;

  // Copies row ids[i] to dst + i * row_bytes. Each id is below num_rows(); distinct ids are cheapest. Tiers are asked
  // in turn, each for what those before it missed; rows found further down are offered to the writable caches above,
  // whose refusal is counted in fill_errors() and logged once, and is no error here. A tier that is out of reach
  // (kUnavailable) is asked up to three times. Errors name the tier and the layer. With `first_level`, for what
  // ReadNear() missed, the tiers before it are only filled.
  Status Read(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, ChainScratch& scratch, uint32_t first_level = 0);

  // The first tier answers without waiting, while another may not.
  bool has_near() const { return has_near_; }
  // Asks it, and no other: found[i] is 1 where it had row ids[i].
  Status ReadNear(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint8_t* found);

  // What batches and sequences ask for; reads ahead of prompts and those of an administrator are not counted.
  RowHeat& heat() { return *heat_; }

  // Which tier a read would find each row in: levels[i] indexes level_name(). The tiers before the last are asked as a
  // read asks them, which they count; the first that may block is taken to have what it is asked for. Fills nothing.
  void Locate(std::span<const uint64_t> ids, std::span<uint32_t> levels) const;
  const std::string& level_name(uint32_t level) const { return levels_[level].name; }
  // The caches whose rows are gone after a restart and that can list their hot ones, by level.
  struct HotCache {
    size_t level = 0;
    std::string tier;
    uint64_t capacity_rows = 0;
  };
  std::vector<HotCache> hot_caches() const;
  // The rows worth having again, the most wanted first, at most `capacity`; each below num_rows(). `level` is one of
  // hot_caches().
  Result<std::vector<uint64_t>> HotRows(size_t level, uint64_t capacity) const;

  // Reads one row of the store, past the caches, to see whether it answers.
  Status Probe(uint64_t id);

  uint64_t fill_errors() const { return fill_errors_.load(std::memory_order_relaxed); }
  uint64_t retries() const { return retries_.load(std::memory_order_relaxed); }  // reads asked again
  std::vector<TierTableStats> stats() const;

 private:
  struct Level {
    std::string name;
    std::unique_ptr<TierTable> table;
    bool fills = false;  // a writable cache
  };
  TableChain() = default;
  Error Failed(const Level& level, Error error) const;
  void Fill(size_t num_levels, const uint64_t* ids, uint32_t num_ids, const uint8_t* rows);

  std::vector<Level> levels_;
  uint32_t layer_ = 0;
  uint64_t num_rows_ = 0;
  uint32_t row_bytes_ = 0;
  bool has_near_ = false;
  std::unique_ptr<RowHeat> heat_;
  std::atomic<uint64_t> fill_errors_{0};
  std::atomic<uint64_t> retries_{0};
};

}  // namespace engram
