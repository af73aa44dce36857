// SPDX-License-Identifier: Apache-2.0
#include "http/chat.h"

#include <boost/json/object.hpp>

#include "core/json_text.h"
#include "http/chat_tools.h"
#include "http/generation_params.h"
#include "http/generation_reply.h"
#include "http/json_out.h"

namespace engram {
namespace {

namespace json = boost::json;

// Without max_tokens a chat answer may fill the context, but not reserve more of the KV cache than this.
constexpr uint32_t kDefaultMaxTokens = 1024;

void AppendTokenLogprob(std::string& out, const Tokenizer& tokenizer, int32_t id, float logprob) {
  out += "{\"token\":" + JsonQuote(TokenText(tokenizer, id)) + ",\"logprob\":";
  AppendFloat(out, logprob);
  out += ",\"bytes\":[";
  const std::string_view bytes = tokenizer.TokenBytes(id);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) out += ',';
    AppendInt(out, static_cast<unsigned char>(bytes[i]));
  }
  out += ']';
}

void AppendLogprobs(std::string& out, const std::vector<ReportedToken>& tokens, const Tokenizer& tokenizer) {
  out += "{\"content\":[";
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += ',';
    const TokenLogprob logprob = tokens[i].logprob.value_or(TokenLogprob{});
    AppendTokenLogprob(out, tokenizer, tokens[i].id, logprob.logprob);
    out += ",\"top_logprobs\":[";
    for (size_t j = 0; j < logprob.top.size(); ++j) {
      if (j > 0) out += ',';
      AppendTokenLogprob(out, tokenizer, logprob.top[j].first, logprob.top[j].second);
      out += '}';
    }
    out += "]}";
  }
  out += "],\"refusal\":null}";
}

class ChatStyle final : public ChoiceStyle {
 public:
  std::string_view id_prefix() const override { return "chatcmpl-"; }
  std::string_view object(bool streamed) const override {
    return streamed ? "chat.completion.chunk" : "chat.completion";
  }
  void AppendFields(std::string& out, const ChoicePart& part, const ReplyShape& shape,
                    const Tokenizer& tokenizer) const override {
    // An answer of calls alone has no content.
    const std::string content = part.text.empty() && !part.tool_calls.empty() ? "null" : JsonQuote(part.text);
    if (!shape.stream) {
      out += "\"message\":{\"role\":\"assistant\",\"content\":" + content + ",\"refusal\":null";
      if (!part.tool_calls.empty()) AppendToolCalls(out, part.tool_calls, false);
      out += '}';
    } else {
      out += "\"delta\":{";
      if (part.first) out += "\"role\":\"assistant\",";
      if (part.first || !part.text.empty()) out += "\"content\":" + content + ",";
      if (out.back() == ',') out.pop_back();
      if (!part.tool_calls.empty()) AppendToolCalls(out, part.tool_calls, true);
      out += '}';
    }
    out += ",\"logprobs\":";
    if (shape.logprobs && !(shape.stream && part.tokens.empty())) {
      AppendLogprobs(out, part.tokens, tokenizer);
    } else {
      out += "null";
    }
    out += ',';
  }
};

const ChatStyle kStyle;

std::optional<uint32_t> ReadLogprobs(JsonFields& fields) {
  const bool wanted = fields.Bool("logprobs", false);
  const auto top = fields.OptionalInt("top_logprobs", 0, kMaxLogprobs);
  if (top && *top > 0 && !wanted) fields.Fail("top_logprobs", "is only allowed with \"logprobs\": true");
  if (!wanted) return std::nullopt;
  return static_cast<uint32_t>(top.value_or(0));
}

// The variables of the template but tools: messages, add_generation_prompt, and chat_template_kwargs over them.
json::object ReadTemplateVariables(JsonFields& fields) {
  json::object variables;
  auto messages = ReadMessages(fields.Value("messages"));
  if (!messages) {
    fields.Fail(std::move(messages).error());
  } else {
    variables["messages"] = std::move(*messages);
  }
  variables["add_generation_prompt"] = fields.Bool("add_generation_prompt", true);
  if (const json::object* more = fields.Object("chat_template_kwargs")) {
    for (const auto& entry : *more) {
      if (entry.key() == "messages" || entry.key() == "tools") {
        fields.Fail("chat_template_kwargs." + std::string(entry.key()), "cannot be set here");
      } else {
        variables[entry.key()] = entry.value();
      }
    }
  }
  return variables;
}

}  // namespace

std::optional<ApiError> ReadChat(JsonFields& fields, const EngineDirectory& engines, GenerationCall& call) {
  auto engine = FindEngine(fields, engines);
  if (!engine) return engine.error();
  const Model& model = (*engine)->model();
  const ModelLimits limits = LimitsOf(model);

  GenerationParams params = ReadGenerationParams(fields, limits);
  if (const auto n = fields.OptionalInt("max_completion_tokens", 0, std::numeric_limits<int32_t>::max())) {
    if (params.max_tokens && *params.max_tokens != *n) {
      fields.Fail("max_completion_tokens", "and max_tokens must not differ");
    }
    params.max_tokens = static_cast<uint32_t>(*n);
  }
  params.request.logprobs = ReadLogprobs(fields);
  json::object variables = ReadTemplateVariables(fields);
  const ToolParams tools = ReadToolParams(fields);
  Status status = fields.Finish();
  if (!status) return status.error();
  if (model.chat_template() == nullptr) {
    return ApiError(400, "model \"" + model.name() + "\" has no chat template; use /v1/completions", "model");
  }
  if (TakesTools(*model.chat_template())) {
    if (tools.tools != nullptr) variables["tools"] = *tools.tools;
  } else {
    WriteToolsAsText(tools, ToolCallSyntax::OfTemplate(model.chat_template()->source()),
                     variables["messages"].as_array());
  }
  if (auto error = tools.tools != nullptr ? ConstrainTools(tools, params.format, model, params.request, call)
                                          : ConstrainFormat(params.format, model, params.request))
    return error;
  // Whatever goes wrong in a template, its size and its own exceptions included, comes from these messages.
  auto text = model.chat_template()->Render(variables);
  if (!text) return ApiError(400, "chat template: " + text.error().message, "messages");
  GenerationRequest generation = std::move(params.request);
  auto ids = model.tokenizer().Encode(*text, false);
  if (!ids) return ApiError(400, ids.error().message, "messages");
  if (ids->empty()) return ApiError(400, "the chat template made an empty prompt", "messages");
  generation.prompt = std::move(*ids);
  if (auto error = SetLength(params, limits, kDefaultMaxTokens, generation)) {
    if (error->param == "prompt") error->param = "messages";
    return error;
  }
  call.shape = {generation.logprobs.has_value(), params.return_token_ids, params.stream, params.include_usage, false};
  call.prompts.push_back(std::move(generation));
  call.style = &kStyle;
  call.engine = std::move(*engine);
  return std::nullopt;
}

}  // namespace engram
