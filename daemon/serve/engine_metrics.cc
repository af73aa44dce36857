// SPDX-License-Identifier: Apache-2.0
#include "serve/engine_metrics.h"

#include <functional>

namespace engram {
namespace {

// Steps and tokens are often shorter than DurationBounds() resolves.
constexpr std::array<double, 14> kStepBounds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                0.1,    0.25,  0.5,    1,     2.5,  5,     10};
constexpr std::array<double, 13> kSizeBounds = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};

Counter* RequestCounter(MetricRegistry& registry, const std::string& model, FinishReason reason) {
  return &registry.GetCounter("engramd_requests_total", "Generations that ended, by how.",
                              {{"model", model}, {"finish_reason", std::string(FinishReasonName(reason))}});
}

}  // namespace

std::string_view FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kError:
      break;
  }
  return "error";
}

EngineMetrics::EngineMetrics(MetricRegistry& r, const std::string& model)
    : requests{RequestCounter(r, model, FinishReason::kStop), RequestCounter(r, model, FinishReason::kLength),
               RequestCounter(r, model, FinishReason::kCancelled), RequestCounter(r, model, FinishReason::kError)},
      prompt_tokens(
          r.GetCounter("engramd_prompt_tokens_total", "Prompt tokens of admitted generations.", {{"model", model}})),
      generated_tokens(r.GetCounter("engramd_generated_tokens_total", "Tokens sampled.", {{"model", model}})),
      queue_seconds(r.GetHistogram("engramd_request_queue_seconds", "From submission to admission.", DurationBounds(),
                                   {{"model", model}})),
      time_to_first_token_seconds(r.GetHistogram("engramd_time_to_first_token_seconds",
                                                 "From submission to the first token of a choice.", DurationBounds(),
                                                 {{"model", model}})),
      time_per_output_token_seconds(r.GetHistogram("engramd_time_per_output_token_seconds",
                                                   "Between two tokens of a choice.", kStepBounds, {{"model", model}})),
      request_seconds(r.GetHistogram("engramd_request_duration_seconds", "From submission to the end.",
                                     DurationBounds(), {{"model", model}})),
      step_seconds(r.GetHistogram("engramd_step_duration_seconds", "One step of the backbone, row stalls included.",
                                  kStepBounds, {{"model", model}})),
      batch_tokens(r.GetHistogram("engramd_batch_tokens", "Tokens in a step.", kSizeBounds, {{"model", model}})),
      batch_sequences(
          r.GetHistogram("engramd_batch_sequences", "Sequences in a step.", kSizeBounds, {{"model", model}})) {}

void CollectGauges(MetricSink& sink, const std::string& model, const EngineGauges& gauges) {
  const MetricLabels labels = {{"model", model}};
  sink.Value("engramd_queue_depth", MetricType::kGauge, "Generations waiting for admission.", labels, gauges.queued);
  sink.Value("engramd_running_sequences", MetricType::kGauge, "Choices in the batch.", labels, gauges.running);
  sink.Value("engramd_kv_cache_used_tokens", MetricType::kGauge, "Positions reserved by live sequences.", labels,
             gauges.kv_used_tokens);
  sink.Value("engramd_kv_cache_capacity_tokens", MetricType::kGauge, "Positions the KV cache holds.", labels,
             gauges.kv_capacity_tokens);
}

void CollectMemory(MetricSink& sink, const std::string& model, const ModelMemory& memory) {
  const std::vector<LayerRowStats> layers = memory.layer_stats();
  const auto layer_counter = [&](std::string_view name, std::string_view help, auto value) {
    for (const LayerRowStats& layer : layers)
      sink.Value(name, MetricType::kCounter, help, {{"model", model}, {"layer", std::to_string(layer.layer)}},
                 static_cast<double>(value(layer)));
  };
  layer_counter("engramd_memory_rows_requested_total", "Rows of processed tokens.",
                [](const LayerRowStats& s) { return s.rows_requested; });
  layer_counter("engramd_memory_rows_read_total", "Rows asked of the tiers: each once per batch.",
                [](const LayerRowStats& s) { return s.rows_read; });
  layer_counter("engramd_memory_stall_seconds_total", "Time a step waited for the layer's rows.",
                [](const LayerRowStats& s) { return static_cast<double>(s.stall_ns) * 1e-9; });
  layer_counter("engramd_memory_gather_seconds_total", "From a batch's start until the layer's rows were in memory.",
                [](const LayerRowStats& s) { return static_cast<double>(s.gather_ns) * 1e-9; });

  const std::vector<TierTableStats> tiers = memory.tier_stats();
  const auto tier_value = [&](std::string_view name, MetricType type, std::string_view help, auto value) {
    for (const TierTableStats& tier : tiers)
      sink.Value(name, type, help, {{"model", model}, {"tier", tier.tier}, {"layer", std::to_string(tier.layer)}},
                 static_cast<double>(value(tier)));
  };
  const auto tier_counter = [&](std::string_view name, std::string_view help, uint64_t engram_tier_stats::*member) {
    tier_value(name, MetricType::kCounter, help, [member](const TierTableStats& t) { return t.counters.*member; });
  };
  tier_counter("engramd_tier_reads_total", "Reads of a tier.", &engram_tier_stats::reads);
  tier_counter("engramd_tier_rows_total", "Rows asked of a tier.", &engram_tier_stats::rows);
  tier_counter("engramd_tier_hits_total", "Rows a tier had.", &engram_tier_stats::hits);
  tier_counter("engramd_tier_misses_total", "Rows a tier did not have.", &engram_tier_stats::misses);
  tier_counter("engramd_tier_fills_total", "Rows written to a tier.", &engram_tier_stats::fills);
  tier_counter("engramd_tier_evictions_total", "Rows a tier dropped for others.", &engram_tier_stats::evictions);
  tier_counter("engramd_tier_errors_total", "Operations of a tier that failed.", &engram_tier_stats::errors);
  tier_counter("engramd_tier_bytes_read_total", "Bytes a tier read from its medium.", &engram_tier_stats::bytes_read);
  tier_value("engramd_tier_resident_bytes", MetricType::kGauge, "Bytes a tier holds.",
             [](const TierTableStats& t) { return t.counters.resident_bytes; });
  tier_value("engramd_tier_capacity_bytes", MetricType::kGauge, "Bytes a tier can hold.",
             [](const TierTableStats& t) { return t.capacity_bytes; });
}

}  // namespace engram
