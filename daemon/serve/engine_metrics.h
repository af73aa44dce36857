// SPDX-License-Identifier: Apache-2.0
// EngineMetrics: what one engine counts, all with the label model="NAME". References into the registry, so counting is
// one relaxed atomic addition; what lives elsewhere (memory, tiers, KV cache) is read when the text is made.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "core/metrics.h"
#include "memory/model_memory.h"
#include "serve/gate_statistics.h"
#include "serve/generation.h"

namespace engram {

std::string_view FinishReasonName(FinishReason reason);  // "stop", "length", "cancelled", "error"

struct EngineMetrics {
  EngineMetrics(MetricRegistry& registry, const std::string& model);
  std::array<Counter*, 4> requests;  // by FinishReason
  Counter& prompt_tokens;
  Counter& generated_tokens;
  Counter& memory_skips;
  Histogram& queue_seconds;
  Histogram& time_to_first_token_seconds;
  Histogram& time_per_output_token_seconds;
  Histogram& request_seconds;
  Histogram& step_seconds;
  Histogram& batch_tokens;
  Histogram& batch_sequences;
};

// The values that are read and not counted.
struct EngineGauges {
  double queued = 0;
  double running = 0;
  double kv_used_tokens = 0;
  double kv_capacity_tokens = 0;
};
void CollectGauges(MetricSink& sink, const std::string& model, const EngineGauges& gauges);
// Rows per Engram layer and tiers per table.
void CollectMemory(MetricSink& sink, const std::string& model, const ModelMemory& memory);
// How open the memory's gates were, per Engram layer and stream.
void CollectGates(MetricSink& sink, const std::string& model, GateStatistics& gates);

}  // namespace engram
