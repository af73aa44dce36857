// SPDX-License-Identifier: Apache-2.0
#include "http/generation_params.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "http/chat_tools.h"

namespace engram {
namespace {

namespace json = boost::json;

constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxLogitBias = 1024;
constexpr int64_t kMaxChoices = 128;

std::vector<std::string> ReadStops(JsonFields& fields) {
  const json::value* value = fields.Value("stop");
  std::vector<std::string> stops;
  auto add = [&](const json::value& item, const std::string& field) {
    if (!item.is_string()) {
      fields.Fail(field, std::string("must be a string, not ") + JsonKindName(item));
    } else if (item.get_string().empty() || item.get_string().size() > kMaxStopBytes) {
      fields.Fail(field, "must have 1 to " + std::to_string(kMaxStopBytes) + " bytes");
    } else {
      stops.emplace_back(item.get_string());
    }
  };
  if (value == nullptr) return stops;
  if (!value->is_array()) {
    if (!value->is_string()) {
      fields.Fail("stop", std::string("must be a string or a list of strings, not ") + JsonKindName(*value));
    } else {
      add(*value, "stop");
    }
    return stops;
  }
  const json::array& items = value->get_array();
  if (items.size() > kMaxStops) fields.Fail("stop", "must have at most " + std::to_string(kMaxStops) + " strings");
  for (size_t i = 0; i < items.size() && i < kMaxStops; ++i) add(items[i], "stop[" + std::to_string(i) + "]");
  return stops;
}

std::vector<std::pair<int32_t, float>> ReadLogitBias(JsonFields& fields, const ModelLimits& limits) {
  std::vector<std::pair<int32_t, float>> biases;
  const json::object* object = fields.Object("logit_bias");
  if (object == nullptr) return biases;
  if (object->size() > kMaxLogitBias) {
    fields.Fail("logit_bias", "must have at most " + std::to_string(kMaxLogitBias) + " entries");
    return biases;
  }
  for (const auto& entry : *object) {
    const std::string_view key(entry.key().data(), entry.key().size());
    int32_t id = -1;
    const auto [end, ec] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (ec != std::errc() || end != key.data() + key.size() || id < 0 || id >= limits.vocab_size) {
      fields.Fail("logit_bias", "has key \"" + std::string(key.substr(0, 40)) + "\"; keys are token ids from 0 to " +
                                    std::to_string(limits.vocab_size - 1));
      return biases;
    }
    if (!entry.value().is_number()) {
      fields.Fail("logit_bias." + std::string(key),
                  std::string("must be a number, not ") + JsonKindName(entry.value()));
      return biases;
    }
    const double bias = entry.value().to_number<double>();
    if (!(bias >= -100 && bias <= 100)) fields.Fail("logit_bias." + std::string(key), "must be from -100 to 100");
    biases.emplace_back(id, static_cast<float>(bias));
  }
  return biases;
}

}  // namespace

void ReadMemoryParams(JsonFields& fields, MemoryParams& memory) {
  const json::object* object = fields.Object("engram");
  if (object == nullptr) return;
  JsonFields engram(*object, "engram");
  memory.enabled = engram.Bool("enabled", true);
  memory.gates = engram.Bool("gates", false);
  memory.rows = engram.Bool("rows", false);
  if (const json::value* overlays = engram.Value("overlays")) {
    if (!overlays->is_array()) {
      engram.Fail("overlays", std::string("must be a list of names, not ") + JsonKindName(*overlays));
    } else {
      for (size_t i = 0; i < overlays->get_array().size() && !engram.failed(); ++i) {
        const json::value& name = overlays->get_array()[i];
        const std::string field = "overlays[" + std::to_string(i) + "]";
        if (name.is_string()) {
          memory.overlays.emplace_back(name.get_string());
        } else {
          engram.Fail(field, std::string("must be a string, not ") + JsonKindName(name));
        }
      }
    }
  }
  if (const auto as_of = engram.OptionalInt("as_of", 0, std::numeric_limits<int64_t>::max()))
    memory.as_of = static_cast<uint64_t>(*as_of);
  const std::string on_error = engram.String("on_error", "fail");
  memory.skip_on_error = on_error == "skip";
  if (!memory.skip_on_error && on_error != "fail") engram.Fail("on_error", "must be \"fail\" or \"skip\"");
  Status status = engram.Finish();
  if (!status) fields.Fail(std::move(status).error());
}

void AttachKeyOverlays(const AccessKey* key, JsonFields& fields, const Model& model, MemoryParams& memory) {
  if (key == nullptr || !memory.enabled || model.memory() == nullptr) return;
  const json::object* engram = fields.Object("engram");
  const json::value* named = engram == nullptr ? nullptr : engram->if_contains("overlays");
  if (named == nullptr || named->is_null()) memory.overlays = key->overlays;
}

namespace {

// Fields that only one of their values makes sense here.
void ReadFixedFields(JsonFields& fields, uint32_t num_choices) {
  if (const auto best_of = fields.OptionalInt("best_of", 1, kMaxChoices); best_of && *best_of != num_choices) {
    fields.Fail("best_of", "is only supported when it equals n");
  }
  if (!fields.String("suffix", "").empty()) fields.Fail("suffix", "is not supported");
  // What SDKs send and what changes nothing here.
  fields.Accept({"user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier",
                 "prompt_cache_key", "prompt_cache_retention"});
}

ApiError ContextLengthExceeded(std::string message, std::string param) {
  return ApiError(400, std::move(message), std::move(param), "context_length_exceeded");
}

}  // namespace

ModelLimits LimitsOf(const Model& model) {
  const BackboneInfo& info = model.backbone().info();
  return {static_cast<int32_t>(info.vocab_size), info.max_positions};
}

Result<std::shared_ptr<Engine>> FindEngine(JsonFields& fields, const EngineDirectory& engines) {
  const std::string name = fields.String("model", "");
  if (fields.failed()) return fields.Finish().error();
  return engines.Find(name);
}

GenerationParams ReadGenerationParams(JsonFields& fields, const ModelLimits& limits) {
  GenerationParams params;
  GenerationRequest& request = params.request;
  if (const auto n = fields.OptionalInt("max_tokens", 0, std::numeric_limits<int32_t>::max())) {
    params.max_tokens = static_cast<uint32_t>(*n);
  }
  params.stream = fields.Bool("stream", false);
  if (const json::object* options = fields.Object("stream_options")) {
    JsonFields inner(*options, "stream_options");
    params.include_usage = inner.Bool("include_usage", false);
    inner.Accept({"include_obfuscation"});
    Status status = inner.Finish();
    if (!status) fields.Fail(std::move(status).error());
    if (!params.stream) fields.Fail("stream_options", "is only allowed with \"stream\": true");
  }
  params.return_token_ids = fields.Bool("return_token_ids", false);

  request.num_choices = static_cast<uint32_t>(fields.Int("n", 1, 1, kMaxChoices));
  request.stop = ReadStops(fields);
  request.stop_token_ids = fields.Ints("stop_token_ids", 0, limits.vocab_size - 1);
  request.ignore_eos = fields.Bool("ignore_eos", false);
  request.skip_special_tokens = fields.Bool("skip_special_tokens", true);

  SamplingParams& sampling = request.sampling;
  sampling.temperature = static_cast<float>(fields.Number("temperature", 1, 0, 2));
  sampling.top_p = static_cast<float>(fields.Number("top_p", 1, 0, 1, true));
  sampling.top_k = static_cast<int32_t>(fields.Int("top_k", 0, -1, std::numeric_limits<int32_t>::max()));
  sampling.min_p = static_cast<float>(fields.Number("min_p", 0, 0, 1));
  sampling.repetition_penalty = static_cast<float>(fields.Number("repetition_penalty", 1, 0, 10, true));
  sampling.presence_penalty = static_cast<float>(fields.Number("presence_penalty", 0, -2, 2));
  sampling.frequency_penalty = static_cast<float>(fields.Number("frequency_penalty", 0, -2, 2));
  // A positive number may still round to the float 0, which the ranges exclude.
  sampling.top_p = std::max(sampling.top_p, std::numeric_limits<float>::min());
  sampling.repetition_penalty = std::max(sampling.repetition_penalty, 1e-6f);
  sampling.logit_bias = ReadLogitBias(fields, limits);
  if (const auto seed =
          fields.OptionalInt("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())) {
    sampling.seed = static_cast<uint64_t>(*seed);
  }
  params.format = ReadOutputFormat(fields);
  ReadMemoryParams(fields, request.memory);
  ReadFixedFields(fields, request.num_choices);
  return params;
}

std::optional<ApiError> SetLength(const GenerationParams& params, const ModelLimits& limits,
                                  uint32_t default_max_tokens, GenerationRequest& request) {
  const uint64_t prompt = request.prompt.size();
  const std::string context = "the model's context of " + std::to_string(limits.max_positions) + " tokens";
  if (prompt > limits.max_positions) {
    return ContextLengthExceeded("the prompt has " + std::to_string(prompt) + " tokens, more than " + context,
                                 "prompt");
  }
  const uint64_t room = limits.max_positions - prompt;
  if (params.max_tokens) {
    if (*params.max_tokens > room) {
      return ContextLengthExceeded("the prompt has " + std::to_string(prompt) + " tokens and max_tokens is " +
                                       std::to_string(*params.max_tokens) + ", together more than " + context,
                                   "max_tokens");
    }
    if (*params.max_tokens == 0 && !params.echo) {
      return ApiError(400, "max_tokens must be at least 1 (0 is only allowed with echo)", "max_tokens");
    }
    request.max_tokens = *params.max_tokens;
    return std::nullopt;
  }
  if (room == 0) {
    return ContextLengthExceeded(
        "the prompt has " + std::to_string(prompt) + " tokens, which leaves no room in " + context, "prompt");
  }
  request.max_tokens = static_cast<uint32_t>(std::min<uint64_t>(default_max_tokens, room));
  return std::nullopt;
}

Result<std::vector<std::vector<int32_t>>> ReadPrompts(const json::value& prompt, const Tokenizer& tokenizer,
                                                      bool add_special_tokens, const ModelLimits& limits,
                                                      uint32_t max_prompts) {
  std::vector<std::vector<int32_t>> prompts;
  auto add = [&](const json::value& item, const std::string& field) -> Status {
    if (item.is_string()) {
      const json::string& text = item.get_string();
      auto ids = tokenizer.Encode({text.data(), text.size()}, add_special_tokens);
      if (!ids) return InvalidArgument(ids.error().message, field);
      if (ids->empty()) return InvalidArgument(field + " is empty: it has no token", field);
      prompts.push_back(std::move(*ids));
      return {};
    }
    if (!item.is_array()) {
      return InvalidArgument(field + " must be a string or a list of token ids, not " + JsonKindName(item), field);
    }
    ENGRAM_TRY(auto ids, JsonInts(item, 0, limits.vocab_size - 1, field));
    if (ids.empty()) return InvalidArgument(field + " is empty: it has no token", field);
    prompts.push_back(std::move(ids));
    return {};
  };
  if (!prompt.is_array()) {
    if (!prompt.is_string()) {
      return InvalidArgument(
          std::string("prompt must be a string, a list of token ids or a list of these, not ") + JsonKindName(prompt),
          "prompt");
    }
    ENGRAM_CHECK_OK(add(prompt, "prompt"));
    return prompts;
  }
  const json::array& items = prompt.get_array();
  if (items.empty()) return InvalidArgument("prompt is an empty list", "prompt");
  if (!items[0].is_string() && !items[0].is_array()) {
    ENGRAM_CHECK_OK(add(prompt, "prompt"));
    return prompts;
  }
  if (items.size() > max_prompts) {
    return InvalidArgument(
        "prompt has " + std::to_string(items.size()) + " entries, more than " + std::to_string(max_prompts), "prompt");
  }
  for (size_t i = 0; i < items.size(); ++i) ENGRAM_CHECK_OK(add(items[i], "prompt[" + std::to_string(i) + "]"));
  return prompts;
}

namespace {

// Joins {"type": "text", "text": ..} parts.
Result<json::string> JoinParts(const json::array& parts, const std::string& field) {
  json::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string where = field + "[" + std::to_string(i) + "]";
    if (!parts[i].is_object()) return InvalidArgument(where + " must be an object", where);
    const json::object& part = parts[i].get_object();
    const json::value* type = part.if_contains("type");
    if (type == nullptr || !type->is_string() || type->get_string() != "text") {
      return InvalidArgument(where + ".type must be \"text\": only text parts are supported", where + ".type");
    }
    const json::value* value = part.if_contains("text");
    if (value == nullptr || !value->is_string()) {
      return InvalidArgument(where + ".text must be a string", where + ".text");
    }
    text.append(value->get_string());
  }
  return text;
}

}  // namespace

Result<json::array> ReadMessages(const json::value* messages) {
  if (messages == nullptr) return InvalidArgument("messages is required", "messages");
  if (!messages->is_array()) {
    return InvalidArgument(std::string("messages must be a list, not ") + JsonKindName(*messages), "messages");
  }
  if (messages->get_array().empty()) return InvalidArgument("messages must have at least one message", "messages");
  json::array out = messages->get_array();
  for (size_t i = 0; i < out.size(); ++i) {
    const std::string where = "messages[" + std::to_string(i) + "]";
    if (!out[i].is_object()) return InvalidArgument(where + " must be an object", where);
    json::object& message = out[i].get_object();
    const json::value* role = message.if_contains("role");
    if (role == nullptr || !role->is_string() || role->get_string().empty()) {
      return InvalidArgument(where + ".role must be a string, such as \"user\"", where + ".role");
    }
    const std::string_view name(role->get_string().data(), role->get_string().size());
    constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool", "function"};
    if (std::find(std::begin(kRoles), std::end(kRoles), name) == std::end(kRoles)) {
      return InvalidArgument(where + ".role \"" + std::string(name.substr(0, 40)) +
                                 "\" is none of system, developer, user, assistant, tool, function",
                             where + ".role");
    }
    const bool may_lack_content = name == "assistant";
    json::value* content = message.if_contains("content");
    if (content == nullptr || content->is_null()) {
      if (!may_lack_content) return InvalidArgument(where + ".content is required", where + ".content");
      message["content"] = nullptr;
      continue;
    }
    if (content->is_array()) {
      ENGRAM_TRY(json::string joined, JoinParts(content->get_array(), where + ".content"));
      *content = std::move(joined);
    } else if (!content->is_string()) {
      return InvalidArgument(where + ".content must be a string or a list of parts, not " + JsonKindName(*content),
                             where + ".content");
    }
  }
  for (size_t i = 0; i < out.size(); ++i)
    ENGRAM_CHECK_OK(ReadToolMessage(out[i].get_object(), "messages[" + std::to_string(i) + "]"));
  return out;
}

}  // namespace engram
