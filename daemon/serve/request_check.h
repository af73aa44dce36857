// SPDX-License-Identifier: Apache-2.0
// Checks a GenerationRequest before it is queued. Pure; any thread.
#pragma once

#include <cstdint>

#include "core/result.h"
#include "serve/generation.h"

namespace engram {

// What one request may ask for, besides the model's own limits.
inline constexpr float kMaxTemperature = 100.0f;       // [0, 100]; OpenAI stops at 2, research does not
inline constexpr float kMaxPresencePenalty = 2.0f;     // [-2, 2], also frequency_penalty
inline constexpr float kMinRepetitionPenalty = 0.01f;  // [0.01, 100]
inline constexpr float kMaxRepetitionPenalty = 100.0f;
inline constexpr float kMaxLogitBias = 100.0f;  // [-100, 100]
inline constexpr size_t kMaxLogitBiasTokens = 1024;
inline constexpr uint32_t kMaxLogprobs = 20;
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxStopBytes = 1024;  // each
inline constexpr size_t kMaxStopTokens = 128;
inline constexpr size_t kMaxOverlays = 16;
inline constexpr size_t kMaxOverlayNameBytes = 200;

struct RequestLimits {
  uint32_t vocab_size = 0;
  uint32_t max_positions = 0;
  uint32_t max_choices = 1;
};

// kInvalidArgument with the field in OpenAI's spelling ("prompt", "max_tokens", "n", "stop", "stop_token_ids",
// "logprobs", "temperature", "engram.overlays", ...) and both the value and the limit in the message.
Status CheckRequest(const GenerationRequest& request, const RequestLimits& limits);

}  // namespace engram
