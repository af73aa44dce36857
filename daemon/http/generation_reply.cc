// SPDX-License-Identifier: Apache-2.0
#include "http/generation_reply.h"

#include <algorithm>
#include <ctime>
#include <limits>

#include "core/json_text.h"
#include "http/api_error.h"
#include "http/event_queue.h"
#include "http/json_out.h"
#include "http/response_head.h"

namespace engram {
namespace {

size_t CountCodePoints(std::string_view bytes) {
  return static_cast<size_t>(
      std::count_if(bytes.begin(), bytes.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

class GenerationReply final : public ReplySource {
 public:
  GenerationReply(std::shared_ptr<Engine> engine, std::vector<GenerationRequest> prompts, const ReplyShape& shape,
                  const ChoiceStyle& style, uint32_t max_events_behind);
  ~GenerationReply() override;

  Status Submit();
  void Start(std::function<void()> wake) override { queue_->SetWake(std::move(wake)); }
  Step Poll() override;

 private:
  struct Prompt {
    GenerationRequest request;
    GenerationId id = 0;
    std::vector<std::optional<TokenLogprob>> logprobs;  // [tokens] if asked for
    std::vector<PositionTrace> traces;                  // [tokens] if asked for
    bool done = false;
  };
  struct Choice {
    ChoicePart whole;  // of a reply that is not streamed
    bool started = false;
    bool sent = false;  // a chunk of it
    size_t text_offset = 0;
    std::vector<PositionTrace> traces;
  };

  const Tokenizer& tokenizer() const { return engine_->model().tokenizer(); }
  bool reports_tokens() const { return shape_.logprobs || shape_.return_token_ids; }
  bool finished() const { return num_prompts_done_ == prompts_.size(); }
  void Handle(uint32_t prompt_index, GenerationEvent& event);
  void StartChoice(uint32_t index);
  void AddToken(ChoicePart& part, Choice& choice, int32_t id, bool is_prompt, std::optional<TokenLogprob> logprob);
  void Emit(ChoicePart part);
  void AppendChoice(std::string& out, const ChoicePart& part);
  void AppendTraces(std::string& out, const Prompt& prompt, const Choice& choice) const;
  void AppendUsage(std::string& out) const;
  void AppendChunk(const ChoicePart* part, bool last);
  std::string WholeBody();

  const std::shared_ptr<Engine> engine_;
  const ReplyShape shape_;
  const ChoiceStyle& style_;
  const uint32_t num_choices_;  // per prompt
  const std::shared_ptr<EventQueue> queue_;
  std::vector<Prompt> prompts_;
  std::vector<Choice> choices_;  // [prompts][num_choices]
  std::string prefix_;           // {"id":..,"object":..,"created":..,"model":..

  bool head_sent_ = false;
  std::string data_;  // server-sent events to go out
  std::optional<ChoicePart> held_;
  size_t num_choices_done_ = 0;
  size_t num_prompts_done_ = 0;
  Usage usage_;
  uint64_t memory_version_ = 0;
  std::optional<ApiError> error_;
};

GenerationReply::GenerationReply(std::shared_ptr<Engine> engine, std::vector<GenerationRequest> prompts,
                                 const ReplyShape& shape, const ChoiceStyle& style, uint32_t max_events_behind)
    : engine_(std::move(engine)),
      shape_(shape),
      style_(style),
      num_choices_(prompts.front().num_choices),
      // A whole reply is kept until its end anyway: only a stream has a reader that can fall behind.
      queue_(std::make_shared<EventQueue>(shape.stream ? size_t{max_events_behind} * num_choices_ * prompts.size()
                                                       : std::numeric_limits<size_t>::max())),
      choices_(prompts.size() * num_choices_) {
  prompts_.resize(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) prompts_[i].request = std::move(prompts[i]);
  for (size_t i = 0; i < choices_.size(); ++i) choices_[i].whole.index = static_cast<uint32_t>(i);
  prefix_ = "{\"id\":\"" + std::string(style.id_prefix()) + RandomHex() + "\",\"object\":\"" +
            std::string(style.object(shape.stream)) + "\",\"created\":" + std::to_string(std::time(nullptr)) +
            ",\"model\":" + JsonQuote(engine_->model().name());
}

GenerationReply::~GenerationReply() {
  queue_->Detach();
  for (const Prompt& prompt : prompts_)
    if (prompt.id != 0 && !prompt.done) engine_->Cancel(prompt.id);
}

Status GenerationReply::Submit() {
  for (uint32_t i = 0; i < prompts_.size(); ++i) {
    GenerationRequest request = prompts_[i].request;
    ENGRAM_TRY(prompts_[i].id, engine_->Submit(std::move(request), std::make_shared<QueueListener>(queue_, i)));
  }
  return {};
}

ReplySource::Step GenerationReply::Poll() {
  bool overflowed = false;
  std::vector<EventQueue::Item> items = queue_->TakeAll(overflowed);
  for (EventQueue::Item& item : items) {
    Handle(item.prompt, item.event);
    if (error_) break;
  }
  if (overflowed && !error_) {
    error_.emplace(503, "the stream was cancelled: the client reads too slowly");
  }
  Step step;
  if (error_) {
    step.done = true;
    if (!head_sent_) {
      step.head = ErrorResponse(*error_);
      return step;
    }
    step.data = std::move(data_) + "data: " + ErrorJson(*error_) + "\n\n";
    return step;
  }
  if (!shape_.stream) {
    if (!finished()) return step;
    step.done = true;
    step.head.emplace();
    step.head->body = WholeBody();
    return step;
  }
  if (finished()) {
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

void GenerationReply::Handle(uint32_t prompt_index, GenerationEvent& event) {
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
  const uint32_t index = prompt_index * num_choices_ + event.choice;
  Choice& choice = choices_[index];
  StartChoice(index);
  std::move(event.traces.begin(), event.traces.end(), std::back_inserter(choice.traces));
  ChoicePart part;
  part.index = index;
  part.text = std::move(event.text);
  if (event.kind == GenerationEvent::Kind::kToken) {
    AddToken(part, choice, event.token, false, std::move(event.logprob));
    Emit(std::move(part));
    return;
  }
  ++num_choices_done_;
  part.finish_reason = event.finish_reason;
  part.stop_token = event.stop_token;
  if (event.finish_reason == FinishReason::kCancelled) {
    error_.emplace(Unavailable("the generation was cancelled by the server, which is shutting down or overloaded"));
    return;
  }
  // The end of the last choice waits for kDone, which comes right after it and brings the memory version.
  if (shape_.stream && num_choices_done_ == choices_.size()) {
    held_ = std::move(part);
  } else {
    Emit(std::move(part));
  }
}

// What comes before a choice's first token: the prompt, if it is to be echoed.
void GenerationReply::StartChoice(uint32_t index) {
  Choice& choice = choices_[index];
  if (choice.started) return;
  choice.started = true;
  if (!shape_.echo) return;
  const Prompt& prompt = prompts_[index / num_choices_];
  ChoicePart part;
  part.index = index;
  part.text = tokenizer().Decode(prompt.request.prompt, prompt.request.skip_special_tokens);
  if (shape_.logprobs) {
    for (size_t i = 0; i < prompt.request.prompt.size(); ++i) {
      AddToken(part, choice, prompt.request.prompt[i], true,
               i < prompt.logprobs.size() ? prompt.logprobs[i] : std::nullopt);
    }
  }
  Emit(std::move(part));
}

void GenerationReply::AddToken(ChoicePart& part, Choice& choice, int32_t id, bool is_prompt,
                               std::optional<TokenLogprob> logprob) {
  if (!reports_tokens()) return;
  part.tokens.push_back({id, is_prompt, choice.text_offset, std::move(logprob)});
  const bool hidden = prompts_.front().request.skip_special_tokens && tokenizer().IsSpecial(id);
  if (!hidden) choice.text_offset += CountCodePoints(tokenizer().TokenBytes(id));
}

// Sends a part on, or keeps it for the whole reply.
void GenerationReply::Emit(ChoicePart part) {
  if (shape_.stream) {
    if (part.text.empty() && part.tokens.empty() && !part.finish_reason) return;
    AppendChunk(&part, false);
    return;
  }
  ChoicePart& whole = choices_[part.index].whole;
  whole.text += part.text;
  std::move(part.tokens.begin(), part.tokens.end(), std::back_inserter(whole.tokens));
  if (part.finish_reason) {
    whole.finish_reason = part.finish_reason;
    whole.stop_token = part.stop_token;
  }
}

void GenerationReply::AppendChoice(std::string& out, const ChoicePart& part) {
  Choice& choice = choices_[part.index];
  const Prompt& prompt = prompts_[part.index / num_choices_];
  out += "{\"index\":" + std::to_string(part.index) + ",";
  style_.AppendFields(out, part, shape_, tokenizer());
  if (shape_.return_token_ids) {
    if (part.first) {
      out += "\"prompt_token_ids\":";
      AppendInts(out, prompt.request.prompt);
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
  if (part.finish_reason && (prompt.request.memory.gates || prompt.request.memory.rows)) {
    AppendTraces(out, prompt, choice);
  }
  out += "\"finish_reason\":";
  if (!part.finish_reason) {
    out += "null";
  } else {
    out += *part.finish_reason == FinishReason::kLength ? "\"length\"" : "\"stop\"";
  }
  out += '}';
}

// "engram": {"layers": [..], "gates": [position][layer][stream], "rows": [position][layer][column]}, prompt first.
void GenerationReply::AppendTraces(std::string& out, const Prompt& prompt, const Choice& choice) const {
  const std::vector<uint32_t>& layers = engine_->model().backbone().info().engram_layers;
  auto append_positions = [&](const char* name, auto get, auto append_value) {
    out += std::string(",\"") + name + "\":[";
    bool first_position = true;
    for (const auto* traces : {&prompt.traces, &choice.traces}) {
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
  out += "\"engram\":{\"layers\":[";
  for (size_t i = 0; i < layers.size(); ++i) {
    if (i > 0) out += ',';
    AppendInt(out, layers[i]);
  }
  out += ']';
  if (prompt.request.memory.gates) {
    append_positions(
        "gates", [](const PositionTrace& trace) -> const auto& { return trace.gates; },
        [&](float gate) { AppendFloat(out, gate); });
  }
  if (prompt.request.memory.rows) {
    append_positions(
        "rows", [](const PositionTrace& trace) -> const auto& { return trace.rows; },
        [&](uint64_t row) { AppendInt(out, static_cast<int64_t>(row)); });
  }
  out += "},";
}

void GenerationReply::AppendUsage(std::string& out) const {
  out += ",\"usage\":{\"prompt_tokens\":" + std::to_string(usage_.prompt_tokens) +
         ",\"completion_tokens\":" + std::to_string(usage_.completion_tokens) +
         ",\"total_tokens\":" + std::to_string(uint64_t{usage_.prompt_tokens} + usage_.completion_tokens) +
         ",\"prompt_tokens_details\":{\"cached_tokens\":" + std::to_string(usage_.cached_tokens) + "}}";
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
    AppendUsage(data_);
  } else if (shape_.include_usage) {
    data_ += ",\"usage\":null";
  }
  if (last) data_ += ",\"engram\":{\"memory_version\":" + std::to_string(memory_version_) + "}";
  data_ += "}\n\n";
}

std::string GenerationReply::WholeBody() {
  std::string out = prefix_ + ",\"choices\":[";
  for (Choice& choice : choices_) {
    choice.whole.first = true;
    if (choice.whole.index > 0) out += ',';
    AppendChoice(out, choice.whole);
  }
  out += ']';
  AppendUsage(out);
  out += ",\"engram\":{\"memory_version\":" + std::to_string(memory_version_) + "}}\n";
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

Result<std::unique_ptr<ReplySource>> StartGeneration(std::shared_ptr<Engine> engine,
                                                     std::vector<GenerationRequest> prompts, const ReplyShape& shape,
                                                     const ChoiceStyle& style, uint32_t max_events_behind) {
  auto reply =
      std::make_unique<GenerationReply>(std::move(engine), std::move(prompts), shape, style, max_events_behind);
  ENGRAM_CHECK_OK(reply->Submit());
  return std::unique_ptr<ReplySource>(std::move(reply));
}

}  // namespace engram
