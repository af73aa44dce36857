// SPDX-License-Identifier: Apache-2.0
// The time of day. Any thread.
#pragma once

#include <chrono>
#include <cstdint>

namespace engram {

// Milliseconds since 1970.
inline int64_t UnixMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace engram
