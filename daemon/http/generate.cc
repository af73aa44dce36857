// SPDX-License-Identifier: Apache-2.0
#include "http/chat.h"
#include "http/completions.h"
#include "http/endpoints.h"

namespace engram {

void AddGenerationEndpoints(Router& router, const EndpointEnvironment& environment) {
  router.Add("POST", "/v1/completions", Scope::kGenerate, [environment](const Request& request) {
    return Completions(environment.options, environment.engines, request);
  });
  router.Add("POST", "/v1/chat/completions", Scope::kGenerate, [environment](const Request& request) {
    return ChatCompletions(environment.options, environment.engines, request);
  });
}

}  // namespace engram
