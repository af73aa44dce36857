// SPDX-License-Identifier: Apache-2.0
// GenerationRun: the generations of one request, one per prompt, and what their events mean for its choices. What the
// HTTP answer and the WebSocket's messages are made of.
//
// Threads: the engine thread pushes events into a bounded queue and wakes the owner; all members are for the owner, one
// thread at a time. Destroying a run cancels what is left of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "constrain/tool_calls.h"
#include "core/result.h"
#include "http/api_error.h"
#include "http/event_queue.h"
#include "http/key_limiter.h"
#include "serve/engine.h"
#include "serve/generation.h"

namespace engram {

class ChoiceStyle;

// A token as it is reported.
struct ReportedToken {
  int32_t id = 0;
  bool is_prompt = false;
  size_t text_offset = 0;               // code points before it in the choice's text
  std::optional<TokenLogprob> logprob;  // empty for the first token of a prompt, or if not asked for
};

// A tool call, or what one event adds to it.
struct ToolCallPart {
  uint32_t index = 0;  // of the choice's calls
  std::string id;      // with the name, where the call begins
  std::string name;
  std::string arguments;  // a bit of JSON
};

// All of one choice, or what one event adds to it.
struct ChoicePart {
  uint32_t index = 0;  // prompt * n + choice
  bool first = false;  // nothing of this choice was sent before
  std::string text;    // without tool calls
  std::vector<ToolCallPart> tool_calls;
  std::vector<ReportedToken> tokens;
  std::vector<PositionTrace> traces;          // of generated positions processed since the choice's part before
  std::optional<FinishReason> finish_reason;  // set in the last part
  bool called_tools = false;                  // with finish_reason: the choice has tool calls
  std::optional<int32_t> stop_token;          // the EOS or stop token that ended it; not one of `tokens`
  std::optional<uint32_t> skipped_from;       // with finish_reason: memory was given up before this token of the choice
  std::string skip_reason;
};

// What a client wants to see of its generations.
struct ReplyShape {
  bool logprobs = false;
  bool return_token_ids = false;
  bool stream = false;
  bool include_usage = false;
  bool echo = false;
};

// A request that has been read and checked.
struct GenerationCall {
  // The texts may (or must) hold tool calls, which are to be taken out.
  struct ToolCalls {
    ToolCallSyntax syntax;
    bool required = false;
  };
  std::shared_ptr<Engine> engine;
  std::vector<GenerationRequest> prompts;  // at least one; equal but for the prompt
  ReplyShape shape;
  const ChoiceStyle* style = nullptr;  // static
  std::optional<ToolCalls> tool_calls;
  std::shared_ptr<KeyLimiter> limiter;  // counts the tokens; null: nobody does
};

class GenerationRun {
 public:
  // `max_events_behind` is per choice: a run whose events are not taken is cancelled.
  GenerationRun(GenerationCall call, size_t max_events_behind);
  ~GenerationRun();
  GenerationRun(const GenerationRun&) = delete;
  GenerationRun& operator=(const GenerationRun&) = delete;

  // Once, first. The error of the first generation that is refused; the others end with the run. The prompts' tokens
  // count when all are taken.
  std::optional<ApiError> Submit();
  // `wake` is called from any thread when Poll() may have something, never after the destructor has returned.
  void SetWake(std::function<void()> wake) { queue_->SetWake(std::move(wake)); }
  // Has the engine end what runs; the choices then end with kCancelled, and that is no error.
  void Cancel();
  // Takes the events that came and hands on what they add to the choices, in order.
  void Poll(const std::function<void(ChoicePart)>& on_part);

  // Every generation has ended.
  bool finished() const { return num_prompts_done_ == prompts_.size(); }
  // Every choice has ended; the end of their generations may still be on its way.
  bool choices_finished() const { return num_choices_done_ == num_choices(); }
  // Why the run failed; then nothing more comes.
  const std::optional<ApiError>& error() const { return error_; }
  const Usage& usage() const { return usage_; }                // complete when finished
  uint64_t memory_version() const { return memory_version_; }  // likewise; the newest of all prompts

  const Model& model() const { return engine_->model(); }
  const ReplyShape& shape() const { return shape_; }
  const ChoiceStyle& style() const { return *style_; }
  size_t num_prompts() const { return prompts_.size(); }
  size_t num_choices() const { return choices_.size(); }
  // By choice.
  const GenerationRequest& request(uint32_t index) const { return prompts_[index / num_choices_].request; }
  const std::vector<std::optional<TokenLogprob>>& prompt_logprobs(uint32_t index) const {
    return prompts_[index / num_choices_].logprobs;
  }
  const std::vector<PositionTrace>& prompt_traces(uint32_t index) const {
    return prompts_[index / num_choices_].traces;
  }

 private:
  struct Prompt {
    GenerationRequest request;
    GenerationId id = 0;
    std::vector<std::optional<TokenLogprob>> logprobs;  // [tokens] if asked for
    std::vector<PositionTrace> traces;                  // [tokens] if asked for
    bool done = false;
  };
  struct Choice {
    bool started = false;
    size_t text_offset = 0;
    std::optional<ToolCallParser> tool_calls;
  };

  const Tokenizer& tokenizer() const { return engine_->model().tokenizer(); }
  std::optional<ChoicePart> Echo(uint32_t index);
  void Handle(uint32_t prompt_index, GenerationEvent& event, const std::function<void(ChoicePart)>& on_part);
  void TakeToolCalls(ChoicePart& part, bool last);
  void AddToken(ChoicePart& part, int32_t id, bool is_prompt, std::optional<TokenLogprob> logprob);

  const std::shared_ptr<Engine> engine_;
  const ReplyShape shape_;
  const ChoiceStyle* const style_;
  const std::shared_ptr<KeyLimiter> limiter_;
  const uint32_t num_choices_;  // per prompt
  const std::shared_ptr<EventQueue> queue_;
  std::vector<Prompt> prompts_;
  std::vector<Choice> choices_;  // [prompts][num_choices]
  size_t num_choices_done_ = 0;
  size_t num_prompts_done_ = 0;
  bool cancelled_ = false;
  Usage usage_;
  uint64_t memory_version_ = 0;
  std::optional<ApiError> error_;
};

// "stop", "length", "tool_calls": why a choice ended, as clients read it. `part` has a finish_reason.
std::string_view FinishReasonOf(const ChoicePart& part);

// "tool_calls":[..] into an object, with each one's index in a stream.
void AppendToolCalls(std::string& out, const std::vector<ToolCallPart>& calls, bool streamed);

// {"prompt_tokens": .., ..} as OpenAI writes it.
std::string UsageJson(const Usage& usage);

// Appends "layers": [..], and "gates": [position][layer][stream] and "rows": [position][layer][column] where `asked`
// has them, of the positions of all `parts` one after the other.
void AppendTraceFields(std::string& out, const std::vector<uint32_t>& layers, const MemoryParams& asked,
                       std::initializer_list<const std::vector<PositionTrace>*> parts);

}  // namespace engram
