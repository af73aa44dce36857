// SPDX-License-Identifier: Apache-2.0
#include "http/endpoints.h"

namespace engram {
namespace {

Response Health(bool good, const char* status) {
  Response response;
  response.status = good ? 200 : 503;
  response.body = std::string("{\"status\":\"") + status + "\"}\n";
  response.headers.emplace_back("Cache-Control", "no-store");
  if (!good) response.headers.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace

void AddHealthEndpoints(Router& router, const EndpointEnvironment& environment) {
  router.Add("GET", "/health/live", Scope::kNone, [](const Request&) { return Reply(Health(true, "live")); });
  router.Add("GET", "/health/ready", Scope::kNone, [environment](const Request&) {
    if (environment.draining) return Reply(Health(false, "draining"));
    if (!environment.engines.Find("")) return Reply(Health(false, "loading"));
    if (!environment.options.ready_on_memory_failure) {
      for (const auto& engine : environment.engines.List()) {
        const ModelMemory* memory = engine->model().memory();
        if (memory != nullptr && memory->failing()) return Reply(Health(false, "memory_failing"));
      }
    }
    return Reply(Health(true, "ready"));
  });
  router.Add("GET", "/metrics", Scope::kRead, [environment](const Request&) {
    Response response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = environment.metrics.Text();
    return Reply(std::move(response));
  });
}

}  // namespace engram
