// SPDX-License-Identifier: Apache-2.0
#include "table.h"

#include <engram/plugin_error.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace engram::tier_dram {

using sdk::PluginError;

StoreTable::StoreTable(const engram_table_desc& desc, const MemoryOptions& memory, uint32_t load_threads)
    : engram_tier_table(desc), memory_(desc.num_rows * desc.row_bytes, memory), gather_(GatherFor(desc.row_bytes)) {
  memory_.Fill(desc.source, num_rows, row_bytes, load_threads);
  memory_.Seal();
}

void StoreTable::Read(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride, uint8_t* found) {
  const uint32_t copied = gather_(memory_.data(), num_rows, row_bytes, ids, num_ids, dst, dst_stride);
  reads_.fetch_add(1, std::memory_order_relaxed);
  rows_.fetch_add(copied, std::memory_order_relaxed);
  if (copied != num_ids) {
    errors_.fetch_add(1, std::memory_order_relaxed);
    throw PluginError(ENGRAM_INVALID_ARGUMENT,
                      "row " + std::to_string(ids[copied]) + " of a table of " + std::to_string(num_rows) + " rows");
  }
  std::fill_n(found, num_ids, uint8_t{1});
}

void StoreTable::Write(const uint64_t*, uint32_t, const uint8_t*, uint64_t) {
  throw PluginError(ENGRAM_UNSUPPORTED, "a full copy is not written to (option mode is store)");
}

void StoreTable::Invalidate(const uint64_t*, uint32_t) {
  throw PluginError(ENGRAM_UNSUPPORTED, "a full copy forgets no rows (option mode is store)");
}

engram_tier_stats StoreTable::Stats() const {
  engram_tier_stats stats = {};
  stats.resident_bytes = num_rows * row_bytes;
  stats.reads = reads_.load(std::memory_order_relaxed);
  stats.rows = stats.hits = rows_.load(std::memory_order_relaxed);
  stats.errors = errors_.load(std::memory_order_relaxed);
  stats.bytes_read = stats.rows * row_bytes;
  return stats;
}

CacheTable::CacheTable(const engram_table_desc& desc, RowCache& cache)
    : engram_tier_table(desc), cache_(cache), table_(cache.AddTable()) {}

CacheTable::~CacheTable() {
  cache_.RemoveTable(table_);
}

void CacheTable::Read(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride, uint8_t* found) {
  const uint32_t hits = cache_.Read(table_, ids, num_ids, dst, dst_stride, found);
  reads_.fetch_add(1, std::memory_order_relaxed);
  rows_.fetch_add(num_ids, std::memory_order_relaxed);
  hits_.fetch_add(hits, std::memory_order_relaxed);
}

void CacheTable::Write(const uint64_t* ids, uint32_t num_ids, const uint8_t* src, uint64_t src_stride) {
  // A row beyond the table could be another table's.
  for (uint32_t i = 0; i < num_ids; ++i) {
    if (ids[i] >= num_rows)
      throw PluginError(ENGRAM_INVALID_ARGUMENT,
                        "row " + std::to_string(ids[i]) + " of a table of " + std::to_string(num_rows) + " rows");
  }
  cache_.Write(table_, ids, num_ids, src, src_stride);
}

void CacheTable::Invalidate(const uint64_t* ids, uint32_t num_ids) {
  if (num_ids == 0)
    cache_.ForgetTable(table_);
  else
    cache_.Forget(table_, ids, num_ids);
}

engram_tier_stats CacheTable::Stats() const {
  const CachedTableCounters& counters = cache_.counters(table_);
  engram_tier_stats stats = {};
  stats.resident_bytes = counters.resident_rows.load(std::memory_order_relaxed) * cache_.slot_bytes();
  stats.reads = reads_.load(std::memory_order_relaxed);
  // Hits first: a read counted in between then shows as misses only until it is counted whole.
  stats.hits = hits_.load(std::memory_order_relaxed);
  stats.rows = rows_.load(std::memory_order_relaxed);
  stats.misses = stats.rows - stats.hits;
  stats.fills = counters.fills.load(std::memory_order_relaxed);
  stats.evictions = counters.evictions.load(std::memory_order_relaxed);
  stats.bytes_read = stats.hits * row_bytes;
  return stats;
}

}  // namespace engram::tier_dram
