// SPDX-License-Identifier: Apache-2.0
// What a client asks of a model and what comes back: plain values between http/ and the engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/result.h"

namespace engram {

class Constraint;

struct SamplingParams {
  float temperature = 1.0f;         // 0: greedy (lowest id wins a tie)
  float top_p = 1.0f;               // (0, 1]
  int32_t top_k = 0;                // 0 or -1: off
  float min_p = 0.0f;               // [0, 1]: keep tokens with p >= min_p * p_max
  float repetition_penalty = 1.0f;  // > 0; over prompt and generated tokens
  float presence_penalty = 0.0f;    // over generated tokens, as OpenAI defines it
  float frequency_penalty = 0.0f;
  std::vector<std::pair<int32_t, float>> logit_bias;  // added to logits first
  std::optional<uint64_t> seed;                       // same seed, same text; unset: random
};

struct MemoryParams {
  bool enabled = true;  // false: run as if the model had no Engram module
  bool gates = false;   // report gates of every processed position; nothing when memory is off or the model has none
  bool rows = false;    // report row ids of every processed position; as gates
  std::optional<uint64_t> as_of;      // the memory version to see; unset: the current one
  std::vector<std::string> overlays;  // attached in this order; at most kMaxOverlays
  bool skip_on_error = false;         // rows cannot be read: go on without memory, rather than fail
};

// A close look at the prompt's positions; nothing is generated (max_tokens is 0) and prompt_logprobs is off.
struct InspectParams {
  uint32_t top = 5;   // likeliest tokens reported per layer
  uint32_t from = 0;  // the first position looked at, below the prompt's length; those before it run as any prompt's
};

struct GenerationRequest {
  std::string request_id;       // for logs
  std::string client;           // fairness key: the API key's name, or the peer
  std::vector<int32_t> prompt;  // >= 1 token, each in [0, vocab_size)
  uint32_t num_choices = 1;
  uint32_t max_tokens = 16;  // per choice, >= 0; prompt + max_tokens <= max_positions
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  bool skip_special_tokens = true;   // in text
  std::optional<uint32_t> logprobs;  // report the token's logprob and this many alternatives
  bool prompt_logprobs = false;      // also for the prompt (needs logprobs)
  SamplingParams sampling;
  MemoryParams memory;
  std::optional<InspectParams> inspect;
  // What the text of every choice must follow; made by Model::constraints(). A choice ends (kStop) where the text is
  // whole: with an end token, or at once where nothing else could follow.
  std::shared_ptr<Constraint> constraint;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;                           // natural log, of the model's distribution before sampling changes
  std::vector<std::pair<int32_t, float>> top;  // most likely first
};

// What the model would say after one layer.
struct LensLayer {
  float kl = 0;                                // KL(final distribution || this one), nats
  std::vector<std::pair<int32_t, float>> top;  // likeliest tokens and their probabilities
};

// Everything the backbone reported of one processed position.
struct PositionTrace {
  std::vector<float> gates;    // [engram_layers][streams]; empty if not asked
  std::vector<uint64_t> rows;  // [engram_layers][columns]; empty if not asked
  // Only with GenerationRequest::inspect, and empty where the backbone cannot tell.
  std::vector<float> memory_norms;  // [engram_layers][streams] norm of what memory added to the stream
  std::vector<float> stream_norms;  // [engram_layers][streams] norm of the stream before
  std::vector<LensLayer> lens;      // [layers]
};

enum class FinishReason { kStop, kLength, kCancelled, kError };

struct Usage {
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;  // tokens sampled over all choices, EOS and stop tokens included
  uint32_t cached_tokens = 0;
};

// One event of a generation. Order per generation: at most one kPrompt, then kToken and kChoiceDone of its choices,
// then exactly one kDone.
struct GenerationEvent {
  enum class Kind { kPrompt, kToken, kChoiceDone, kDone };
  Kind kind = Kind::kToken;
  uint32_t choice = 0;

  // kPrompt, only if logprobs or traces of the prompt were asked for: one entry per prompt position (the first logprob
  // is empty), of traces those from InspectParams::from on.
  std::vector<std::optional<TokenLogprob>> prompt_logprobs;
  std::vector<PositionTrace> prompt_traces;

  // kToken and kChoiceDone: text that became safe to show (may be empty: held back for a stop string or a character).
  std::string text;
  // kToken
  int32_t token = 0;
  std::optional<TokenLogprob> logprob;
  // kToken and kChoiceDone: traces of generated positions that were processed since this choice's last event. A token
  // is processed by the step after the one that sampled it; the last token of a choice never is.
  std::vector<PositionTrace> traces;

  // kChoiceDone
  FinishReason finish_reason = FinishReason::kStop;
  std::optional<int32_t> stop_token;  // the EOS or stop token that ended it; it is not reported as kToken
  // Set where memory was given up on the way (MemoryParams.skip_on_error): tokens of the choice sampled before that,
  // with memory. All later ones are those of a run without memory that was given the same tokens so far.
  std::optional<uint32_t> skipped_from;
  std::string skip_reason;

  // kDone
  Usage usage;
  uint64_t memory_version = 0;  // that it saw from its first token to its last; 0 for a plain model
  std::optional<Error> error;   // set when finish_reason is kError for any choice
};

// Receives events on the engine thread; must not block or throw. Destroyed on any thread.
class GenerationListener {
 public:
  virtual ~GenerationListener() = default;
  // False: the client is gone or too slow; the generation is cancelled at once (kDone still comes).
  virtual bool OnEvent(GenerationEvent event) = 0;
};

}  // namespace engram
