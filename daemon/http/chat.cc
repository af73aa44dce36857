// SPDX-License-Identifier: Apache-2.0
#include "http/chat.h"

#include <boost/json/object.hpp>

#include "core/json_text.h"
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
    if (!shape.stream) {
      out += "\"message\":{\"role\":\"assistant\",\"content\":" + JsonQuote(part.text) + ",\"refusal\":null}";
    } else {
      out += "\"delta\":{";
      if (part.first) out += "\"role\":\"assistant\",";
      if (part.first || !part.text.empty()) out += "\"content\":" + JsonQuote(part.text) + ",";
      if (out.back() == ',') out.pop_back();
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

// The variables of the template: messages, tools, add_generation_prompt, and chat_template_kwargs over them.
json::object ReadTemplateVariables(JsonFields& fields) {
  json::object variables;
  auto messages = ReadMessages(fields.Value("messages"));
  if (!messages) {
    fields.Fail(std::move(messages).error());
  } else {
    variables["messages"] = std::move(*messages);
  }
  variables["add_generation_prompt"] = fields.Bool("add_generation_prompt", true);
  const json::value* tools = fields.Value("tools");
  if (tools != nullptr && !tools->is_array()) {
    fields.Fail("tools", std::string("must be a list, not ") + JsonKindName(*tools));
    tools = nullptr;
  }
  const json::value* choice = fields.Value("tool_choice");
  bool use_tools = tools != nullptr && !tools->get_array().empty();
  if (choice != nullptr) {
    if (!choice->is_string() || (choice->get_string() != "none" && choice->get_string() != "auto")) {
      fields.Fail("tool_choice", "must be \"none\" or \"auto\": forced calls are not supported");
    } else if (choice->get_string() == "none") {
      use_tools = false;
    }
  }
  if (use_tools) {
    const json::array& list = tools->get_array();
    for (size_t i = 0; i < list.size(); ++i) {
      if (!list[i].is_object()) fields.Fail("tools[" + std::to_string(i) + "]", "must be an object");
    }
    variables["tools"] = list;
  }
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
  const json::object variables = ReadTemplateVariables(fields);
  Status status = fields.Finish();
  if (!status) return status.error();
  if (model.chat_template() == nullptr) {
    return ApiError(400, "model \"" + model.name() + "\" has no chat template; use /v1/completions", "model");
  }
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
