// SPDX-License-Identifier: Apache-2.0
#include "core/json_text.h"
#include "http/endpoints.h"
#include "http/json_body.h"
#include "http/json_fields.h"
#include "http/json_out.h"

namespace engram {
namespace {

Result<Response> Tokenize(const EngineDirectory& engines, const Request& request) {
  ENGRAM_TRY(const boost::json::object body, ParseJsonObject(request.body));
  JsonFields fields(body);
  const std::string model = fields.String("model", "");
  const bool add_special_tokens = fields.Bool("add_special_tokens", true);
  if (fields.Value("prompt") == nullptr) fields.Fail("prompt", "is required");
  const std::string prompt = fields.String("prompt", "");
  ENGRAM_CHECK_OK(fields.Finish());
  ENGRAM_TRY(const auto engine, engines.Find(model));
  ENGRAM_TRY(const auto tokens, engine->model().tokenizer().Encode(prompt, add_special_tokens));
  Response response;
  response.body = "{\"tokens\":";
  AppendInts(response.body, tokens);
  response.body += ",\"count\":" + std::to_string(tokens.size()) +
                   ",\"max_model_len\":" + std::to_string(engine->model().backbone().info().max_positions) + "}\n";
  return response;
}

Result<Response> Detokenize(const EngineDirectory& engines, const Request& request) {
  ENGRAM_TRY(const boost::json::object body, ParseJsonObject(request.body));
  JsonFields fields(body);
  const std::string model = fields.String("model", "");
  const bool skip_special_tokens = fields.Bool("skip_special_tokens", false);
  const boost::json::value* list = fields.Value("tokens");
  if (list == nullptr) fields.Fail("tokens", "is required");
  ENGRAM_CHECK_OK(fields.Finish());
  ENGRAM_TRY(const auto engine, engines.Find(model));
  const Tokenizer& tokenizer = engine->model().tokenizer();
  ENGRAM_TRY(const auto tokens, JsonInts(*list, 0, tokenizer.vocab_size() - 1, "tokens"));
  Response response;
  response.body = "{\"prompt\":" + JsonQuote(tokenizer.Decode(tokens, skip_special_tokens)) + "}\n";
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

void AddTokenizeEndpoints(Router& router, const EndpointEnvironment& environment) {
  router.Add("POST", "/tokenize", Scope::kGenerate, Answer(environment.engines, Tokenize));
  router.Add("POST", "/detokenize", Scope::kGenerate, Answer(environment.engines, Detokenize));
}

}  // namespace engram
