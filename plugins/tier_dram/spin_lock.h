// SPDX-License-Identifier: Apache-2.0
// A lock of one byte for sections of some hundred nanoseconds; for std::lock_guard.
#pragma once

#include <atomic>
#include <thread>

namespace engram::tier_dram {

class SpinLock {
 public:
  void lock() {
    while (held_.exchange(true, std::memory_order_acquire)) {
      // The holder needs well under a microsecond unless it lost its core; then this one is better given to it.
      for (int spins = 0; held_.load(std::memory_order_relaxed); ++spins) {
        if (spins < kSpins)
          __builtin_ia32_pause();
        else
          std::this_thread::yield();
      }
    }
  }
  void unlock() { held_.store(false, std::memory_order_release); }

 private:
  static constexpr int kSpins = 64;
  std::atomic<bool> held_{false};
};

}  // namespace engram::tier_dram
