// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <boost/json/parse.hpp>

#include "core/file.h"
#include "core/json_text.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_parser.h"

namespace engram {
namespace json = boost::json;
namespace {

// Some tokenizer_config.json list every added token.
constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
constexpr const char* kSpecialTokens[] = {"bos_token", "eos_token", "pad_token", "unk_token"};

Error KeyError(const std::filesystem::path& path, const std::string& key, const std::string& what) {
  return InvalidArgument(path.string() + ": " + key + ": " + what, key);
}

// A special token is a string or an object with its "content"; null is none.
Result<JinjaScope> ReadSpecialTokens(const std::filesystem::path& path, const json::object& config) {
  JinjaScope scope;
  for (const char* name : kSpecialTokens) {
    const json::value* token = config.if_contains(name);
    if (token == nullptr || token->is_null()) continue;
    if (const json::object* object = token->if_object()) {
      token = object->if_contains("content");
      if (token == nullptr) return KeyError(path, name, "an object without \"content\"");
    }
    if (!token->is_string()) return KeyError(path, name, "must be a string or an object with a string \"content\"");
    scope.variables[name] = JinjaValue::Str(std::string(token->get_string()));
  }
  return scope;
}

// The source in a tokenizer_config.json; nothing where it has none.
Result<std::optional<std::string>> ReadSource(const std::filesystem::path& path, const json::object& config) {
  const json::value* source = config.if_contains("chat_template");
  if (source == nullptr || source->is_null()) return std::optional<std::string>();
  if (source->is_string()) return std::optional<std::string>(source->get_string());
  const json::array* list = source->if_array();
  if (list == nullptr) return KeyError(path, "chat_template", "must be a string or a list of {name, template}");
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string key = "chat_template[" + std::to_string(i) + "]";
    const json::object* entry = (*list)[i].if_object();
    const json::value* name = entry == nullptr ? nullptr : entry->if_contains("name");
    const json::value* text = entry == nullptr ? nullptr : entry->if_contains("template");
    if (name == nullptr || !name->is_string() || text == nullptr || !text->is_string()) {
      return KeyError(path, key, "must be an object with strings \"name\" and \"template\"");
    }
    if (name->get_string() == "default") return std::optional<std::string>(text->get_string());
  }
  return KeyError(path, "chat_template", "has no template named \"default\"");
}

}  // namespace

struct ChatTemplate::Impl {
  std::string source;
  JinjaBody body;
  JinjaScope special_tokens;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::Parse(std::string_view source) {
  if (const size_t valid = ValidUtf8Prefix(source); valid != source.size()) {
    return InvalidArgument("chat template: not UTF-8 at byte " + std::to_string(valid));
  }
  ENGRAM_TRY(JinjaBody body, JinjaParse(source));
  auto impl = std::make_unique<Impl>();
  impl->source = source;
  impl->body = std::move(body);
  return ChatTemplate(std::move(impl));
}

Result<std::optional<ChatTemplate>> ChatTemplate::LoadFrom(const std::filesystem::path& model_dir) {
  const std::filesystem::path config_path = model_dir / "tokenizer_config.json";
  const std::filesystem::path jinja_path = model_dir / "chat_template.jinja";
  std::filesystem::path source_path = config_path;
  JinjaScope special_tokens;
  std::optional<std::string> source;
  Result<std::string> text = ReadFile(config_path, kMaxConfigBytes);
  if (text) {
    boost::system::error_code parse_error;
    const json::value root = json::parse(*text, parse_error);
    if (parse_error) return InvalidArgument(config_path.string() + ": not JSON: " + parse_error.message());
    const json::object* config = root.if_object();
    if (config == nullptr) return InvalidArgument(config_path.string() + ": not an object");
    ENGRAM_TRY(special_tokens, ReadSpecialTokens(config_path, *config));
    ENGRAM_TRY(source, ReadSource(config_path, *config));
  } else if (text.error().code != ErrorCode::kNotFound) {
    return std::move(text).error();
  }
  if (!source) {
    Result<std::string> jinja = ReadFile(jinja_path, JinjaLimits::kSourceBytes);
    if (!jinja && jinja.error().code == ErrorCode::kNotFound) return std::optional<ChatTemplate>();
    if (!jinja) return std::move(jinja).error();
    source = *std::move(jinja);
    source_path = jinja_path;
  }
  Result<ChatTemplate> compiled = Parse(*source);
  if (!compiled) return std::move(compiled).error().At(source_path.string());
  compiled->impl_->special_tokens = std::move(special_tokens);
  return std::optional<ChatTemplate>(std::move(*compiled));
}

std::string_view ChatTemplate::source() const {
  return impl_->source;
}

Result<std::string> ChatTemplate::Render(const json::object& variables) const {
  JinjaScope scope = impl_->special_tokens;
  for (const auto& [name, value] : variables) {
    Result<JinjaValue> converted = JinjaValue::FromJson(value);
    if (!converted) {
      Error error = std::move(converted).error().At(std::string(name));
      error.field = std::string(name);
      return error;
    }
    scope.variables[std::string(name)] = std::move(*converted);
  }
  return JinjaInterpreter(std::move(scope)).Run(impl_->body);
}

}  // namespace engram
