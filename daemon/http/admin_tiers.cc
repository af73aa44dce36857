// SPDX-License-Identifier: Apache-2.0
// GET /admin/v1/tiers: where rows live and what reading them costs. GET /admin/v1/tiers/heat: which of them are read.
#include "core/json_text.h"
#include "http/admin_memory.h"
#include "http/endpoints.h"
#include "http/json_out.h"
#include "memory/latency.h"
#include "memory/row_heat.h"

namespace engram {
namespace {

void AppendField(std::string& out, std::string_view name, uint64_t value) {
  out += ",\"";
  out += name;
  out += "\":" + std::to_string(value);
}

void AppendField(std::string& out, std::string_view name, double value) {
  out += ",\"";
  out += name;
  out += "\":";
  AppendDouble(out, value);
}

void AppendLatency(std::string& out, LatencyCounts counts) {
  out += ",\"read_latency\":";
  const uint64_t count = LatencyCount(counts);
  if (count == 0) {
    out += "null";
    return;
  }
  out += "{\"count\":" + std::to_string(count);
  AppendField(out, "p50_us", LatencyQuantile(counts, 0.5));
  AppendField(out, "p99_us", LatencyQuantile(counts, 0.99));
  AppendField(out, "p999_us", LatencyQuantile(counts, 0.999));
  out += ",\"buckets\":[";
  for (uint32_t b = 0; b < ENGRAM_LATENCY_BUCKETS; ++b) {
    if (counts[b] == 0) continue;
    if (out.back() != '[') out += ',';
    out += "{\"from_us\":";
    AppendDouble(out, LatencyBound(b));
    AppendField(out, "count", counts[b]);
    out += '}';
  }
  out += "]}";
}

void AppendTier(std::string& out, const std::string& model, const TierTableStats& tier) {
  const engram_tier_stats& counters = tier.counters;
  out += "{\"name\":" + JsonQuote(tier.tier) + ",\"kind\":" + JsonQuote(tier.medium) +
         ",\"plugin\":" + JsonQuote(tier.plugin) +
         ",\"cache\":" + ((tier.flags & ENGRAM_TIER_CACHE) != 0 ? "true" : "false") + ",\"model\":" + JsonQuote(model);
  AppendField(out, "table", uint64_t{tier.layer});
  AppendField(out, "capacity_bytes", tier.capacity_bytes);
  AppendField(out, "resident_bytes", counters.resident_bytes);
  AppendField(out, "reads", counters.reads);
  AppendField(out, "rows", counters.rows);
  AppendField(out, "bytes", counters.bytes_read);
  AppendField(out, "hits", counters.hits);
  AppendField(out, "misses", counters.misses);
  AppendField(out, "fills", counters.fills);
  AppendField(out, "evictions", counters.evictions);
  AppendField(out, "errors", counters.errors);
  AppendField(out, "retries", counters.retries);
  AppendField(out, "queue_depth", uint64_t{counters.queue_depth});
  AppendLatency(out, counters.read_latency);
  out += '}';
}

void AppendLayer(std::string& out, const std::string& model, const LayerRowStats& layer) {
  out += "{\"model\":" + JsonQuote(model);
  AppendField(out, "layer", uint64_t{layer.layer});
  AppendField(out, "num_rows", layer.num_rows);
  AppendField(out, "row_bytes", uint64_t{layer.row_bytes});
  AppendField(out, "batches", layer.batches);
  AppendField(out, "rows_requested", layer.rows_requested);
  AppendField(out, "rows_read", layer.rows_read);
  AppendField(out, "stall_seconds", static_cast<double>(layer.stall_ns) * 1e-9);
  AppendField(out, "gather_seconds", static_cast<double>(layer.gather_ns) * 1e-9);
  AppendField(out, "lead_seconds", static_cast<double>(layer.lead_ns) * 1e-9);
  AppendField(out, "timeouts", layer.timeouts);
  AppendField(out, "fill_errors", layer.fill_errors);
  AppendField(out, "retries", layer.retries);
  out += '}';
}

void AppendWarmUp(std::string& out, const std::string& model, const HotSets::Progress& progress) {
  out += "{\"model\":" + JsonQuote(model) + ",\"done\":" + (progress.warm ? "true" : "false");
  AppendField(out, "rows", progress.rows_done);
  AppendField(out, "rows_total", progress.rows_total);
  AppendField(out, "saves", progress.saves);
  out += '}';
}

// Of all models together.
struct WarmUp {
  bool failed = false;
  bool running = false;
  uint64_t rows_done = 0;
  uint64_t rows_total = 0;

  void Add(const HotSets::Progress& progress) {
    failed = failed || progress.failed;
    running = running || !progress.warm;
    rows_done += progress.rows_done;
    rows_total += progress.rows_total;
  }
  const char* state() const {
    if (rows_total == 0) return "none";
    if (running) return "running";
    return failed ? "failed" : "done";
  }
};

Result<Response> GetHeat(const LiveMemoryDirectory& memories, const Request& request) {
  QueryFields query(request);
  const auto layer = static_cast<uint32_t>(query.RequiredInt("layer", 0, INT32_MAX));
  auto target = FindMemory(memories, query);
  ENGRAM_CHECK_OK(query.Finish());
  if (!target) return std::move(target).error();
  ENGRAM_TRY(const uint32_t index, target->LayerIndex(layer));
  const RowHeat::Report heat = target->model.memory->heat(index);
  std::string out = "{\"layer\":" + std::to_string(layer);
  AppendField(out, "rows", heat.num_rows);
  AppendField(out, "sampled_reads", heat.sampled_reads);
  AppendField(out, "sample_rate", heat.sample_rate);
  out += ",\"ranges\":[";
  for (uint32_t i = 0; i < RowHeat::kRanges; ++i) {
    if (i > 0) out += ',';
    out += "{\"first_row\":" + std::to_string(RowHeat::FirstRow(i, heat.num_rows));
    AppendField(out, "end_row", RowHeat::FirstRow(i + 1, heat.num_rows));
    AppendField(out, "reads", heat.ranges[i]);
    out += '}';
  }
  out += "],\"curve\":[";
  for (const auto& [rows_share, reads_share] : heat.curve) {
    if (out.back() != '[') out += ',';
    out += "{\"rows_share\":";
    AppendDouble(out, rows_share);
    AppendField(out, "reads_share", reads_share);
    out += '}';
  }
  out += "]}\n";
  return JsonTextResponse(200, std::move(out));
}

}  // namespace

void AddTierEndpoints(Router& router, const EndpointEnvironment& environment) {
  router.Add("GET", "/admin/v1/tiers", Scope::kRead, [environment](const Request&) {
    std::string tiers;
    std::string layers;
    std::string warm_ups;
    WarmUp warm_up;
    for (const auto& engine : environment.engines.List()) {
      const ModelMemory* memory = engine->model().memory();
      if (memory == nullptr) continue;
      for (const TierTableStats& tier : memory->tier_stats()) {
        if (!tiers.empty()) tiers += ',';
        AppendTier(tiers, engine->model().name(), tier);
      }
      for (const LayerRowStats& layer : memory->layer_stats()) {
        if (!layers.empty()) layers += ',';
        AppendLayer(layers, engine->model().name(), layer);
      }
      if (const auto progress = memory->warm_up()) {
        if (!warm_ups.empty()) warm_ups += ',';
        AppendWarmUp(warm_ups, engine->model().name(), *progress);
        warm_up.Add(*progress);
      }
    }
    Response response;
    response.body = "{\"tiers\":[" + tiers + "],\"layers\":[" + layers + "],\"warm_ups\":[" + warm_ups +
                    "],\"warm_up\":{\"state\":\"" + warm_up.state() + '"';
    AppendField(response.body, "rows_done", warm_up.rows_done);
    AppendField(response.body, "rows_total", warm_up.rows_total);
    response.body += "}}\n";
    response.headers.emplace_back("Cache-Control", "no-store");
    return Reply(std::move(response));
  });
  if (environment.admin.memories == nullptr) return;
  const LiveMemoryDirectory& memories = *environment.admin.memories;
  router.Add("GET", "/admin/v1/tiers/heat", Scope::kRead, [&memories](const Request& request) {
    return Reply(Respond([&] { return GetHeat(memories, request); }));
  });
}

}  // namespace engram
