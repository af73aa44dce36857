// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <chrono>

#include "core/machine_memory.h"
#include "http/admin_json.h"
#include "http/endpoints.h"

namespace engram {
namespace {

namespace json = boost::json;
using std::chrono::steady_clock;
using std::chrono::system_clock;

// What a request meets now.
const char* StateOf(const EndpointEnvironment& environment) {
  if (environment.draining) return "draining";
  return environment.engines.Find("") ? "ready" : "loading";
}

json::object StatusJson(const EndpointEnvironment& environment) {
  uint64_t queued = 0, running = 0, kv_used = 0, kv_capacity = 0, default_version = 0;
  uint64_t weights_bytes = 0, kv_bytes = 0, tiers_bytes = 0;
  json::array models;
  for (const ServedModel& model : environment.admin.models->List()) {
    const uint64_t memory_version = environment.admin.memory_version(model.spec.name);
    if (model.is_default) default_version = memory_version;
    models.push_back(json::object{{"name", model.spec.name},
                                  {"state", ServedModelStateName(model.state)},
                                  {"default", model.is_default},
                                  {"memory_version", memory_version}});
    if (model.engine == nullptr) continue;
    const Engine::Stats stats = model.engine->stats();
    queued += stats.queued;
    running += stats.running;
    kv_used += stats.kv_used_tokens;
    kv_capacity += stats.kv_capacity_tokens;
    const Model& loaded = model.engine->model();
    const BackboneInfo& info = loaded.backbone().info();
    if (loaded.memory() != nullptr) tiers_bytes += loaded.memory()->tier_bytes();
    if (!info.device.starts_with("cpu")) continue;  // they are not in this memory
    weights_bytes += info.weight_bytes;
    kv_bytes += info.kv_capacity_tokens * info.kv_bytes_per_token;
  }
  size_t pending = 0;
  for (const Operation& operation : environment.admin.operations->List()) pending += IsOver(operation.state) ? 0 : 1;
  return {{"version", environment.options.server_version},
          {"state", StateOf(environment)},
          {"models", std::move(models)},
          {"memory_version", default_version},
          {"queued", queued},
          {"running", running},
          {"kv", {{"used_tokens", kv_used}, {"capacity_tokens", kv_capacity}}},
          {"memory",
           {{"resident_bytes", ResidentBytes()},
            {"weights_bytes", weights_bytes},
            {"kv_bytes", kv_bytes},
            {"tiers_bytes", tiers_bytes},
            {"fixed_bytes", environment.admin.fixed_bytes()}}},
          {"operations_pending", pending}};
}

}  // namespace

void AddAdminStatusEndpoints(Router& router, const EndpointEnvironment& environment) {
  const AdminServices& admin = environment.admin;
  if (admin.models != nullptr && admin.operations != nullptr) {
    const auto started = steady_clock::now();
    const auto started_at = std::chrono::duration_cast<std::chrono::seconds>(system_clock::now().time_since_epoch());
    router.Add("GET", "/admin/v1/status", Scope::kRead, [environment, started, started_at](const Request&) -> Reply {
      json::object status = StatusJson(environment);
      status["started_at"] = started_at.count();
      status["uptime_s"] = std::chrono::duration<double>(steady_clock::now() - started).count();
      return JsonResponse(status);
    });
  }
  if (admin.config_json) {
    router.Add("GET", "/admin/v1/config", Scope::kRead, [environment](const Request&) -> Reply {
      Response response;
      response.headers.emplace_back("Cache-Control", "no-store");
      response.body = environment.admin.config_json() + "\n";
      return response;
    });
  }
}

}  // namespace engram
