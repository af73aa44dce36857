// SPDX-License-Identifier: Apache-2.0
#include "http/completions.h"

#include <unordered_set>

#include "core/json_text.h"
#include "http/generation_params.h"
#include "http/generation_reply.h"
#include "http/json_out.h"

namespace engram {
namespace {

// OpenAI's default for this endpoint.
constexpr uint32_t kDefaultMaxTokens = 16;

void AppendLogprobs(std::string& out, const std::vector<ReportedToken>& tokens, const Tokenizer& tokenizer) {
  auto append_list = [&](const char* name, auto append_item) {
    out += name;
    out += '[';
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) out += ',';
      append_item(tokens[i]);
    }
    out += ']';
  };
  out += '{';
  append_list("\"tokens\":", [&](const ReportedToken& token) { out += JsonQuote(TokenText(tokenizer, token.id)); });
  append_list(",\"token_logprobs\":", [&](const ReportedToken& token) {
    if (!token.logprob) {
      out += "null";
    } else {
      AppendFloat(out, token.logprob->logprob);
    }
  });
  append_list(",\"top_logprobs\":", [&](const ReportedToken& token) {
    if (!token.logprob) {
      out += "null";
      return;
    }
    // An object by text: of tokens that read the same, the likeliest is shown. The token itself is always there.
    std::unordered_set<std::string> seen;
    out += '{';
    auto append_entry = [&](int32_t id, float logprob) {
      std::string text = TokenText(tokenizer, id);
      if (!seen.insert(text).second) return;
      if (seen.size() > 1) out += ',';
      out += JsonQuote(text) + ":";
      AppendFloat(out, logprob);
    };
    for (const auto& [id, logprob] : token.logprob->top) append_entry(id, logprob);
    append_entry(token.id, token.logprob->logprob);
    out += '}';
  });
  append_list(",\"text_offset\":",
              [&](const ReportedToken& token) { AppendInt(out, static_cast<int64_t>(token.text_offset)); });
  out += '}';
}

class CompletionStyle final : public ChoiceStyle {
 public:
  std::string_view id_prefix() const override { return "cmpl-"; }
  std::string_view object(bool) const override { return "text_completion"; }
  void AppendFields(std::string& out, const ChoicePart& part, const ReplyShape& shape,
                    const Tokenizer& tokenizer) const override {
    out += "\"text\":" + JsonQuote(part.text) + ",\"logprobs\":";
    if (shape.logprobs && !(shape.stream && part.tokens.empty())) {
      AppendLogprobs(out, part.tokens, tokenizer);
    } else {
      out += "null";
    }
    out += ',';
  }
};

const CompletionStyle kStyle;

std::optional<uint32_t> ReadLogprobs(JsonFields& fields) {
  const boost::json::value* value = fields.Value("logprobs");
  if (value != nullptr && value->is_bool() && !value->get_bool()) return std::nullopt;
  const auto number = fields.OptionalInt("logprobs", 0, kMaxLogprobs);
  if (!number) return std::nullopt;
  return static_cast<uint32_t>(*number);
}

}  // namespace

std::optional<ApiError> ReadCompletion(JsonFields& fields, const HttpOptions& options, const EngineDirectory& engines,
                                       GenerationCall& call) {
  auto engine = FindEngine(fields, engines);
  if (!engine) return engine.error();
  const Model& model = (*engine)->model();
  const ModelLimits limits = LimitsOf(model);

  GenerationParams params = ReadGenerationParams(fields, limits);
  params.echo = fields.Bool("echo", false);
  params.request.logprobs = ReadLogprobs(fields);
  params.request.prompt_logprobs = params.echo && params.request.logprobs.has_value();
  const bool add_special_tokens = fields.Bool("add_special_tokens", true);
  const boost::json::value* prompt = fields.Value("prompt");
  if (prompt == nullptr) fields.Fail("prompt", "is required");
  Status status = fields.Finish();
  if (!status) return status.error();
  auto prompts = ReadPrompts(*prompt, model.tokenizer(), add_special_tokens, limits, options.max_prompts);
  if (!prompts) return prompts.error();

  if (auto error = ConstrainFormat(params.format, model, params.request)) return error;
  for (std::vector<int32_t>& ids : *prompts) {
    GenerationRequest one = params.request;
    one.prompt = std::move(ids);
    if (auto error = SetLength(params, limits, kDefaultMaxTokens, one)) return error;
    call.prompts.push_back(std::move(one));
  }
  call.shape = {params.request.logprobs.has_value(), params.return_token_ids, params.stream, params.include_usage,
                params.echo};
  call.style = &kStyle;
  call.engine = std::move(*engine);
  return std::nullopt;
}

}  // namespace engram
