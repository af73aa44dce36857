// SPDX-License-Identifier: Apache-2.0
#include "engramctl/json_answer.h"

#include <boost/json.hpp>
#include <cstdio>

#include "core/json_value.h"

namespace engram {

namespace json = boost::json;

Result<json::object> JsonAnswer(Result<HttpAnswer> answer) {
  if (!answer) return std::move(answer).error();
  if (answer->status / 100 != 2) return Unavailable(HttpClient::ErrorText(*answer));
  boost::system::error_code error;
  json::value value = json::parse(answer->body, error);
  if (error || !value.is_object()) return DataLoss("the answer is not a JSON object");
  return std::move(value.as_object());
}

Result<json::value> MemberOf(const Result<json::object>& object, const char* key) {
  if (!object) return object.error();
  const json::value* value = object->if_contains(key);
  if (!value) return DataLoss(std::string("the answer has no \"") + key + "\"");
  return *value;
}

std::string ShowMember(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || value->is_null()) return "-";
  if (value->is_string()) return value->get_string().empty() ? "-" : std::string(value->get_string());
  return JsonText(*value);
}

std::string ShowBytes(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return "-";
  double amount = value->to_number<double>();
  const char* unit = "B";
  for (const char* larger : {"kB", "MB", "GB", "TB"}) {
    if (amount < 1000) break;
    amount /= 1000;
    unit = larger;
  }
  char text[40];
  std::snprintf(text, sizeof(text), amount < 10 && *unit != 'B' ? "%.1f %s" : "%.0f %s", amount, unit);
  return text;
}

double NumberOf(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_number() ? value->to_number<double>() : 0;
}

std::string ShowNumber(const json::object& object, std::string_view key, const char* format) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return "-";
  char text[60];
  std::snprintf(text, sizeof(text), format, value->to_number<double>());
  return text;
}

std::string Percent(double share, int digits) {
  char text[60];
  std::snprintf(text, sizeof(text), "%.*f %%", digits, 100 * share);
  return text;
}

const json::array& ListOf(const json::object& object, std::string_view key) {
  static const json::array kNone;
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_array() ? value->get_array() : kNone;
}

const json::object& ObjectOf(const json::object& object, std::string_view key) {
  static const json::object kNone;
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_object() ? value->get_object() : kNone;
}

}  // namespace engram
