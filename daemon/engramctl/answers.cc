// SPDX-License-Identifier: Apache-2.0
#include "engramctl/answers.h"

#include <cstdio>
#include <ctime>
#include <utility>

#include "core/json_value.h"

namespace engram {

namespace json = boost::json;

Result<json::object> Ask(const HttpClient& client, const HttpCall& call, std::string* raw) {
  ENGRAM_TRY(HttpAnswer answer, client.Send(call));
  if (raw != nullptr) *raw = answer.body;
  return JsonAnswer(std::move(answer));
}

std::string TextAt(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || value->is_null()) return {};
  return value->is_string() ? std::string(value->as_string()) : JsonText(*value);
}

std::string TimeAt(const json::object& object, std::string_view key, int64_t per_second) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_int64()) return {};
  const time_t seconds = value->as_int64() / per_second;
  tm parts{};
  char text[32];
  if (gmtime_r(&seconds, &parts) == nullptr) return {};
  return std::string(text, std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%SZ", &parts));
}

std::string ShortNumber(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return {};
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g", value->to_number<double>());
  return text;
}

std::string PercentEncode(std::string_view text) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string out;
  for (const char c : text) {
    if (kPlain.find(c) != std::string_view::npos) {
      out += c;
      continue;
    }
    char escape[4];
    std::snprintf(escape, sizeof(escape), "%%%02X", static_cast<unsigned char>(c));
    out += escape;
  }
  return out;
}

std::string ModelQuery(const Arguments& arguments) {
  const auto model = arguments.Value("model");
  return model ? "?model=" + PercentEncode(*model) : "";
}

std::string ModelParameter(const Arguments& arguments) {
  const auto model = arguments.Value("model");
  return model ? "&model=" + PercentEncode(*model) : "";
}

int AskAndShow(const Arguments& arguments, const std::function<Result<HttpCall>()>& call,
               const std::function<void(const json::object&)>& show) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  const auto wanted = call();
  if (!wanted) return Report(wanted.error(), true);
  std::string raw;
  const auto answer = Ask(*client, *wanted, &raw);
  if (!answer) return Report(answer.error());
  if (arguments.Has("json")) {
    std::fputs(raw.c_str(), stdout);
  } else {
    show(*answer);
  }
  return kDone;
}

}  // namespace engram
