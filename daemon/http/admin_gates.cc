// SPDX-License-Identifier: Apache-2.0
// GET /admin/v1/gates, POST /admin/v1/gates/reset, /pause and /resume, POST and DELETE /admin/v1/gates/groups.
#include <spdlog/fmt/fmt.h>

#include "core/json_text.h"
#include "http/endpoints.h"
#include "http/generation_reply.h"
#include "http/json_body.h"
#include "http/json_fields.h"
#include "http/json_out.h"
#include "http/query_fields.h"

namespace engram {
namespace {

constexpr uint64_t kMaxTop = 1000;

// An engine whose gates are counted; keeps both alive.
struct Counted {
  std::shared_ptr<Engine> engine;
  GateStatistics* statistics = nullptr;
};

Result<Counted> FindCounted(const EngineDirectory& engines, const std::string& model) {
  ENGRAM_TRY(auto engine, engines.Find(model));
  GateStatistics* statistics = engine->gate_statistics();
  if (statistics == nullptr)
    return Unsupported("gates of \"" + engine->model().name() +
                       "\" are not counted: it has no Engram memory, or gates.statistics is off");
  return Counted{std::move(engine), statistics};
}

Result<GateGroup> GroupOf(std::string key, std::string overlay) {
  if (!key.empty() && !overlay.empty()) return InvalidArgument("give a key or an overlay, not both", "overlay");
  if (!key.empty()) return GateGroup{GateGroup::Kind::kKey, std::move(key)};
  if (!overlay.empty()) return GateGroup{GateGroup::Kind::kOverlay, std::move(overlay)};
  return GateGroup{};
}

void AppendGroup(std::string& out, const GateGroup& group) {
  switch (group.kind) {
    case GateGroup::Kind::kAll:
      out += "{}";
      return;
    case GateGroup::Kind::kKey:
      out += "{\"key\":" + JsonQuote(group.name) + "}";
      return;
    case GateGroup::Kind::kOverlay:
      out += "{\"overlay\":" + JsonQuote(group.name) + "}";
      return;
  }
}

void AppendSummary(std::string& out, const GateSummary& summary) {
  out += fmt::format("{{\"count\":{},\"mean\":", summary.count);
  AppendDouble(out, summary.mean);
  for (const auto& [name, value] : {std::pair("p05", summary.p05), std::pair("p50", summary.p50),
                                    std::pair("p95", summary.p95), std::pair("p99", summary.p99)}) {
    out += fmt::format(",\"{}\":", name);
    AppendDouble(out, value);
  }
  out += ",\"histogram\":[";
  for (size_t b = 0; b < summary.histogram.size(); ++b)
    out += (b == 0 ? "" : ",") + std::to_string(summary.histogram[b]);
  out += "]}";
}

void AppendSummaries(std::string& out, const std::vector<GateSummary>& summaries) {
  out += '[';
  for (size_t s = 0; s < summaries.size(); ++s) {
    if (s > 0) out += ',';
    AppendSummary(out, summaries[s]);
  }
  out += ']';
}

// `weighs_mass`: weights are sums of gates, else counts.
void AppendNgrams(std::string& out, const std::vector<GateReport::Ngram>& ngrams, bool weighs_mass,
                  const Tokenizer& tokenizer) {
  out += '[';
  for (size_t i = 0; i < ngrams.size(); ++i) {
    const TopNgrams::Entry& entry = ngrams[i].entry;
    if (i > 0) out += ',';
    out += fmt::format("{{\"order\":{},\"hash\":\"{:016x}\"", ngrams[i].order, entry.hash);
    if (!entry.tokens.empty()) {
      out += ",\"tokens\":";
      AppendInts(out, entry.tokens);
      out += ",\"text\":" + JsonQuote(tokenizer.Decode(entry.tokens, /*skip_special_tokens=*/false));
    }
    if (weighs_mass) {
      out += fmt::format(",\"count\":{},\"mass\":", entry.count);
      AppendDouble(out, entry.weight);
      out += ",\"mean\":";
      AppendDouble(out, (entry.weight - entry.error) / static_cast<double>(entry.count));
    } else {
      out += ",\"count\":";
      AppendDouble(out, entry.weight);
    }
    out += ",\"error\":";
    AppendDouble(out, entry.error);
    out += '}';
  }
  out += ']';
}

Result<Response> Gates(const EngineDirectory& engines, const Request& request) {
  QueryFields query(request);
  const std::string model = query.String("model");
  const std::string key = query.String("key");
  const std::string overlay = query.String("overlay");
  const uint64_t top = query.Int("top", 20, 0, kMaxTop);
  ENGRAM_CHECK_OK(query.Finish());
  ENGRAM_TRY(const Counted counted, FindCounted(engines, model));
  ENGRAM_TRY(const GateGroup group, GroupOf(key, overlay));
  ENGRAM_TRY(const GateReport report, counted.statistics->Report(group, top));
  const Model& served = counted.engine->model();
  const GateStatisticsOptions& options = counted.statistics->options();
  std::string out = "{\"model\":" + JsonQuote(served.name()) + ",\"group\":";
  AppendGroup(out, report.group);
  out += fmt::format(
      ",\"since_unix_ms\":{},\"window_s\":{},\"tokens\":{},\"counting\":{},\"texts_kept\":{},\"layers\":[",
      report.since_unix_ms, report.window_s, report.tokens, counted.statistics->counting(), options.keep_text);
  for (size_t l = 0; l < report.layers.size(); ++l) {
    const GateReport::Layer& layer = report.layers[l];
    out += fmt::format("{}{{\"layer\":{},\"streams\":", l == 0 ? "" : ",", layer.layer);
    AppendSummaries(out, layer.streams);
    out += ",\"window\":";
    AppendSummaries(out, layer.window);
    out += fmt::format(",\"order_samples\":{},\"orders\":[", layer.order_samples);
    for (size_t o = 0; o < layer.orders.size(); ++o) {
      out += fmt::format("{}{{\"order\":{},\"share\":", o == 0 ? "" : ",", layer.orders[o].order);
      AppendDouble(out, layer.orders[o].share);
      out += '}';
    }
    out += "],\"top_ngrams\":";
    AppendNgrams(out, layer.top_by_mass, /*weighs_mass=*/true, served.tokenizer());
    out += '}';
  }
  out += "],\"top_ngrams_by_count\":";
  AppendNgrams(out, report.top_by_count, /*weighs_mass=*/false, served.tokenizer());
  out += ",\"groups\":[";
  bool first = true;
  for (const GateGroup& known : counted.statistics->Groups()) {
    if (known.kind == GateGroup::Kind::kAll) continue;
    if (!std::exchange(first, false)) out += ',';
    AppendGroup(out, known);
  }
  out += "]}\n";
  Response response;
  response.body = std::move(out);
  return response;
}

// What the changing routes take: {"model"?, "key"? | "overlay"?}.
struct GroupRequest {
  Counted counted;
  GateGroup group;
};

Result<GroupRequest> ReadGroup(const EngineDirectory& engines, const Request& request) {
  boost::json::object body;
  if (!request.body.empty()) {
    ENGRAM_TRY(body, ParseJsonObject(request.body));
  }
  JsonFields fields(body);
  const std::string model = fields.String("model", "");
  const std::string key = fields.String("key", "");
  const std::string overlay = fields.String("overlay", "");
  ENGRAM_CHECK_OK(fields.Finish());
  GroupRequest read;
  ENGRAM_TRY(read.counted, FindCounted(engines, model));
  ENGRAM_TRY(read.group, GroupOf(key, overlay));
  return read;
}

// {"model"?} of the routes that are about everything counted.
Result<Counted> ReadCounted(const EngineDirectory& engines, const Request& request) {
  ENGRAM_TRY(GroupRequest read, ReadGroup(engines, request));
  if (read.group.kind != GateGroup::Kind::kAll)
    return InvalidArgument("counting is reset, paused and resumed for all requests at once",
                           read.group.kind == GateGroup::Kind::kKey ? "key" : "overlay");
  return std::move(read.counted);
}

Result<Response> Reset(const EngineDirectory& engines, const Request& request) {
  ENGRAM_TRY(const Counted counted, ReadCounted(engines, request));
  counted.statistics->Reset();
  Response response;
  response.body = "{\"reset\":true}\n";
  return response;
}

template <bool kOn>
Result<Response> SetCounting(const EngineDirectory& engines, const Request& request) {
  ENGRAM_TRY(const Counted counted, ReadCounted(engines, request));
  counted.statistics->SetCounting(kOn);
  Response response;
  response.body = fmt::format("{{\"counting\":{}}}\n", kOn);
  return response;
}

Result<Response> Track(const EngineDirectory& engines, const Request& request) {
  ENGRAM_TRY(const GroupRequest read, ReadGroup(engines, request));
  if (read.group.kind == GateGroup::Kind::kAll) return InvalidArgument("name a key or an overlay", "key");
  ENGRAM_CHECK_OK(read.counted.statistics->Track(read.group));
  Response response;
  response.status = 201;
  response.body = "{\"group\":";
  AppendGroup(response.body, read.group);
  response.body += "}\n";
  return response;
}

Result<Response> Untrack(const EngineDirectory& engines, const Request& request) {
  ENGRAM_TRY(const GroupRequest read, ReadGroup(engines, request));
  ENGRAM_CHECK_OK(read.counted.statistics->Untrack(read.group));
  Response response;
  response.body = "{\"deleted\":true}\n";
  return response;
}

using Endpoint = Result<Response> (*)(const EngineDirectory&, const Request&);

Handler Answer(const EngineDirectory& engines, Endpoint endpoint) {
  return [&engines, endpoint](const Request& request) {
    auto response = endpoint(engines, request);
    return Reply(response ? std::move(*response) : ErrorResponse(response.error()));
  };
}

}  // namespace

void AddGateEndpoints(Router& router, const EndpointEnvironment& environment) {
  const EngineDirectory& engines = environment.engines;
  router.Add("GET", "/admin/v1/gates", Scope::kRead, Answer(engines, Gates));
  router.Add("POST", "/admin/v1/gates/reset", Scope::kOperate, Answer(engines, Reset));
  router.Add("POST", "/admin/v1/gates/pause", Scope::kOperate, Answer(engines, SetCounting<false>));
  router.Add("POST", "/admin/v1/gates/resume", Scope::kOperate, Answer(engines, SetCounting<true>));
  router.Add("POST", "/admin/v1/gates/groups", Scope::kOperate, Answer(engines, Track));
  router.Add("DELETE", "/admin/v1/gates/groups", Scope::kOperate, Answer(engines, Untrack));
}

}  // namespace engram
