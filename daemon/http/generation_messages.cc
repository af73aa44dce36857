// SPDX-License-Identifier: Apache-2.0
#include "http/generation_messages.h"

#include "core/json_text.h"
#include "http/generation_reply.h"
#include "http/json_out.h"
#include "serve/engine_metrics.h"

namespace engram {
namespace {

// The prompt and every token are messages of their own here, whatever the fields for the HTTP answers say.
ReplyShape MessageShape(const ReplyShape& asked) {
  ReplyShape shape;
  shape.logprobs = asked.logprobs;
  shape.return_token_ids = true;
  shape.stream = true;
  return shape;
}

GenerationCall WithShape(GenerationCall call, const ReplyShape& shape) {
  call.shape = shape;
  return call;
}

void AppendLogprob(std::string& out, const Tokenizer& tokenizer, const TokenLogprob& logprob) {
  out += ",\"logprob\":";
  AppendFloat(out, logprob.logprob);
  if (logprob.top.empty()) return;
  out += ",\"top\":[";
  for (size_t i = 0; i < logprob.top.size(); ++i) {
    const auto& [id, value] = logprob.top[i];
    if (i > 0) out += ',';
    out += "{\"token\":" + std::to_string(id) + ",\"text\":" + JsonQuote(TokenText(tokenizer, id)) + ",\"logprob\":";
    AppendFloat(out, value);
    out += '}';
  }
  out += ']';
}

}  // namespace

std::string ErrorMessage(std::string_view id, const ApiError& error) {
  std::string out = "{\"type\":\"error\",";
  if (!id.empty()) out += "\"id\":" + JsonQuote(id) + ",";
  // {"error": {..}}
  out += ErrorJson(error).substr(1);
  return out;
}

GenerationMessages::GenerationMessages(std::string id, GenerationCall call, uint32_t max_events_behind)
    : id_(std::move(id)),
      asked_(call.shape),
      run_(WithShape(std::move(call), MessageShape(asked_)), max_events_behind),
      prompt_sent_(run_.num_prompts()),
      finish_reasons_(run_.num_choices(), "stop") {}

bool GenerationMessages::Poll(std::vector<std::string>& messages) {
  run_.Poll([&](ChoicePart part) { Take(std::move(part), messages); });
  if (run_.error()) {
    messages.push_back(ErrorMessage(id_, *run_.error()));
    return true;
  }
  if (!run_.finished()) return false;
  messages.push_back(DoneMessage());
  return true;
}

void GenerationMessages::Take(ChoicePart part, std::vector<std::string>& messages) {
  const GenerationRequest& request = run_.request(part.index);
  const uint32_t prompt = part.index / request.num_choices;
  if (!prompt_sent_[prompt]) {
    prompt_sent_[prompt] = true;
    if (asked_.echo || asked_.return_token_ids || request.memory.gates || request.memory.rows)
      messages.push_back(PromptMessage(part.index));
  }
  if (part.finish_reason) finish_reasons_[part.index] = FinishReasonOf(part);
  // The end of a choice may bring text that was held back, or the traces of its last token but one.
  if (part.finish_reason && part.text.empty() && part.tool_calls.empty() && part.traces.empty() && !part.skipped_from)
    return;
  messages.push_back(TokenMessage(part));
}

std::string GenerationMessages::Head(std::string_view type) const {
  return "{\"type\":\"" + std::string(type) + "\",\"id\":" + JsonQuote(id_);
}

std::string GenerationMessages::PromptMessage(uint32_t index) const {
  const GenerationRequest& request = run_.request(index);
  std::string out = Head("prompt") + ",\"prompt\":" + std::to_string(index / request.num_choices) + ",\"tokens\":";
  AppendInts(out, request.prompt);
  const Tokenizer& tokenizer = run_.model().tokenizer();
  if (asked_.echo) out += ",\"text\":" + JsonQuote(tokenizer.Decode(request.prompt, request.skip_special_tokens));
  if (asked_.echo && asked_.logprobs) {
    out += ",\"logprobs\":[";
    const auto& logprobs = run_.prompt_logprobs(index);
    for (size_t i = 0; i < logprobs.size(); ++i) {
      if (i > 0) out += ',';
      out += "{\"token\":" + std::to_string(request.prompt[i]);
      if (logprobs[i]) AppendLogprob(out, tokenizer, *logprobs[i]);
      out += '}';
    }
    out += ']';
  }
  if (request.memory.gates || request.memory.rows) {
    out += ',';
    AppendTraceFields(out, run_.model().backbone().info().engram_layers, request.memory, {&run_.prompt_traces(index)});
  }
  out += '}';
  return out;
}

std::string GenerationMessages::TokenMessage(const ChoicePart& part) const {
  std::string out = Head("token") + ",\"index\":" + std::to_string(part.index) + ",\"text\":" + JsonQuote(part.text);
  if (!part.tool_calls.empty()) AppendToolCalls(out, part.tool_calls, true);
  if (!part.tokens.empty()) {
    const ReportedToken& token = part.tokens.front();
    out += ",\"token\":" + std::to_string(token.id);
    if (token.logprob) AppendLogprob(out, run_.model().tokenizer(), *token.logprob);
  }
  if (!part.traces.empty()) {
    out += ',';
    AppendTraceFields(out, run_.model().backbone().info().engram_layers, run_.request(part.index).memory,
                      {&part.traces});
  }
  if (part.skipped_from)
    out +=
        ",\"skipped_from\":" + std::to_string(*part.skipped_from) + ",\"skip_reason\":" + JsonQuote(part.skip_reason);
  out += '}';
  return out;
}

std::string GenerationMessages::DoneMessage() const {
  const auto quoted = [](std::string_view reason) { return "\"" + std::string(reason) + "\""; };
  std::string out = Head("done") + ",\"finish_reason\":" + quoted(finish_reasons_.front());
  if (finish_reasons_.size() > 1) {
    out += ",\"finish_reasons\":[";
    for (size_t i = 0; i < finish_reasons_.size(); ++i) out += (i > 0 ? "," : "") + quoted(finish_reasons_[i]);
    out += ']';
  }
  out += ",\"usage\":" + UsageJson(run_.usage()) + ",\"memory_version\":" + std::to_string(run_.memory_version()) + "}";
  return out;
}

}  // namespace engram
