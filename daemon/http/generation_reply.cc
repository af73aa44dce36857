// SPDX-License-Identifier: Apache-2.0
#include "http/generation_reply.h"

#include <ctime>
#include <optional>
#include <vector>

#include "core/json_text.h"
#include "http/api_error.h"
#include "http/json_out.h"
#include "http/response_head.h"

namespace engram {
namespace {

class GenerationReply final : public ReplySource {
 public:
  GenerationReply(GenerationCall call, uint32_t max_events_behind);

  std::optional<ApiError> Submit() { return run_.Submit(); }
  void Start(std::function<void()> wake) override { run_.SetWake(std::move(wake)); }
  Step Poll() override;

 private:
  struct Choice {
    ChoicePart whole;   // of a reply that is not streamed
    bool sent = false;  // a chunk of it
    std::vector<PositionTrace> traces;
  };

  void Take(ChoicePart part);
  void AppendChoice(std::string& out, const ChoicePart& part);
  void AppendChunk(const ChoicePart* part, bool last);
  std::string WholeBody();

  GenerationRun run_;
  const ReplyShape& shape_;
  std::vector<Choice> choices_;
  std::string prefix_;  // {"id":..,"object":..,"created":..,"model":..

  bool head_sent_ = false;
  std::string data_;  // server-sent events to go out
  std::optional<ChoicePart> held_;
};

GenerationReply::GenerationReply(GenerationCall call, uint32_t max_events_behind)
    : run_(std::move(call), max_events_behind), shape_(run_.shape()), choices_(run_.num_choices()) {
  for (size_t i = 0; i < choices_.size(); ++i) choices_[i].whole.index = static_cast<uint32_t>(i);
  prefix_ = "{\"id\":\"" + std::string(run_.style().id_prefix()) + RandomHex() + "\",\"object\":\"" +
            std::string(run_.style().object(shape_.stream)) + "\",\"created\":" + std::to_string(std::time(nullptr)) +
            ",\"model\":" + JsonQuote(run_.model().name());
}

ReplySource::Step GenerationReply::Poll() {
  run_.Poll([this](ChoicePart part) { Take(std::move(part)); });
  Step step;
  if (run_.error()) {
    step.done = true;
    if (!head_sent_) {
      step.head = ErrorResponse(*run_.error());
      return step;
    }
    step.data = std::move(data_) + "data: " + ErrorJson(*run_.error()) + "\n\n";
    return step;
  }
  if (!shape_.stream) {
    if (!run_.finished()) return step;
    step.done = true;
    step.head.emplace();
    step.head->body = WholeBody();
    return step;
  }
  if (run_.finished()) {
    if (held_) AppendChunk(&*held_, true);
    if (shape_.include_usage) AppendChunk(nullptr, true);
    data_ += "data: [DONE]\n\n";
    step.done = true;
  }
  if (!head_sent_ && !data_.empty()) {
    head_sent_ = true;
    step.streamed = true;
    step.head.emplace();
    step.head->content_type = "text/event-stream; charset=utf-8";
    step.head->headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  }
  step.data.swap(data_);
  return step;
}

// Sends a part on, or keeps it for the whole reply.
void GenerationReply::Take(ChoicePart part) {
  Choice& choice = choices_[part.index];
  std::move(part.traces.begin(), part.traces.end(), std::back_inserter(choice.traces));
  if (shape_.stream) {
    // The end of the last choice waits for that of its generation, which comes right after it and brings the memory
    // version.
    if (part.finish_reason && run_.choices_finished()) {
      held_ = std::move(part);
    } else if (!part.text.empty() || !part.tokens.empty() || !part.tool_calls.empty() || part.finish_reason) {
      AppendChunk(&part, false);
    }
    return;
  }
  choice.whole.text += part.text;
  for (ToolCallPart& call : part.tool_calls) {
    if (call.index == choice.whole.tool_calls.size()) {
      choice.whole.tool_calls.push_back(std::move(call));
    } else {
      choice.whole.tool_calls[call.index].arguments += call.arguments;
    }
  }
  std::move(part.tokens.begin(), part.tokens.end(), std::back_inserter(choice.whole.tokens));
  if (part.finish_reason) {
    choice.whole.finish_reason = part.finish_reason;
    choice.whole.called_tools = part.called_tools;
    choice.whole.stop_token = part.stop_token;
    choice.whole.skipped_from = part.skipped_from;
    choice.whole.skip_reason = std::move(part.skip_reason);
  }
}

void GenerationReply::AppendChoice(std::string& out, const ChoicePart& part) {
  const GenerationRequest& request = run_.request(part.index);
  out += "{\"index\":" + std::to_string(part.index) + ",";
  run_.style().AppendFields(out, part, shape_, run_.model().tokenizer());
  if (shape_.return_token_ids) {
    if (part.first) {
      out += "\"prompt_token_ids\":";
      AppendInts(out, request.prompt);
      out += ',';
    }
    std::vector<int32_t> ids;
    for (const ReportedToken& token : part.tokens)
      if (!token.is_prompt) ids.push_back(token.id);
    if (part.stop_token) ids.push_back(*part.stop_token);
    out += "\"token_ids\":";
    AppendInts(out, ids);
    out += ',';
  }
  const bool traced = request.memory.gates || request.memory.rows;
  if (part.finish_reason && (traced || part.skipped_from)) {
    out += "\"engram\":{";
    AppendTraceFields(out, run_.model().backbone().info().engram_layers, request.memory,
                      {&run_.prompt_traces(part.index), &choices_[part.index].traces});
    if (part.skipped_from)
      out +=
          ",\"skipped_from\":" + std::to_string(*part.skipped_from) + ",\"skip_reason\":" + JsonQuote(part.skip_reason);
    out += "},";
  }
  out += "\"finish_reason\":";
  if (!part.finish_reason) {
    out += "null";
  } else {
    // One that failed is told by an error, which comes after it.
    const std::string_view reason = FinishReasonOf(part);
    out += "\"" + std::string(reason == "error" ? "stop" : reason) + "\"";
  }
  out += '}';
}

// One event; without `part`, the one with the usage.
void GenerationReply::AppendChunk(const ChoicePart* part, bool last) {
  data_ += "data: " + prefix_ + ",\"choices\":[";
  if (part != nullptr) {
    ChoicePart sent = *part;
    sent.first = !choices_[part->index].sent;
    choices_[part->index].sent = true;
    AppendChoice(data_, sent);
  }
  data_ += ']';
  if (part == nullptr) {
    data_ += ",\"usage\":" + UsageJson(run_.usage());
  } else if (shape_.include_usage) {
    data_ += ",\"usage\":null";
  }
  if (last) data_ += ",\"engram\":{\"memory_version\":" + std::to_string(run_.memory_version()) + "}";
  data_ += "}\n\n";
}

std::string GenerationReply::WholeBody() {
  std::string out = prefix_ + ",\"choices\":[";
  for (Choice& choice : choices_) {
    choice.whole.first = true;
    if (choice.whole.index > 0) out += ',';
    AppendChoice(out, choice.whole);
  }
  out += "],\"usage\":" + UsageJson(run_.usage());
  out += ",\"engram\":{\"memory_version\":" + std::to_string(run_.memory_version()) + "}}\n";
  return out;
}

}  // namespace

std::string TokenText(const Tokenizer& tokenizer, int32_t id) {
  const std::string_view bytes = tokenizer.TokenBytes(id);
  if (IsValidUtf8(bytes)) return std::string(bytes);
  std::string out = "bytes:";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += "\\x";
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

Reply StartGeneration(GenerationCall call, uint32_t max_events_behind) {
  auto reply = std::make_unique<GenerationReply>(std::move(call), max_events_behind);
  if (const auto refused = reply->Submit()) return ErrorResponse(*refused);
  return std::unique_ptr<ReplySource>(std::move(reply));
}

}  // namespace engram
