// SPDX-License-Identifier: Apache-2.0
// What the completions and chat endpoints take alike: reading and checking the fields of a request. Pure functions; any
// thread. Errors are kInvalidArgument or kNotFound with the field, e.g. "engram.gates".
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "http/api_error.h"
#include "http/json_fields.h"
#include "http/output_format.h"
#include "serve/engine_directory.h"
#include "serve/generation.h"
#include "serve/model.h"
#include "text/tokenizer.h"

namespace engram {

// The numbers of a model that requests are checked against.
struct ModelLimits {
  int32_t vocab_size = 0;
  uint32_t max_positions = 0;
};

ModelLimits LimitsOf(const Model& model);

// The engine of the request's "model", which may be left out.
Result<std::shared_ptr<Engine>> FindEngine(JsonFields& fields, const EngineDirectory& engines);

struct GenerationParams {
  GenerationRequest request;  // all but prompt, max_tokens, request_id and client
  std::optional<uint32_t> max_tokens;
  bool stream = false;
  bool include_usage = false;  // stream_options
  bool return_token_ids = false;
  bool echo = false;    // completions only
  OutputFormat format;  // not yet in the request
};

// Most alternatives per token that logprobs and top_logprobs may ask for.
inline constexpr int64_t kMaxLogprobs = 20;

// Takes the common fields but "model" out of `fields`; what is wrong is recorded there.
GenerationParams ReadGenerationParams(JsonFields& fields, const ModelLimits& limits);

// Takes "engram" out of `fields`.
void ReadMemoryParams(JsonFields& fields, MemoryParams& memory);

// Attaches the overlays of the client's key (null: none) where `fields` has no list of them, not even an empty one,
// memory is on and the model has one.
void AttachKeyOverlays(const AccessKey* key, JsonFields& fields, const Model& model, MemoryParams& memory);

// Checks lengths and fills in request.max_tokens: params.max_tokens where it is given, else `default_max_tokens` or
// what fits. 400 with code "context_length_exceeded" and both numbers when prompt and tokens do not fit.
std::optional<ApiError> SetLength(const GenerationParams& params, const ModelLimits& limits,
                                  uint32_t default_max_tokens, GenerationRequest& request);

// The `prompt` of a completions request: a string, a list of ids, or a list of either; at most `max_prompts`. Each has
// at least one token.
Result<std::vector<std::vector<int32_t>>> ReadPrompts(const boost::json::value& prompt, const Tokenizer& tokenizer,
                                                      bool add_special_tokens, const ModelLimits& limits,
                                                      uint32_t max_prompts);

// A chat request's messages, checked: role, content (a string, null, or a list of {"type": "text"} parts, which are
// joined), and what ReadToolMessage() checks. Other keys pass through to the template.
Result<boost::json::array> ReadMessages(const boost::json::value* messages);

}  // namespace engram
