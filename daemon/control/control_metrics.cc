// SPDX-License-Identifier: Apache-2.0
#include "control/control_metrics.h"

#include <array>

namespace engram {
namespace {

constexpr std::array<double, 12> kOperationBounds = {0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};

}  // namespace

ControlMetrics::ControlMetrics(MetricRegistry& registry, Operations& operations) : registry_(registry) {
  listening_ = operations.Listen([this](const Operation& operation) { OnOperation(operation); });
}

void ControlMetrics::OnOperation(const Operation& operation) {
  if (!IsOver(operation.state)) return;
  registry_
      .GetCounter("engramd_operations_total", "Loads, swaps and the like that ended, by how.",
                  {{"kind", operation.kind}, {"state", OperationStateName(operation.state)}})
      .Add();
  if (operation.started_unix_ms == 0) return;  // cancelled before it began
  registry_
      .GetHistogram("engramd_operation_duration_seconds", "From an operation's start to its end.", kOperationBounds,
                    {{"kind", operation.kind}})
      .Observe(static_cast<double>(operation.finished_unix_ms - operation.started_unix_ms) * 1e-3);
}

void ControlMetrics::OnMemoryEvent(const MemoryEvent& event) {
  const MetricLabels labels = {{"model", event.model}, {"kind", event.kind}};
  registry_
      .GetCounter("engramd_memory_changes_total",
                  "Commits, rollbacks, overlays, table swaps and the like that took effect.", labels)
      .Add();
  registry_.GetCounter("engramd_memory_changed_rows_total", "Rows of these changes.", labels).Add(event.rows);
}

std::shared_ptr<void> CollectJournal(MetricRegistry& registry, const LiveMemoryDirectory& memories) {
  return registry.AddCollector([&memories](MetricSink& sink) {
    const auto memory = memories.Find("");
    if (!memory) return;  // none yet
    const LiveMemoryStatus status = (*memory)->status();
    const MetricLabels labels = {{"model", status.model}};
    sink.Value("engramd_journal_queue_depth", MetricType::kGauge, "Requests waiting for the journal.", labels,
               static_cast<double>(status.queued));
    sink.Value("engramd_journal_queue_capacity", MetricType::kGauge, "Requests that may wait for the journal.", labels,
               static_cast<double>(status.max_queued));
  });
}

}  // namespace engram
