// SPDX-License-Identifier: Apache-2.0
// RowCache: rows of many tables in a fixed amount of memory, with the S3-FIFO policy (Yang et al., "FIFO queues are all
// you need for cache eviction", SOSP 2023): new rows enter a small queue and reach the main one only when asked for
// again, there or soon after leaving it, so that a scan passes through a tenth of the memory.
//
// A key's hash picks one of up to 256 shards, each with its own lock, queues and open-addressing index, all in one
// mapping. Unless said otherwise, functions may be called from any threads at once. Errors are PluginError.
#pragma once

#include <atomic>
#include <bitset>
#include <cstdint>
#include <memory>
#include <string>

#include "spin_lock.h"
#include "table_memory.h"

namespace engram::tier_dram {

// Table in the upper 16 bits, row below.
using RowKey = uint64_t;
constexpr uint32_t kRowBits = 48;
constexpr uint32_t kMaxTables = 256;
constexpr RowKey KeyOf(uint32_t table, uint64_t row) {
  return uint64_t{table} << kRowBits | row;
}

// What happened to one table's rows. The counts are exact at any time.
struct CachedTableCounters {
  std::atomic<uint64_t> resident_rows{0};
  std::atomic<uint64_t> fills{0};
  std::atomic<uint64_t> evictions{0};
};

class RowCache {
 public:
  static constexpr uint64_t kMinCapacityBytes = 4u << 20;

  // Takes at most `capacity_bytes` (at least kMinCapacityBytes) of memory for rows, their metadata, index and queues.
  // ENGRAM_INVALID_ARGUMENT where that holds fewer than 16 rows, ENGRAM_RESOURCE_EXHAUSTED where it is not available.
  RowCache(uint64_t capacity_bytes, uint32_t row_bytes, const MemoryOptions& memory);

  // Table numbers, below kMaxTables. RemoveTable() forgets its rows. Not concurrent with each other; RemoveTable() not
  // with other calls for its table.
  uint32_t AddTable();
  void RemoveTable(uint32_t table);
  uint32_t num_tables() const { return num_tables_; }

  // Copies the row ids[i] of `table` to dst + i * dst_stride and sets found[i] to 1 where it is here, else found[i] to
  // 0. Returns how many were found. A row that is being written or moved by another thread may count as not found.
  uint32_t Read(uint32_t table, const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride,
                uint8_t* found) {
    return (this->*read_)(table, ids, num_ids, dst, dst_stride, found);
  }

  // Takes rows in, in place of others; a row that is here already gets the new bytes.
  void Write(uint32_t table, const uint64_t* ids, uint32_t num_ids, const uint8_t* src, uint64_t src_stride);

  void Forget(uint32_t table, const uint64_t* ids, uint32_t num_ids);
  void ForgetTable(uint32_t table);  // walks the whole cache

  // Writes up to `capacity` rows of `table` that were asked for since they came, the most wanted first, and returns how
  // many. Walks the whole cache twice, a few rows of a shard at a time.
  uint64_t HotRows(uint32_t table, uint64_t* ids, uint64_t capacity) const;

  uint32_t row_bytes() const { return row_bytes_; }
  uint64_t num_slots() const { return uint64_t{num_shards_} * slots_per_shard_; }
  uint64_t slot_bytes() const { return slot_bytes_; }
  uint64_t memory_bytes() const { return memory_bytes_; }  // all that is used, when full; <= capacity_bytes
  std::string memory_description() const { return memory_->Description(); }
  const CachedTableCounters& counters(uint32_t table) const { return counters_[table]; }

 private:
  // Before each row's bytes, so that the prefetch of the row brings it along.
  struct Slot {
    RowKey key;        // kNoKey: forgotten, waiting to leave its queue
    uint32_t next;     // towards the queue's newest
    uint16_t uses;     // asked for since it entered its queue, at most 3
    uint16_t in_main;  // 1: in the main queue
  };
  static_assert(sizeof(Slot) == 16);
  struct Queue {
    uint32_t oldest = 0;
    uint32_t newest = 0;
    uint32_t length = 0;
  };
  struct alignas(64) Shard {
    SpinLock lock;               // guards everything of the shard; the index may be looked at without, for a hint
    uint64_t* index = nullptr;   // [index_size_]: hash << 32 | slot + 1, linear probing; 0: empty
    uint64_t* ghosts = nullptr;  // [num_ghosts_]: hash << 32 | when it left, by ghost_clock
    uint8_t* slots = nullptr;    // [slots_per_shard_][slot_bytes_]
    Queue small;
    Queue main;
    uint32_t num_fresh = 0;  // slots from here on were never used
    uint32_t ghost_clock = 0;
  };
  struct Place {
    Shard* shard;
    uint32_t hash;           // within the shard
    uint32_t slot_plus_one;  // 0: not found
  };

  template <uint32_t kRowBytes>
  uint32_t ReadRows(uint32_t table, const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride,
                    uint8_t* found);
  using ReadFunction = uint32_t (RowCache::*)(uint32_t, const uint64_t*, uint32_t, uint8_t*, uint64_t, uint8_t*);
  static ReadFunction ReadFor(uint32_t row_bytes);

  // Calls visit(rank, row) for each row of `table`: 0 for one never asked for, up to kMaxRank.
  static constexpr uint32_t kMaxRank = 7;
  template <typename Visit>
  void ForEachRow(uint32_t table, Visit&& visit) const;

  Place PlaceOf(RowKey key) const;
  uint32_t Home(uint32_t hash) const { return static_cast<uint32_t>(uint64_t{hash} * index_size_ >> 32); }
  Slot& SlotAt(const Shard& shard, uint32_t slot) const {
    return *reinterpret_cast<Slot*>(shard.slots + uint64_t{slot} * slot_bytes_);
  }
  // The slot + 1 of the first entry with this hash; without the lock, a hint.
  uint32_t Hint(const Shard& shard, uint32_t hash) const;
  // With the lock: the slot + 1 of the key, or 0.
  uint32_t Find(const Shard& shard, uint32_t hash, RowKey key) const;
  void Insert(Shard& shard, uint32_t hash, uint32_t slot);
  void Remove(Shard& shard, uint32_t hash, uint32_t slot);
  void Append(Shard& shard, Queue& queue, uint32_t slot);
  uint32_t TakeOldest(Shard& shard, Queue& queue);
  uint32_t TakeSlot(Shard& shard);
  uint32_t Evict(Shard& shard);
  void ForgetSlot(Shard& shard, uint32_t hash, uint32_t slot);
  bool TakeGhost(Shard& shard, uint32_t hash);
  void AddGhost(Shard& shard, uint32_t hash);

  const uint32_t row_bytes_;
  const uint32_t slot_bytes_;
  const ReadFunction read_;
  uint32_t num_shards_ = 1;
  uint32_t shard_shift_ = 0;  // of a 64-bit hash
  uint32_t slots_per_shard_ = 0;
  uint32_t small_length_ = 0;  // the small queue's share
  uint32_t index_size_ = 0;
  uint32_t num_ghosts_ = 0;  // a multiple of a line's 8
  uint32_t ghost_life_ = 0;  // a ghost counts until this many came after it
  uint64_t memory_bytes_ = 0;
  std::unique_ptr<TableMemory> memory_;
  std::unique_ptr<Shard[]> shards_;
  std::unique_ptr<CachedTableCounters[]> counters_;  // [kMaxTables]
  uint32_t num_tables_ = 0;
  std::bitset<kMaxTables> table_used_;
};

}  // namespace engram::tier_dram
