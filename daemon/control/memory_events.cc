// SPDX-License-Identifier: Apache-2.0
#include "control/memory_events.h"

#include <utility>

namespace engram {

void MemoryEvents::Add(MemoryEvent event) {
  std::lock_guard lock(mutex_);
  events_.push_back({++last_, std::move(event)});
  if (events_.size() > kept_) events_.pop_front();
}

std::vector<NumberedMemoryEvent> MemoryEvents::List() const {
  std::lock_guard lock(mutex_);
  return {events_.begin(), events_.end()};
}

}  // namespace engram
