// SPDX-License-Identifier: Apache-2.0
// The two kinds of an attached table: a full copy, or a share of the tier's cache. The calls are those of
// engram_tier_functions, with errors as PluginError.
#pragma once

#include <engram/tier.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "row_cache.h"
#include "row_gather.h"
#include "table_memory.h"

struct engram_tier_table {
  explicit engram_tier_table(const engram_table_desc& desc) : num_rows(desc.num_rows), row_bytes(desc.row_bytes) {}
  virtual ~engram_tier_table() = default;
  engram_tier_table(const engram_tier_table&) = delete;
  engram_tier_table& operator=(const engram_tier_table&) = delete;

  virtual void Read(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride, uint8_t* found) = 0;
  virtual void Write(const uint64_t* ids, uint32_t num_ids, const uint8_t* src, uint64_t src_stride) = 0;
  virtual void Invalidate(const uint64_t* ids, uint32_t num_ids) = 0;
  virtual engram_tier_stats Stats() const = 0;
  virtual const uint8_t* Map() const { return nullptr; }
  virtual uint64_t HotRows(uint64_t*, uint64_t) const { return 0; }

  const uint64_t num_rows;
  const uint32_t row_bytes;
};

namespace engram::tier_dram {

// Every row of the table.
class StoreTable final : public engram_tier_table {
 public:
  // Fills itself from desc.source on `load_threads` threads.
  StoreTable(const engram_table_desc& desc, const MemoryOptions& memory, uint32_t load_threads);
  void Read(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride, uint8_t* found) override;
  void Write(const uint64_t* ids, uint32_t num_ids, const uint8_t* src, uint64_t src_stride) override;  // throws
  void Invalidate(const uint64_t* ids, uint32_t num_ids) override;                                      // throws
  engram_tier_stats Stats() const override;
  const uint8_t* Map() const override { return memory_.data(); }
  std::string memory_description() const { return memory_.Description(); }

 private:
  TableMemory memory_;
  const GatherFunction gather_;
  // Updated once per read() by many threads: on a line of their own, away from what every read() loads.
  alignas(64) std::atomic<uint64_t> reads_{0};
  std::atomic<uint64_t> rows_{0};
  std::atomic<uint64_t> errors_{0};
};

// The table's rows in a cache, which outlives this. Forgets them when destroyed.
class CacheTable final : public engram_tier_table {
 public:
  CacheTable(const engram_table_desc& desc, RowCache& cache);
  ~CacheTable() override;
  void Read(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride, uint8_t* found) override;
  void Write(const uint64_t* ids, uint32_t num_ids, const uint8_t* src, uint64_t src_stride) override;
  void Invalidate(const uint64_t* ids, uint32_t num_ids) override;
  engram_tier_stats Stats() const override;
  uint64_t HotRows(uint64_t* ids, uint64_t capacity) const override { return cache_.HotRows(table_, ids, capacity); }

 private:
  RowCache& cache_;
  const uint32_t table_;
  alignas(64) std::atomic<uint64_t> reads_{0};
  std::atomic<uint64_t> rows_{0};
  std::atomic<uint64_t> hits_{0};
};

}  // namespace engram::tier_dram
