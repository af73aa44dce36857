// SPDX-License-Identifier: Apache-2.0
// MemoryEvents: the latest changes of every served model's memory, numbered, for event streams. Older ones are
// forgotten, however fast they come.
//
// Any thread; every call is short.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "control/live_memory.h"

namespace engram {

struct NumberedMemoryEvent {
  uint64_t number = 0;  // from 1, in the order they happened
  MemoryEvent event;
};

class MemoryEvents {
 public:
  explicit MemoryEvents(size_t kept = 64) : kept_(kept) {}

  void Add(MemoryEvent event);
  // Those that are kept, oldest first.
  std::vector<NumberedMemoryEvent> List() const;

 private:
  const size_t kept_;
  mutable std::mutex mutex_;
  std::deque<NumberedMemoryEvent> events_;  // guarded by mutex_
  uint64_t last_ = 0;                       // guarded by mutex_
};

}  // namespace engram
