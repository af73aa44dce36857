// SPDX-License-Identifier: Apache-2.0
#include "serve/engine_metrics.h"

#include <functional>

#include "memory/latency.h"

namespace engram {
namespace {

// The bounds that OpenTelemetry's conventions for generative AI advise; small models need the first four of the second.
constexpr std::array<double, 16> kFirstTokenBounds = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                                      0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10};
constexpr std::array<double, 17> kOutputTokenBounds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
                                                       0.15,   0.2,   0.3,    0.4,   0.5,  0.75,  1,    2.5};
constexpr std::array<double, 14> kRequestBounds = {0.01, 0.02, 0.04, 0.08,  0.16,  0.32,  0.64,
                                                   1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92};
// Steps are often shorter than DurationBounds() resolves.
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
      memory_skips(r.GetCounter("engramd_memory_skips_total",
                                "Generations that went on without memory because rows could not be read.",
                                {{"model", model}})),
      queue_seconds(r.GetHistogram("engramd_request_queue_seconds", "From submission to admission.", DurationBounds(),
                                   {{"model", model}})),
      time_to_first_token_seconds(r.GetHistogram("engramd_time_to_first_token_seconds",
                                                 "From submission to the first token of a choice.", kFirstTokenBounds,
                                                 {{"model", model}})),
      time_per_output_token_seconds(r.GetHistogram("engramd_time_per_output_token_seconds",
                                                   "Between two tokens of a choice.", kOutputTokenBounds,
                                                   {{"model", model}})),
      request_seconds(r.GetHistogram("engramd_request_duration_seconds", "From submission to the end.", kRequestBounds,
                                     {{"model", model}})),
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

void CollectGates(MetricSink& sink, const std::string& model, GateStatistics& gates) {
  // A tenth each; the last bucket ends at 1, above which no gate is.
  constexpr size_t kBuckets = 10;
  constexpr size_t kCellsPerBucket = GateSummary::kBuckets / kBuckets;
  static_assert(kBuckets * kCellsPerBucket == GateSummary::kBuckets);
  constexpr std::array<double, kBuckets> kBounds = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1};
  for (const GateStatistics::Total& total : gates.Totals()) {
    std::array<uint64_t, kBuckets + 1> counts{};
    for (size_t cell = 0; cell < total.histogram.size(); ++cell)
      counts[cell / kCellsPerBucket] += total.histogram[cell];
    sink.Distribution(
        "engramd_memory_gate_ratio",
        "How open the memory gates of processed tokens were, 0 to 1; starts over when gate statistics are "
        "reset.",
        {{"model", model}, {"layer", std::to_string(total.layer)}, {"stream", std::to_string(total.stream)}}, kBounds,
        counts, total.sum);
  }
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
  layer_counter("engramd_memory_lead_seconds_total", "Time the layer's rows lay ready before a step asked for them.",
                [](const LayerRowStats& s) { return static_cast<double>(s.lead_ns) * 1e-9; });
  layer_counter("engramd_memory_timeouts_total", "Waits for the layer's rows that reached memory.read_timeout.",
                [](const LayerRowStats& s) { return s.timeouts; });
  sink.Value("engramd_memory_lookahead_rows_total", MetricType::kCounter, "Rows of prompts read ahead of their batch.",
             {{"model", model}}, static_cast<double>(memory.lookahead_rows()));
  sink.Value("engramd_memory_asked_tokens_total", MetricType::kCounter,
             "Sampled tokens whose rows were asked for before their step.", {{"model", model}},
             static_cast<double>(memory.tokens_asked()));
  if (const auto warm_up = memory.warm_up()) {
    sink.Value("engramd_memory_warmup_rows", MetricType::kGauge, "Rows of the last run that were read again.",
               {{"model", model}}, static_cast<double>(warm_up->rows_done));
    sink.Value("engramd_memory_warmup_total_rows", MetricType::kGauge, "Rows of the last run to read again.",
               {{"model", model}}, static_cast<double>(warm_up->rows_total));
    sink.Value("engramd_memory_hot_set_saves_total", MetricType::kCounter, "Times the hot rows of caches were saved.",
               {{"model", model}}, static_cast<double>(warm_up->saves));
  }

  if (const Result<MemoryView> view = memory.View()) {
    sink.Value("engramd_memory_version", MetricType::kGauge, "The memory version that requests begin with.",
               {{"model", model}}, static_cast<double>(view->version()));
    const auto edited = [&](std::string_view name, std::string_view help, auto value) {
      for (size_t i = 0; i < memory.layers().size(); ++i)
        sink.Value(name, MetricType::kGauge, help, {{"model", model}, {"layer", std::to_string(memory.layers()[i])}},
                   static_cast<double>(value(view->edits->layers[i])));
    };
    edited("engramd_memory_edited_rows", "Rows shown in place of the table's.",
           [](const RowMap& rows) { return rows.size(); });
    edited("engramd_memory_edited_bytes", "Bytes the current version's edited rows take.",
           [](const RowMap& rows) { return rows.resident_bytes(); });
  }
  const std::vector<std::shared_ptr<const Overlay>> overlays = memory.overlays().List();
  uint64_t overlay_bytes = 0;
  for (const auto& overlay : overlays) overlay_bytes += overlay->num_bytes();
  sink.Value("engramd_overlays", MetricType::kGauge, "Overlays that requests can attach.", {{"model", model}},
             static_cast<double>(overlays.size()));
  sink.Value("engramd_overlay_bytes", MetricType::kGauge, "Bytes these overlays take.", {{"model", model}},
             static_cast<double>(overlay_bytes));

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
  tier_counter("engramd_tier_retries_total", "Reads of a tier's medium that were tried again.",
               &engram_tier_stats::retries);
  tier_counter("engramd_tier_bytes_read_total", "Bytes a tier read from its medium.", &engram_tier_stats::bytes_read);
  tier_value("engramd_tier_resident_bytes", MetricType::kGauge, "Bytes a tier holds.",
             [](const TierTableStats& t) { return t.counters.resident_bytes; });
  tier_value("engramd_tier_capacity_bytes", MetricType::kGauge, "Bytes a tier can hold.",
             [](const TierTableStats& t) { return t.capacity_bytes; });
  tier_value("engramd_tier_queue_depth", MetricType::kGauge, "Reads of a tier's medium under way.",
             [](const TierTableStats& t) { return t.counters.queue_depth; });
  for (const TierTableStats& tier : tiers) {
    const LatencyCounts counts = tier.counters.read_latency;
    if (LatencyCount(counts) == 0) continue;  // memory has none, and a device none yet
    sink.Distribution("engramd_tier_read_seconds",
                      "Single reads of a tier's medium; the sum takes each for the middle of a bucket of a quarter "
                      "octave.",
                      {{"model", model}, {"tier", tier.tier}, {"layer", std::to_string(tier.layer)}},
                      LatencyOctaveSeconds(), LatencyOctaves(counts), LatencySum(counts) * 1e-6);
  }
}

}  // namespace engram
