// SPDX-License-Identifier: Apache-2.0
// StoreWatch: whether the stores of a memory's tables answer. A failed batch says that they may not; then this asks
// each for a row, past the caches, once a second until all have answered.
//
// Threads: its own, "tier-watch", which sleeps while nothing has failed; a tier may keep it waiting. Report() and
// failing(): any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "core/leavable_thread.h"
#include "core/result.h"

namespace engram {

class StoreWatch {
 public:
  // `probe` is called on the thread, and owns what it needs once it has begun. kResourceExhausted if the thread cannot
  // start. Dropped, it ends the thread, or leaves it behind with a probe that does not return.
  static Result<std::shared_ptr<StoreWatch>> Create(std::function<Status()> probe);
  StoreWatch(const StoreWatch&) = delete;
  StoreWatch& operator=(const StoreWatch&) = delete;

  // A batch did not get its rows.
  void Report();
  // From Report() until the stores have answered.
  bool failing() const { return failing_.load(std::memory_order_relaxed); }

  void Stop();  // StopWhenDropped()'s

 private:
  explicit StoreWatch(std::function<Status()> probe) : probe_(std::move(probe)) {}
  void Run();

  const std::function<Status()> probe_;
  std::atomic<bool> failing_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  uint64_t reports_ = 0;  // guarded by mutex_
  bool stop_ = false;     // guarded by mutex_
  LeavableThread thread_;
};

}  // namespace engram
