// SPDX-License-Identifier: Apache-2.0
#include "serve/request_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace engram {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr RequestLimits kLimits = {.vocab_size = 100, .max_positions = 64, .max_choices = 4};

GenerationRequest Good() {
  GenerationRequest request;
  request.prompt = {1, 99};
  return request;
}

TEST(RequestCheck, TheEdgesAreAllowed) {
  GenerationRequest request = Good();
  EXPECT_TRUE(CheckRequest(request, kLimits).has_value());
  request.max_tokens = 62;
  request.num_choices = 4;
  request.stop.assign(kMaxStopStrings, std::string(kMaxStopBytes, 'x'));
  request.stop_token_ids.assign(kMaxStopTokens, 99);
  request.logprobs = kMaxLogprobs;
  request.prompt_logprobs = true;
  request.sampling = {.temperature = 100,
                      .top_p = 1e-9f,
                      .top_k = -1,
                      .min_p = 1,
                      .repetition_penalty = 0.01f,
                      .presence_penalty = -2,
                      .frequency_penalty = 2,
                      .logit_bias = {{0, -100}, {99, 100}}};
  EXPECT_TRUE(CheckRequest(request, kLimits).has_value());
  request.max_tokens = 0;
  EXPECT_TRUE(CheckRequest(request, kLimits).has_value());
}

TEST(RequestCheck, EveryFieldIsNamed) {
  const std::vector<std::pair<std::string, std::function<void(GenerationRequest&)>>> cases = {
      {"prompt", [](auto& r) { r.prompt.clear(); }},
      {"prompt", [](auto& r) { r.prompt = {100}; }},
      {"prompt", [](auto& r) { r.prompt = {-1}; }},
      {"prompt", [](auto& r) { r.prompt.assign(65, 1); }},
      {"max_tokens", [](auto& r) { r.max_tokens = 63; }},
      {"max_tokens", [](auto& r) { r.max_tokens = 0xffffffffu; }},
      {"n", [](auto& r) { r.num_choices = 0; }},
      {"n", [](auto& r) { r.num_choices = 5; }},
      {"stop", [](auto& r) { r.stop.assign(kMaxStopStrings + 1, "x"); }},
      {"stop", [](auto& r) { r.stop = {std::string(kMaxStopBytes + 1, 'x')}; }},
      {"stop_token_ids", [](auto& r) { r.stop_token_ids = {100}; }},
      {"stop_token_ids", [](auto& r) { r.stop_token_ids.assign(kMaxStopTokens + 1, 1); }},
      {"logprobs", [](auto& r) { r.logprobs = kMaxLogprobs + 1; }},
      {"logprobs", [](auto& r) { r.prompt_logprobs = true; }},
      {"temperature", [](auto& r) { r.sampling.temperature = -0.1f; }},
      {"temperature", [](auto& r) { r.sampling.temperature = kNan; }},
      {"temperature", [](auto& r) { r.sampling.temperature = kInfinity; }},
      {"top_p", [](auto& r) { r.sampling.top_p = 0; }},
      {"top_p", [](auto& r) { r.sampling.top_p = 1.01f; }},
      {"top_p", [](auto& r) { r.sampling.top_p = kNan; }},
      {"top_k", [](auto& r) { r.sampling.top_k = -2; }},
      {"min_p", [](auto& r) { r.sampling.min_p = kNan; }},
      {"min_p", [](auto& r) { r.sampling.min_p = -0.1f; }},
      {"repetition_penalty", [](auto& r) { r.sampling.repetition_penalty = 0; }},
      {"repetition_penalty", [](auto& r) { r.sampling.repetition_penalty = kInfinity; }},
      {"presence_penalty", [](auto& r) { r.sampling.presence_penalty = 2.1f; }},
      {"frequency_penalty", [](auto& r) { r.sampling.frequency_penalty = kNan; }},
      {"logit_bias",
       [](auto& r) {
         r.sampling.logit_bias = {{100, 1}};
       }},
      {"logit_bias",
       [](auto& r) {
         r.sampling.logit_bias = {{1, 101}};
       }},
      {"logit_bias",
       [](auto& r) {
         r.sampling.logit_bias = {{1, kNan}};
       }},
      {"logit_bias",
       [](auto& r) {
         r.sampling.logit_bias.assign(kMaxLogitBiasTokens + 1, {1, 1});
       }},
      {"engram.overlays", [](auto& r) { r.memory.overlays.assign(kMaxOverlays + 1, "a"); }},
      {"engram.overlays[1]",
       [](auto& r) {
         r.memory.overlays = {"a", ""};
       }},
      {"engram.overlays[0]", [](auto& r) { r.memory.overlays = {std::string(kMaxOverlayNameBytes + 1, 'a')}; }},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    GenerationRequest request = Good();
    cases[i].second(request);
    const Status status = CheckRequest(request, kLimits);
    ASSERT_FALSE(status.has_value()) << "case " << i << ", " << cases[i].first;
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(status.error().field, cases[i].first) << status.error().message;
  }
}

}  // namespace
}  // namespace engram
