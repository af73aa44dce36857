// SPDX-License-Identifier: Apache-2.0
#include "serve/request_check.h"

#include <spdlog/fmt/fmt.h>

#include <cmath>

namespace engram {
namespace {

// NaN fails every comparison, so it is refused with the rest.
Status CheckRange(const char* field, float value, float low, float high) {
  if (value >= low && value <= high) return {};
  return InvalidArgument(fmt::format("{} is {}, must be from {} to {}", field, value, low, high), field);
}

Status CheckToken(const char* field, size_t index, int32_t token, uint32_t vocab_size) {
  if (token >= 0 && static_cast<uint32_t>(token) < vocab_size) return {};
  return InvalidArgument(
      fmt::format("{}[{}] is token {}, outside the model's vocabulary of {}", field, index, token, vocab_size), field);
}

Status CheckSampling(const SamplingParams& p, uint32_t vocab_size) {
  ENGRAM_CHECK_OK(CheckRange("temperature", p.temperature, 0, kMaxTemperature));
  if (!(p.top_p > 0 && p.top_p <= 1))
    return InvalidArgument(fmt::format("top_p is {}, must be above 0 and at most 1", p.top_p), "top_p");
  if (p.top_k < -1)
    return InvalidArgument(fmt::format("top_k is {}, must be -1 or 0 (off) or above", p.top_k), "top_k");
  ENGRAM_CHECK_OK(CheckRange("min_p", p.min_p, 0, 1));
  ENGRAM_CHECK_OK(CheckRange("repetition_penalty", p.repetition_penalty, kMinRepetitionPenalty, kMaxRepetitionPenalty));
  ENGRAM_CHECK_OK(CheckRange("presence_penalty", p.presence_penalty, -kMaxPresencePenalty, kMaxPresencePenalty));
  ENGRAM_CHECK_OK(CheckRange("frequency_penalty", p.frequency_penalty, -kMaxPresencePenalty, kMaxPresencePenalty));
  if (p.logit_bias.size() > kMaxLogitBiasTokens)
    return InvalidArgument(
        fmt::format("logit_bias has {} tokens, at most {} are taken", p.logit_bias.size(), kMaxLogitBiasTokens),
        "logit_bias");
  for (size_t i = 0; i < p.logit_bias.size(); ++i) {
    ENGRAM_CHECK_OK(CheckToken("logit_bias", i, p.logit_bias[i].first, vocab_size));
    ENGRAM_CHECK_OK(CheckRange("logit_bias", p.logit_bias[i].second, -kMaxLogitBias, kMaxLogitBias));
  }
  return {};
}

Status CheckMemory(const MemoryParams& memory) {
  const std::vector<std::string>& names = memory.overlays;
  if (names.size() > kMaxOverlays)
    return InvalidArgument(
        fmt::format("engram.overlays has {} names, at most {} are taken", names.size(), kMaxOverlays),
        "engram.overlays");
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string field = fmt::format("engram.overlays[{}]", i);
    if (names[i].empty() || names[i].size() > kMaxOverlayNameBytes)
      return InvalidArgument(
          fmt::format("{} is a name of {} bytes, must have 1 to {}", field, names[i].size(), kMaxOverlayNameBytes),
          field);
  }
  return {};
}

}  // namespace

Status CheckRequest(const GenerationRequest& request, const RequestLimits& limits) {
  if (request.prompt.empty()) return InvalidArgument("prompt has no tokens, needs at least one", "prompt");
  if (request.prompt.size() > limits.max_positions)
    return InvalidArgument(fmt::format("prompt has {} tokens, the model's longest sequence is {}",
                                       request.prompt.size(), limits.max_positions),
                           "prompt");
  for (size_t i = 0; i < request.prompt.size(); ++i)
    ENGRAM_CHECK_OK(CheckToken("prompt", i, request.prompt[i], limits.vocab_size));
  if (request.max_tokens > limits.max_positions - request.prompt.size())
    return InvalidArgument(
        fmt::format("prompt of {} tokens and max_tokens of {} exceed the model's longest sequence of {}",
                    request.prompt.size(), request.max_tokens, limits.max_positions),
        "max_tokens");
  if (request.num_choices < 1 || request.num_choices > limits.max_choices)
    return InvalidArgument(fmt::format("n is {}, must be from 1 to {}", request.num_choices, limits.max_choices), "n");
  if (request.stop.size() > kMaxStopStrings)
    return InvalidArgument(
        fmt::format("stop has {} strings, at most {} are taken", request.stop.size(), kMaxStopStrings), "stop");
  for (size_t i = 0; i < request.stop.size(); ++i)
    if (request.stop[i].size() > kMaxStopBytes)
      return InvalidArgument(
          fmt::format("stop[{}] has {} bytes, at most {} are taken", i, request.stop[i].size(), kMaxStopBytes), "stop");
  if (request.stop_token_ids.size() > kMaxStopTokens)
    return InvalidArgument(
        fmt::format("stop_token_ids has {} ids, at most {} are taken", request.stop_token_ids.size(), kMaxStopTokens),
        "stop_token_ids");
  for (size_t i = 0; i < request.stop_token_ids.size(); ++i)
    ENGRAM_CHECK_OK(CheckToken("stop_token_ids", i, request.stop_token_ids[i], limits.vocab_size));
  if (request.logprobs && *request.logprobs > kMaxLogprobs)
    return InvalidArgument(fmt::format("logprobs is {}, at most {} are given", *request.logprobs, kMaxLogprobs),
                           "logprobs");
  if (request.prompt_logprobs && !request.logprobs)
    return InvalidArgument("prompt_logprobs needs logprobs", "logprobs");
  if (request.inspect && (request.max_tokens != 0 || request.num_choices != 1 || request.prompt_logprobs))
    return InvalidArgument("a prompt that is inspected is not continued and has no other log-probabilities",
                           "max_tokens");
  if (request.inspect && request.inspect->from >= request.prompt.size())
    return InvalidArgument(
        fmt::format("from is {}, the prompt has {} tokens", request.inspect->from, request.prompt.size()), "from");
  ENGRAM_CHECK_OK(CheckMemory(request.memory));
  return CheckSampling(request.sampling, limits.vocab_size);
}

}  // namespace engram
