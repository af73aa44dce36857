// SPDX-License-Identifier: Apache-2.0
// The JSON bodies of completions and chat, and the messages of the WebSocket that carry the same fields, as far as they
// are read and checked. Nothing is generated.
#include <boost/json/serialize.hpp>

#include "fuzz/fuzz_target.h"
#include "fuzz/served_world.h"
#include "http/chat.h"
#include "http/completions.h"
#include "http/generation_params.h"
#include "http/json_body.h"

namespace engram {
namespace {

void CheckError(const std::optional<ApiError>& error) {
  if (!error) return;
  FUZZ_CHECK(error->status >= 400 && error->status < 500);
  FUZZ_CHECK(!error->message.empty());
  FUZZ_CHECK(ParseJsonObject(ErrorJson(*error)));
}

void CheckCall(const GenerationCall& call, const ModelLimits& limits) {
  FUZZ_CHECK(call.engine != nullptr && !call.prompts.empty());
  for (const GenerationRequest& request : call.prompts) {
    FUZZ_CHECK(!request.prompt.empty());
    FUZZ_CHECK(request.prompt.size() + request.max_tokens <= limits.max_positions);
    for (const int32_t id : request.prompt) FUZZ_CHECK(id >= 0 && id < limits.vocab_size);
  }
}

}  // namespace

ENGRAM_FUZZ_TARGET(generation_body, bytes) {
  static ServedWorld world;
  static const ModelLimits limits = LimitsOf(world.model());
  const auto body = ParseJsonObject(bytes);
  if (!body) {
    CheckError(ApiError(body.error()));
    return;
  }
  // What was read can be written and read again. Not always as the same: Boost.JSON 1.81 reads numbers of many digits to
  // within a unit in their last place.
  FUZZ_CHECK(ParseJsonObject(boost::json::serialize(*body)));

  JsonFields completion_fields(*body);
  GenerationCall completion;
  auto error = ReadCompletion(completion_fields, world.options(), world.engines(), completion);
  CheckError(error);
  if (!error) CheckCall(completion, limits);
  JsonFields chat_fields(*body);
  GenerationCall chat;
  error = ReadChat(chat_fields, world.engines(), chat);
  CheckError(error);
  if (!error) CheckCall(chat, limits);
}

}  // namespace engram
