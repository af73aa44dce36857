// SPDX-License-Identifier: Apache-2.0
// ControlMetrics: counts what this room does: operations that ended, and changes of memory.
//
// Threads: any, also at once; nothing blocks for long.
#pragma once

#include <memory>

#include "control/live_memory_directory.h"
#include "control/operations.h"
#include "core/metrics.h"

namespace engram {

class ControlMetrics {
 public:
  // Counts operations itself. Both must outlive it.
  ControlMetrics(MetricRegistry& registry, Operations& operations);
  // LiveMemoryOptions::on_event.
  void OnMemoryEvent(const MemoryEvent& event);

 private:
  void OnOperation(const Operation& operation);

  MetricRegistry& registry_;
  std::shared_ptr<void> listening_;
};

// Reports what waits for the journal of the default memory, until the handle is destroyed. Both must outlive it.
[[nodiscard]] std::shared_ptr<void> CollectJournal(MetricRegistry& registry, const LiveMemoryDirectory& memories);

}  // namespace engram
