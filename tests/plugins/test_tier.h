// SPDX-License-Identifier: Apache-2.0
// TestTierControl: how a test steers and watches an instance of test_tier.so. Its address goes into the option
// `control`, as a decimal number; it must outlive the instance. Both sides are built by the same compiler.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

struct TestTierControl {
  uint32_t flags = 0;  // ENGRAM_TIER_..., as describe() reports them
  // Counted from 1 over all reads; 0: never.
  uint64_t fail_at_read = 0;       // returns ENGRAM_DATA_LOSS and a message
  uint64_t short_at_read = 0;      // leaves the last row unfound
  uint64_t unavailable_from = 0;   // reads from here to unavailable_until - 1 return ENGRAM_UNAVAILABLE, with some
  uint64_t unavailable_until = 0;  // rows written, torn, and marked found
  bool fail_writes = false;

  std::mutex mutex;
  std::condition_variable changed;
  bool hold_reads = false;      // guarded by mutex: reads from number hold_from on wait until it is false
  uint64_t hold_from = 0;       // guarded by mutex
  uint64_t reads = 0;           // guarded by mutex: calls that began
  uint64_t writes = 0;          // guarded by mutex
  uint32_t attached = 0;        // guarded by mutex: tables attached now
  std::vector<uint64_t> asked;  // guarded by mutex: all ids read, in order

  // Waits until `count` reads have begun.
  void WaitForReads(uint64_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return reads >= count; });
  }
  void Release() {
    {
      const std::lock_guard lock(mutex);
      hold_reads = false;
    }
    changed.notify_all();
  }
};
