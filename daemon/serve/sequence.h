// SPDX-License-Identifier: Apache-2.0
// Sequence state: one request on its way through the engine (Generation) and each of its choices (Choice). Built on the
// submitting thread, then owned by the engine thread; only `cancelled` is touched by others.
#pragma once

#include <engram/backbone.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "constrain/constraint.h"
#include "core/result.h"
#include "ngram/row_addresser.h"
#include "serve/generation.h"
#include "serve/model.h"
#include "serve/sampler.h"
#include "serve/top_ngrams.h"
#include "text/stop_strings.h"
#include "text/tokenizer.h"

namespace engram {

using SteadyTime = std::chrono::steady_clock::time_point;

inline double Seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

// How the row ids of one token are laid out, and in which order traces show them.
struct RowLayout {
  explicit RowLayout(const Model& model);
  uint32_t num_columns = 0;
  uint32_t num_streams = 0;
  uint32_t ids_per_token = 0;         // layers * columns; 0 for a plain model
  std::vector<uint32_t> layer_order;  // [layers] geometry's index of the layer, by ascending layer number
};

struct Choice {
  engram_sequence_id sequence = 0;  // 0: none. Until the prompt is done, all but the first only hold a reservation
  bool done = false;
  int32_t next_token = 0;             // sampled, not yet processed
  uint32_t num_processed = 0;         // tokens in the backbone's sequence
  uint32_t num_generated = 0;         // tokens sampled
  std::vector<int32_t> tokens;        // those of them that go on, next_token the last
  std::vector<uint64_t> row_ids;      // [layers][columns] of next_token; empty when memory is off
  std::shared_ptr<TokenRows> asked;   // those rows, on their way since next_token was sampled; nullptr: not yet
  std::optional<RowAddresser> rows;   // has seen everything up to next_token
  SuffixTail tail;                    // as rows; unused unless the view has guarded entries
  std::vector<GuardedMatch> guarded;  // of next_token, as token 0
  std::vector<int32_t> recent;        // the last tokens up to next_token, for gate statistics; kMaxTrackedOrder at most
  std::optional<Sampler> sampler;
  std::optional<ConstraintMatcher> matcher;  // of a request with a constraint
  std::optional<StreamDecoder> decoder;
  std::optional<StopStrings> stops;
  FinishReason reason = FinishReason::kStop;
  SteadyTime last_token_at;
  std::optional<uint32_t> skipped_from;  // as GenerationEvent's
};

struct Generation {
  uint64_t id = 0;
  GenerationRequest request;
  std::shared_ptr<GenerationListener> listener;
  std::atomic<bool> cancelled{false};  // any thread sets it; the engine thread acts on it before its next step
  uint64_t seed = 0;
  bool uses_memory = false;
  bool traces_gates = false;  // asked for and there are some
  bool traces_rows = false;

  MemoryView view;                           // what it sees from its first token to its last; dropped before kDone
  std::shared_ptr<PromptProgress> progress;  // of the prompt's rows; set with uses_memory
  uint32_t num_looked_ahead = 0;             // tokens whose rows are asked for ahead
  bool has_guarded = false;                  // some overlay of the view has guarded entries
  std::vector<uint64_t> prompt_row_ids;      // [prompt][layers][columns]; dropped once the prompt is processed
  std::vector<GuardedMatch> prompt_guarded;  // of the prompt's tokens, ascending; dropped with the row ids
  std::optional<RowAddresser> rows;          // has seen the prompt
  SuffixTail tail;                           // as rows
  uint32_t num_prefilled = 0;                // prompt tokens processed
  std::vector<Choice> choices;               // [n]
  std::vector<std::optional<TokenLogprob>> prompt_logprobs;
  std::vector<PositionTrace> prompt_traces;
  uint32_t completion_tokens = 0;
  std::optional<Error> error;
  std::string skip_reason;  // as GenerationEvent's
  bool finished = false;    // kDone was sent

  SteadyTime submitted_at;
  SteadyTime admitted_at;

  bool prefilled() const { return num_prefilled == request.prompt.size(); }
  // Whether the next tokens of the prompt are to be inspected.
  bool looks_closely() const { return request.inspect && num_prefilled >= request.inspect->from; }
  // Of a choice that decodes: some of what the backbone's sequence had is to be run again before its next token.
  bool replays(const Choice& choice) const {
    return choice.num_processed + 1 < request.prompt.size() + choice.tokens.size();
  }
  // Positions each sequence reserves: everything that may be processed and the last sampled token.
  uint32_t reserve_tokens() const { return static_cast<uint32_t>(request.prompt.size()) + request.max_tokens; }
  // Sequences it needs at once.
  uint32_t num_sequences() const { return request.max_tokens == 0 ? 1 : request.num_choices; }
  bool ends_on(int32_t token, const std::vector<int32_t>& eos_token_ids) const;
};

// The generation of a checked request: takes its view of the memory and computes the prompt's row ids. `seed` is used
// unless the request has one. kNotFound names an overlay or version that is not there and the request's field.
Result<std::unique_ptr<Generation>> MakeGeneration(const Model& model, const RowLayout& layout,
                                                   GenerationRequest request,
                                                   std::shared_ptr<GenerationListener> listener, uint64_t seed);

// Has the rows of the prompt's next tokens read ahead, when all before `begun` are asked for by batches.
void LookAhead(const Model& model, Generation& generation, uint32_t begun);

// Gives choice `index` its sampler, decoder and stop strings, once the prompt has been processed.
void StartChoice(const Model& model, Generation& generation, uint32_t index);

// What the backbone reported of token `token` of a batch of `num_tokens`. `gates` is [layers][num_tokens][streams] or
// nullptr, `row_ids` [layers][columns] in geometry order or nullptr.
PositionTrace TracePosition(const RowLayout& layout, const float* gates, uint32_t num_tokens, uint32_t token,
                            const uint64_t* row_ids);

}  // namespace engram
