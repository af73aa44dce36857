// SPDX-License-Identifier: Apache-2.0
#include "core/json_text.h"
#include "http/endpoints.h"

namespace engram {
namespace {

std::string ModelJson(const Model& model) {
  const BackboneInfo& info = model.backbone().info();
  return "{\"id\":" + JsonQuote(model.name()) +
         ",\"object\":\"model\",\"created\":" + std::to_string(model.created_unix_s()) +
         ",\"owned_by\":\"engramd\",\"max_model_len\":" + std::to_string(info.max_positions) + "}";
}

}  // namespace

void AddModelEndpoints(Router& router, const EndpointEnvironment& environment) {
  router.Add("GET", "/v1/models", Scope::kGenerate, [environment](const Request&) {
    Response response;
    response.body = "{\"object\":\"list\",\"data\":[";
    for (const auto& engine : environment.engines.List()) {
      if (response.body.back() != '[') response.body += ',';
      response.body += ModelJson(engine->model());
    }
    response.body += "]}\n";
    return Reply(std::move(response));
  });
  router.Add("GET", "/v1/models/*", Scope::kGenerate, [environment](const Request& request) {
    const std::string id = request.path.substr(std::string_view("/v1/models/").size());
    auto engine = environment.engines.Find(id);
    if (!engine) return Reply(ErrorResponse(engine.error()));
    Response response;
    response.body = ModelJson((*engine)->model()) + "\n";
    return Reply(std::move(response));
  });
}

}  // namespace engram
