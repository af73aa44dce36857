// SPDX-License-Identifier: Apache-2.0
// Nanoseconds of a clock that only goes forward, for counters. Any thread.
#pragma once

#include <chrono>
#include <cstdint>

namespace engram {

inline uint64_t MonotonicNs() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

}  // namespace engram
