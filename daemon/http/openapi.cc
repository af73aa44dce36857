// SPDX-License-Identifier: Apache-2.0
// docs/openapi.yaml as it was when this was built.
#include "http/endpoints.h"

namespace engram {

extern const std::string_view kOpenApiText;  // made from the file by cmake/embed_text.cmake

void AddOpenApiEndpoint(Router& router) {
  router.Add("GET", "/openapi.yaml", Scope::kNone, [](const Request&) {
    Response response;
    response.content_type = "application/yaml";
    response.headers.emplace_back("Cache-Control", "no-cache");
    response.body = kOpenApiText;
    return Reply(std::move(response));
  });
}

}  // namespace engram
