// SPDX-License-Identifier: Apache-2.0
// GenerationReply: the answer to one completions or chat request, as one whole body or as server-sent events.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "http/generation_run.h"
#include "http/message.h"
#include "text/tokenizer.h"

namespace engram {

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

// Submits the generations of `call` and returns the reply, or the error of the first that is refused, with the others
// cancelled. `max_events_behind` is per choice.
Reply StartGeneration(GenerationCall call, uint32_t max_events_behind);

}  // namespace engram
