// SPDX-License-Identifier: Apache-2.0
// GenerationMessages: one "generate" of a WebSocket: its events as the messages of docs/websocket.md.
//
// Threads: one at a time. Destroying it cancels what still runs.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/api_error.h"
#include "http/generation_run.h"

namespace engram {

// {"type": "error", "id": .., "error": {..}}; without "id" when it is empty.
std::string ErrorMessage(std::string_view id, const ApiError& error);

class GenerationMessages {
 public:
  // `max_events_behind` is per choice.
  GenerationMessages(std::string id, GenerationCall call, uint32_t max_events_behind);
  // Once, first: submits the generations; the error of the first that is refused.
  std::optional<ApiError> Submit() { return run_.Submit(); }

  const std::string& id() const { return id_; }
  size_t num_prompts() const { return run_.num_prompts(); }
  void SetWake(std::function<void()> wake) { run_.SetWake(std::move(wake)); }
  void Cancel() { run_.Cancel(); }
  // Appends the messages that are ready. True: the last one, "done" or "error", is among them.
  bool Poll(std::vector<std::string>& messages);

 private:
  std::string Head(std::string_view type) const;
  void Take(ChoicePart part, std::vector<std::string>& messages);
  std::string PromptMessage(uint32_t index) const;
  std::string TokenMessage(const ChoicePart& part) const;
  std::string DoneMessage() const;

  const std::string id_;
  const ReplyShape asked_;
  GenerationRun run_;
  std::vector<bool> prompt_sent_;            // by prompt
  std::vector<std::string> finish_reasons_;  // by choice
};

}  // namespace engram
