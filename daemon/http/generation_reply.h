// SPDX-License-Identifier: Apache-2.0
// GenerationReply: the answer to one completions or chat request, made of the events of one generation per prompt.
//
// The engine thread pushes events into a bounded queue and wakes the session; the session's strand takes them and
// writes JSON, either one whole body or server-sent events. Destroying the reply cancels what still runs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"
#include "serve/engine.h"
#include "serve/generation.h"

namespace engram {

// A token as it is reported.
struct ReportedToken {
  int32_t id = 0;
  bool is_prompt = false;
  size_t text_offset = 0;               // code points before it in the choice's text
  std::optional<TokenLogprob> logprob;  // empty for the first token of a prompt, or if not asked for
};

// All of one choice, or what one chunk of a stream adds to it.
struct ChoicePart {
  uint32_t index = 0;
  bool first = false;  // nothing of this choice was sent before
  std::string text;
  std::vector<ReportedToken> tokens;
  std::optional<FinishReason> finish_reason;  // set in the last part
  std::optional<int32_t> stop_token;          // the EOS or stop token that ended it; not one of `tokens`
};

// What is the same in every chunk of a reply.
struct ReplyShape {
  bool logprobs = false;
  bool return_token_ids = false;
  bool stream = false;
  bool include_usage = false;
  bool echo = false;
};

// How an endpoint writes a choice. Stateless.
class ChoiceStyle {
 public:
  virtual ~ChoiceStyle() = default;
  virtual std::string_view id_prefix() const = 0;
  virtual std::string_view object(bool streamed) const = 0;
  // Appends the fields of a choice between "index" and "finish_reason", with a comma after each.
  virtual void AppendFields(std::string& out, const ChoicePart& part, const ReplyShape& shape,
                            const Tokenizer& tokenizer) const = 0;
};

// The text of one token for logprobs; bytes that are no UTF-8 by themselves as "bytes:\xe4\xbd", as OpenAI writes them.
std::string TokenText(const Tokenizer& tokenizer, int32_t id);

// Submits one generation per request in `prompts` and returns the reply; the error of the first that is refused, with
// the others cancelled. `style` is static. `prompts` are equal but for the prompt. `max_events_behind` is per choice.
Result<std::unique_ptr<ReplySource>> StartGeneration(std::shared_ptr<Engine> engine,
                                                     std::vector<GenerationRequest> prompts, const ReplyShape& shape,
                                                     const ChoiceStyle& style, uint32_t max_events_behind);

}  // namespace engram
