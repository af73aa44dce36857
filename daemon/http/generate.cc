// SPDX-License-Identifier: Apache-2.0
#include "http/chat.h"
#include "http/completions.h"
#include "http/endpoints.h"
#include "http/generation_channel.h"
#include "http/generation_params.h"
#include "http/generation_reply.h"
#include "http/json_body.h"
#include "http/through_swaps.h"
#include "http/websocket_request.h"

namespace engram {
namespace {

// Fills in the call from a body's fields.
using ReadCall = std::optional<ApiError> (*)(JsonFields&, const EndpointEnvironment&, GenerationCall&);

Reply Generate(const EndpointEnvironment& environment, const Request& request, ReadCall read) {
  auto body = ParseJsonObject(request.body);
  if (!body) return ErrorResponse(body.error());
  JsonFields fields(*body);
  GenerationCall call;
  if (const std::optional<ApiError> error = read(fields, environment, call)) return ErrorResponse(*error);
  for (GenerationRequest& prompt : call.prompts) {
    prompt.request_id = request.request_id;
    prompt.client = request.client;
    AttachKeyOverlays(request.key.get(), fields, call.engine->model(), prompt.memory);
  }
  call.limiter = request.limiter;
  return StartGeneration(std::move(call), environment.options.max_events_behind);
}

Handler Answer(const EndpointEnvironment& environment, ReadCall read) {
  return [environment, read](const Request& request) {
    return ThroughSwaps(environment.engines, [&] { return Generate(environment, request, read); });
  };
}

}  // namespace

void AddGenerationEndpoints(Router& router, const EndpointEnvironment& environment) {
  router.Add("POST", "/v1/completions", Scope::kGenerate,
             Answer(environment, [](JsonFields& fields, const EndpointEnvironment& env, GenerationCall& call) {
               return ReadCompletion(fields, env.options, env.engines, call);
             }));
  router.Add("POST", "/v1/chat/completions", Scope::kGenerate,
             Answer(environment, [](JsonFields& fields, const EndpointEnvironment& env, GenerationCall& call) {
               return ReadChat(fields, env.engines, call);
             }));
  // Clients of OpenAI's API ask for it; the backbones here make no embeddings.
  router.Add("POST", "/v1/embeddings", Scope::kGenerate, [](const Request&) -> Reply {
    return ErrorResponse({501, "no model of this server makes embeddings", "model", "embeddings_not_supported"});
  });
  router.Add("GET", "/v1/stream", Scope::kGenerate, [environment](const Request& request) -> Reply {
    if (const auto error = CheckUpgrade(request)) return ErrorResponse(*error);
    return NewGenerationChannel(environment.options, environment.engines, request);
  });
}

}  // namespace engram
