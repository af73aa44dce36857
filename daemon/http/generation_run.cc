// SPDX-License-Identifier: Apache-2.0
#include "http/generation_run.h"

#include <algorithm>
#include <limits>

#include "core/json_text.h"
#include "http/json_out.h"
#include "http/response_head.h"
#include "serve/engine_metrics.h"

namespace engram {
namespace {

size_t CountCodePoints(std::string_view bytes) {
  return static_cast<size_t>(
      std::count_if(bytes.begin(), bytes.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

GenerationRun::GenerationRun(GenerationCall call, size_t max_events_behind)
    : engine_(std::move(call.engine)),
      shape_(call.shape),
      style_(call.style),
      limiter_(std::move(call.limiter)),
      num_choices_(call.prompts.front().num_choices),
      // A whole reply is kept until its end anyway: only a stream has a reader that can fall behind.
      queue_(std::make_shared<EventQueue>(call.shape.stream ? max_events_behind * num_choices_ * call.prompts.size()
                                                            : std::numeric_limits<size_t>::max())),
      choices_(call.prompts.size() * num_choices_) {
  if (call.tool_calls)
    for (Choice& choice : choices_) choice.tool_calls.emplace(call.tool_calls->syntax, call.tool_calls->required);
  prompts_.resize(call.prompts.size());
  for (size_t i = 0; i < call.prompts.size(); ++i) prompts_[i].request = std::move(call.prompts[i]);
}

GenerationRun::~GenerationRun() {
  queue_->Detach();
  for (const Prompt& prompt : prompts_)
    if (prompt.id != 0 && !prompt.done) engine_->Cancel(prompt.id);
}

std::optional<ApiError> GenerationRun::Submit() {
  if (limiter_) {
    if (auto refused = limiter_->CheckTokens()) return refused;
  }
  uint64_t num_tokens = 0;
  for (uint32_t i = 0; i < prompts_.size(); ++i) {
    GenerationRequest request = prompts_[i].request;
    num_tokens += request.prompt.size();
    auto id = engine_->Submit(std::move(request), std::make_shared<QueueListener>(queue_, i));
    if (!id) return ApiError(id.error());
    prompts_[i].id = *id;
  }
  if (limiter_) limiter_->CountTokens(num_tokens);
  return std::nullopt;
}

void GenerationRun::Cancel() {
  cancelled_ = true;
  for (const Prompt& prompt : prompts_)
    if (!prompt.done) engine_->Cancel(prompt.id);
}

void GenerationRun::Poll(const std::function<void(ChoicePart)>& on_part) {
  bool overflowed = false;
  std::vector<EventQueue::Item> items = queue_->TakeAll(overflowed);
  for (EventQueue::Item& item : items) {
    if (error_) return;
    // The end that the queue itself brought about, which is told below.
    if (overflowed && item.event.kind == GenerationEvent::Kind::kChoiceDone &&
        item.event.finish_reason == FinishReason::kCancelled)
      break;
    Handle(item.prompt, item.event, on_part);
  }
  if (overflowed && !error_) error_.emplace(503, "the stream was cancelled: the client reads too slowly");
}

void GenerationRun::Handle(uint32_t prompt_index, GenerationEvent& event,
                           const std::function<void(ChoicePart)>& on_part) {
  Prompt& prompt = prompts_[prompt_index];
  if (event.kind == GenerationEvent::Kind::kPrompt) {
    prompt.logprobs = std::move(event.prompt_logprobs);
    prompt.traces = std::move(event.prompt_traces);
    return;
  }
  if (event.kind == GenerationEvent::Kind::kDone) {
    prompt.done = true;
    ++num_prompts_done_;
    usage_.prompt_tokens += event.usage.prompt_tokens;
    usage_.completion_tokens += event.usage.completion_tokens;
    usage_.cached_tokens += event.usage.cached_tokens;
    memory_version_ = std::max(memory_version_, event.memory_version);
    if (event.error) error_.emplace(*event.error);
    return;
  }
  ChoicePart part;
  part.index = prompt_index * num_choices_ + event.choice;
  if (std::optional<ChoicePart> echo = Echo(part.index)) on_part(std::move(*echo));
  part.text = std::move(event.text);
  TakeToolCalls(part, event.kind == GenerationEvent::Kind::kChoiceDone);
  part.traces = std::move(event.traces);
  if (event.kind == GenerationEvent::Kind::kToken) {
    if (limiter_) limiter_->CountTokens(1);
    AddToken(part, event.token, false, std::move(event.logprob));
    on_part(std::move(part));
    return;
  }
  ++num_choices_done_;
  if (event.finish_reason == FinishReason::kCancelled && !cancelled_) {
    error_.emplace(Unavailable("the generation was cancelled by the server, which is shutting down or overloaded"));
    return;
  }
  part.finish_reason = event.finish_reason;
  part.stop_token = event.stop_token;
  part.skipped_from = event.skipped_from;
  part.skip_reason = std::move(event.skip_reason);
  on_part(std::move(part));
}

void GenerationRun::TakeToolCalls(ChoicePart& part, bool last) {
  std::optional<ToolCallParser>& parser = choices_[part.index].tool_calls;
  if (!parser) return;
  ToolCallParser::Piece piece = parser->Push(part.text);
  if (last) piece.content += parser->Finish().content;
  part.text = std::move(piece.content);
  for (ToolCallParser::Delta& delta : piece.calls)
    part.tool_calls.push_back({delta.index, delta.name.empty() ? std::string() : "call_" + RandomHex(),
                               std::move(delta.name), std::move(delta.arguments)});
  part.called_tools = parser->num_calls() > 0;
}

// What comes before a choice's first token: the prompt, if it is to be echoed.
std::optional<ChoicePart> GenerationRun::Echo(uint32_t index) {
  Choice& choice = choices_[index];
  if (choice.started || !shape_.echo) return std::nullopt;
  choice.started = true;
  const Prompt& prompt = prompts_[index / num_choices_];
  ChoicePart part;
  part.index = index;
  part.text = tokenizer().Decode(prompt.request.prompt, prompt.request.skip_special_tokens);
  if (shape_.logprobs) {
    for (size_t i = 0; i < prompt.request.prompt.size(); ++i) {
      AddToken(part, prompt.request.prompt[i], true, i < prompt.logprobs.size() ? prompt.logprobs[i] : std::nullopt);
    }
  }
  return part;
}

void GenerationRun::AddToken(ChoicePart& part, int32_t id, bool is_prompt, std::optional<TokenLogprob> logprob) {
  if (!shape_.logprobs && !shape_.return_token_ids) return;
  size_t& text_offset = choices_[part.index].text_offset;
  part.tokens.push_back({id, is_prompt, text_offset, std::move(logprob)});
  const bool hidden = prompts_.front().request.skip_special_tokens && tokenizer().IsSpecial(id);
  if (!hidden) text_offset += CountCodePoints(tokenizer().TokenBytes(id));
}

std::string_view FinishReasonOf(const ChoicePart& part) {
  if (part.called_tools && part.finish_reason == FinishReason::kStop) return "tool_calls";
  return FinishReasonName(*part.finish_reason);
}

void AppendToolCalls(std::string& out, const std::vector<ToolCallPart>& calls, bool streamed) {
  if (out.back() != '{') out += ',';
  out += "\"tool_calls\":[";
  for (const ToolCallPart& call : calls) {
    if (out.back() != '[') out += ',';
    out += '{';
    if (streamed) out += "\"index\":" + std::to_string(call.index) + ",";
    if (!call.id.empty()) out += "\"id\":" + JsonQuote(call.id) + ",\"type\":\"function\",";
    out += "\"function\":{";
    if (!call.name.empty()) out += "\"name\":" + JsonQuote(call.name) + ",";
    out += "\"arguments\":" + JsonQuote(call.arguments) + "}}";
  }
  out += ']';
}

std::string UsageJson(const Usage& usage) {
  return "{\"prompt_tokens\":" + std::to_string(usage.prompt_tokens) +
         ",\"completion_tokens\":" + std::to_string(usage.completion_tokens) +
         ",\"total_tokens\":" + std::to_string(uint64_t{usage.prompt_tokens} + usage.completion_tokens) +
         ",\"prompt_tokens_details\":{\"cached_tokens\":" + std::to_string(usage.cached_tokens) + "}}";
}

void AppendTraceFields(std::string& out, const std::vector<uint32_t>& layers, const MemoryParams& asked,
                       std::initializer_list<const std::vector<PositionTrace>*> parts) {
  auto append_positions = [&](const char* name, auto get, auto append_value) {
    out += std::string(",\"") + name + "\":[";
    bool first_position = true;
    for (const auto* traces : parts) {
      for (const PositionTrace& trace : *traces) {
        const auto& values = get(trace);
        out += first_position ? "[" : ",[";
        first_position = false;
        const size_t width = layers.empty() ? 0 : values.size() / layers.size();
        for (size_t layer = 0; layer < layers.size() && width > 0; ++layer) {
          out += layer == 0 ? "[" : ",[";
          for (size_t i = 0; i < width; ++i) {
            if (i > 0) out += ',';
            append_value(values[layer * width + i]);
          }
          out += ']';
        }
        out += ']';
      }
    }
    out += ']';
  };
  out += "\"layers\":[";
  for (size_t i = 0; i < layers.size(); ++i) {
    if (i > 0) out += ',';
    AppendInt(out, layers[i]);
  }
  out += ']';
  if (asked.gates) {
    append_positions(
        "gates", [](const PositionTrace& trace) -> const auto& { return trace.gates; },
        [&](float gate) { AppendFloat(out, gate); });
  }
  if (asked.rows) {
    append_positions(
        "rows", [](const PositionTrace& trace) -> const auto& { return trace.rows; },
        [&](uint64_t row) { AppendInt(out, static_cast<int64_t>(row)); });
  }
}

}  // namespace engram
