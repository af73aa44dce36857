// SPDX-License-Identifier: Apache-2.0
#include "memory/tier_chain.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>
#include <set>

#include "core/log.h"

namespace engram {
namespace {

// A tier that is out of reach for a moment is asked this often; at once, for how long to wait is the tier's to know.
constexpr int kReadAttempts = 3;

}  // namespace

Result<std::vector<OpenTier>> OpenTiers(const std::vector<TierSpec>& specs) {
  if (specs.empty()) return InvalidArgument("the tier chain is empty: it needs at least a store", "tiers");
  std::set<std::string> names;
  for (const TierSpec& spec : specs)
    if (!names.insert(spec.name).second) return InvalidArgument("two tiers are named \"" + spec.name + "\"", "tiers");
  std::vector<OpenTier> tiers;
  for (const TierSpec& spec : specs) {
    auto tier = Tier::Open(spec.library, spec.options);
    if (!tier) return std::move(tier).error().At("tier \"" + spec.name + "\"");
    const bool store = ((*tier)->info().flags & ENGRAM_TIER_STORE) != 0;
    const bool last = &spec == &specs.back();
    if (last && !store)
      return InvalidArgument(
          "the last tier, \"" + spec.name + "\", is a cache: it must be a store, which has every row", "tiers");
    if (!last && store)
      return InvalidArgument("tier \"" + spec.name + "\" is a store, but not the last: tiers behind it, such as \"" +
                                 specs.back().name + "\", would never be read",
                             "tiers");
    tiers.push_back({spec.name, *std::move(tier)});
  }
  return tiers;
}

Result<std::unique_ptr<TableChain>> TableChain::Attach(const std::vector<OpenTier>& tiers,
                                                       const engram_table_desc& desc) {
  std::unique_ptr<TableChain> chain(new TableChain());
  chain->layer_ = desc.layer;
  chain->num_rows_ = desc.num_rows;
  chain->row_bytes_ = desc.row_bytes;
  for (const OpenTier& tier : tiers) {
    auto table = TierTable::Attach(tier.tier, desc);
    if (!table) return std::move(table).error().At("tier \"" + tier.name + "\", layer " + std::to_string(desc.layer));
    constexpr uint32_t kFills = ENGRAM_TIER_CACHE | ENGRAM_TIER_WRITABLE;
    chain->levels_.push_back({tier.name, *std::move(table), (tier.tier->info().flags & kFills) == kFills});
  }
  chain->has_near_ = chain->may_block() && (tiers.front().tier->info().flags & ENGRAM_TIER_MAY_BLOCK) == 0;
  chain->heat_ = std::make_unique<RowHeat>(desc.num_rows);
  return chain;
}

bool TableChain::may_block() const {
  return std::any_of(levels_.begin(), levels_.end(), [](const Level& level) {
    return (level.table->tier().info().flags & ENGRAM_TIER_MAY_BLOCK) != 0;
  });
}

bool TableChain::gains_from_lookahead() const {
  bool filling = false;
  for (const Level& level : levels_) {
    if (filling && (level.table->tier().info().flags & ENGRAM_TIER_MAY_BLOCK) != 0) return true;
    filling = filling || level.fills;
  }
  return false;
}

Error NoAnswer(const TableChain* reading, uint32_t level, std::chrono::milliseconds waited) {
  const std::string what = "no answer within " + std::to_string(waited.count()) + " ms (memory.read_timeout)";
  if (reading == nullptr) return Unavailable("rows of the batch: " + what);
  return Unavailable("tier \"" + reading->tier_name(level) + "\", layer " + std::to_string(reading->layer()) + ": " +
                     what);
}

Status TableChain::Probe(uint64_t id) {
  std::vector<uint8_t> row(row_bytes_);
  uint8_t found = 0;
  if (auto read = levels_.back().table->Read(&id, 1, row.data(), row_bytes_, &found); !read)
    return Failed(levels_.back(), std::move(read).error());
  return {};
}

Error TableChain::Failed(const Level& level, Error error) const {
  return std::move(error).At("tier \"" + level.name + "\", layer " + std::to_string(layer_));
}

Status TableChain::ReadNear(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint8_t* found) {
  std::memset(found, 0, num_ids);
  if (auto read = levels_.front().table->Read(ids, num_ids, dst, row_bytes_, found); !read)
    return Failed(levels_.front(), std::move(read).error());
  return {};
}

Status TableChain::Read(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, ChainScratch& scratch,
                        uint32_t first_level) {
  scratch.found.resize(std::max<size_t>(scratch.found.size(), num_ids));
  // What is still looked for: at first all ids, at their own places.
  const uint64_t* pending = ids;
  uint32_t num_pending = num_ids;
  for (size_t i = first_level; i < levels_.size() && num_pending > 0; ++i) {
    const Level& level = levels_[i];
    scratch.level.store(static_cast<uint32_t>(i), std::memory_order_relaxed);
    const bool direct = num_pending == num_ids;
    if (!direct) scratch.rows.resize(std::max(scratch.rows.size(), size_t{num_pending} * row_bytes_));
    uint8_t* out = direct ? dst : scratch.rows.data();
    uint8_t* found = scratch.found.data();
    for (int attempt = 1;; ++attempt) {
      std::memset(found, 0, num_pending);
      auto read = level.table->Read(pending, num_pending, out, row_bytes_, found);
      if (read) break;
      if (read.error().code != ErrorCode::kUnavailable || attempt == kReadAttempts)
        return Failed(level, std::move(read).error());
      retries_.fetch_add(1, std::memory_order_relaxed);
    }
    const void* first_miss = std::memchr(found, 0, num_pending);
    if (first_miss != nullptr && i + 1 == levels_.size()) {
      const uint64_t id = pending[static_cast<const uint8_t*>(first_miss) - found];
      return Failed(level,
                    Internal("the store did not find row " + std::to_string(id) + " of " + std::to_string(num_rows_)));
    }
    if (!direct) {
      for (uint32_t k = 0; k < num_pending; ++k)
        if (found[k] != 0)
          std::memcpy(dst + size_t{scratch.pending_places[k]} * row_bytes_, out + size_t{k} * row_bytes_, row_bytes_);
    }
    if (first_miss == nullptr) {
      Fill(i, pending, num_pending, out);
      return {};
    }
    if (i > 0) {  // a middle tier found some: those go up, on their own
      scratch.fill_ids.clear();
      scratch.fill_rows.clear();
      for (uint32_t k = 0; k < num_pending; ++k) {
        if (found[k] == 0) continue;
        scratch.fill_ids.push_back(pending[k]);
        const uint8_t* row = out + size_t{k} * row_bytes_;
        scratch.fill_rows.insert(scratch.fill_rows.end(), row, row + row_bytes_);
      }
      Fill(i, scratch.fill_ids.data(), static_cast<uint32_t>(scratch.fill_ids.size()), scratch.fill_rows.data());
    }
    scratch.pending_ids.resize(std::max<size_t>(scratch.pending_ids.size(), num_ids));
    scratch.pending_places.resize(std::max<size_t>(scratch.pending_places.size(), num_ids));
    uint32_t kept = 0;
    for (uint32_t k = 0; k < num_pending; ++k) {
      if (found[k] != 0) continue;
      scratch.pending_ids[kept] = pending[k];
      scratch.pending_places[kept] = direct ? k : scratch.pending_places[k];
      ++kept;
    }
    pending = scratch.pending_ids.data();
    num_pending = kept;
  }
  return {};
}

void TableChain::Fill(size_t num_levels, const uint64_t* ids, uint32_t num_ids, const uint8_t* rows) {
  if (num_ids == 0) return;
  for (size_t i = 0; i < num_levels; ++i) {
    const Level& level = levels_[i];
    if (!level.fills) continue;
    auto written = level.table->Write(ids, num_ids, rows, row_bytes_);
    // The rows are right whether or not a cache took them, so the batch goes on.
    if (!written && fill_errors_.fetch_add(1, std::memory_order_relaxed) == 0)
      log::Warning("{}; later failures to fill a cache are only counted",
                   Failed(level, std::move(written).error()).message);
  }
}

void TableChain::Locate(std::span<const uint64_t> ids, std::span<uint32_t> levels) const {
  std::vector<uint64_t> pending(ids.begin(), ids.end());
  std::vector<uint32_t> places(ids.size());
  std::iota(places.begin(), places.end(), 0u);
  std::vector<uint8_t> rows;
  std::vector<uint8_t> found;
  for (uint32_t i = 0; !pending.empty(); ++i) {
    const Level& level = levels_[i];
    found.assign(pending.size(), 1);
    if (i + 1 < levels_.size() && (level.table->tier().info().flags & ENGRAM_TIER_MAY_BLOCK) == 0) {
      rows.resize(pending.size() * row_bytes_);
      std::fill(found.begin(), found.end(), uint8_t{0});
      // A cache that cannot answer has nothing to offer: the row comes from further down.
      if (!level.table->Read(pending.data(), static_cast<uint32_t>(pending.size()), rows.data(), row_bytes_,
                             found.data()))
        std::fill(found.begin(), found.end(), uint8_t{0});
    }
    size_t kept = 0;
    for (size_t k = 0; k < pending.size(); ++k) {
      if (found[k] != 0) {
        levels[places[k]] = i;
      } else {
        pending[kept] = pending[k];
        places[kept++] = places[k];
      }
    }
    pending.resize(kept);
  }
}

std::vector<TableChain::HotCache> TableChain::hot_caches() const {
  std::vector<HotCache> caches;
  for (size_t i = 0; i < levels_.size(); ++i) {
    const TierInfo& info = levels_[i].table->tier().info();
    const bool volatile_cache = levels_[i].fills && (info.flags & ENGRAM_TIER_PERSISTENT) == 0;
    if (volatile_cache && levels_[i].table->lists_hot_rows())
      caches.push_back({i, levels_[i].name, info.capacity_bytes == 0 ? num_rows_ : info.capacity_bytes / row_bytes_});
  }
  return caches;
}

Result<std::vector<uint64_t>> TableChain::HotRows(size_t level, uint64_t capacity) const {
  auto ids = levels_[level].table->HotRows(std::min(capacity, num_rows_));
  if (!ids) return Failed(levels_[level], std::move(ids).error());
  for (const uint64_t id : *ids)
    if (id >= num_rows_)
      return Failed(levels_[level], Internal("hot_rows: row " + std::to_string(id) + " of a table of " +
                                             std::to_string(num_rows_) + " rows"));
  return ids;
}

std::vector<TierTableStats> TableChain::stats() const {
  std::vector<TierTableStats> result;
  for (const Level& level : levels_) {
    const TierInfo& info = level.table->tier().info();
    TierTableStats stats{level.name,  std::string(level.table->tier().library().name()),
                         info.medium, info.flags,
                         layer_,      info.capacity_bytes,
                         {}};
    if (auto counters = level.table->Stats())
      stats.counters = *counters;
    else
      log::Warning("{}", Failed(level, std::move(counters).error()).message);
    result.push_back(std::move(stats));
  }
  return result;
}

}  // namespace engram
