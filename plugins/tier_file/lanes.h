// SPDX-License-Identifier: Apache-2.0
// Lanes: what one read() needs for itself (a ring or an inbox, buffers, work space), lent to the threads that read.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "async_reads.h"
#include "run_reader.h"

namespace engram::tier_file {

class Lane {
 public:
  Lane(std::unique_ptr<AsyncReads> reads, uint32_t depth) : reads_(std::move(reads)), depth_(depth) {}
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  AsyncReads& reads() { return *reads_; }
  // Buffers of at least `slot_bytes` each. PluginError ENGRAM_RESOURCE_EXHAUSTED.
  ReadBuffers Buffers(uint32_t slot_bytes);

  // Work space of a read: page and index of each id; runs, and which of `wanted` lie in each.
  struct Wanted {
    uint64_t page;
    uint32_t index;
  };
  std::vector<Wanted> wanted;
  std::vector<Run> runs;
  std::vector<uint32_t> first_wanted;  // [runs + 1]

 private:
  void Unmap();

  std::unique_ptr<AsyncReads> reads_;
  const uint32_t depth_;
  uint8_t* data_ = nullptr;  // a mapping of its own: a read that outlives its ring then writes to no one else's memory
  uint64_t mapped_bytes_ = 0;
  uint32_t slot_bytes_ = 0;
};

// Any threads.
class LanePool {
 public:
  // At most kMaxLanes lanes, made by `make` when first needed; the first at once.
  static constexpr uint32_t kMaxLanes = 16;
  LanePool(std::function<std::unique_ptr<AsyncReads>()> make, uint32_t depth);

  // Waits until a lane is free. When `use` throws, its lane is not used again, since reads may still be under way.
  std::optional<RunFailure> Use(const std::function<std::optional<RunFailure>(Lane&)>& use);

 private:
  std::unique_ptr<Lane> Take();
  void GiveBack(std::unique_ptr<Lane> lane);  // nullptr: it is no more

  const std::function<std::unique_ptr<AsyncReads>()> make_;
  const uint32_t depth_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::unique_ptr<Lane>> free_;  // guarded by mutex_
  uint32_t num_lanes_ = 0;                   // guarded by mutex_
};

}  // namespace engram::tier_file
