// SPDX-License-Identifier: Apache-2.0
#include "http/audit.h"

#include <boost/json.hpp>
#include <string>

#include "core/clock.h"

namespace engram {
namespace {

namespace json = boost::json;

// Larger bodies are rows and entries; what they are about is in their answers.
constexpr size_t kMaxBodyBytes = 32u << 10;
constexpr size_t kMaxTargetBytes = 200;
constexpr size_t kMaxDetailBytes = 300;

// Listed one by one, so that nothing secret of a later route gets into the log.
constexpr std::string_view kTargets[] = {"name", "model", "path", "table", "directory", "key", "overlay", "to"};
constexpr std::string_view kDetails[] = {"id",   "name",      "version", "rows",     "guarded",   "entries",
                                         "plan", "operation", "scopes",  "overlays", "expires_at"};

json::object ParseObject(std::string_view text) {
  if (text.empty() || text.size() > kMaxBodyBytes) return {};
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  return !error && value.is_object() ? std::move(value.get_object()) : json::object();
}

std::string Short(std::string text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  // Not in the middle of a character.
  while (max_bytes > 0 && (static_cast<unsigned char>(text[max_bytes]) & 0xc0) == 0x80) --max_bytes;
  text.resize(max_bytes);
  return text + "…";
}

std::string TextOf(const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  if (!value.is_array()) return json::serialize(value);
  // Whole records, as the rows of a plan are: how many tells enough.
  if (!value.get_array().empty() && value.get_array().front().is_object())
    return std::to_string(value.get_array().size());
  std::string text;
  for (const json::value& item : value.get_array()) text += (text.empty() ? "" : ",") + TextOf(item);
  return text;
}

std::string TargetOf(const Request& request, std::string_view route) {
  if (route.ends_with('*') && request.path.size() >= route.size()) return request.path.substr(route.size() - 1);
  const json::object body = ParseObject(request.body);
  for (const std::string_view name : kTargets) {
    const json::value* value = body.if_contains(name);
    if (value != nullptr && (value->is_string() || value->is_number())) return TextOf(*value);
  }
  return {};
}

std::string DetailOf(int status, std::string_view body) {
  const json::object answer = ParseObject(body);
  if (status >= 400) {
    const json::value* error = answer.if_contains("error");
    const json::value* message =
        error != nullptr && error->is_object() ? error->get_object().if_contains("message") : nullptr;
    return message != nullptr ? TextOf(*message) : std::string();
  }
  std::string detail;
  for (const std::string_view name : kDetails) {
    const json::value* value = answer.if_contains(name);
    if (value == nullptr || value->is_null() || value->is_object()) continue;
    const std::string text = TextOf(*value);
    if (!text.empty()) detail += (detail.empty() ? "" : ", ") + std::string(name) + " " + text;
  }
  return detail;
}

}  // namespace

bool IsAudited(const Request& request) {
  return request.method != "GET" && request.method != "HEAD" &&
         (request.scope == Scope::kEdit || request.scope == Scope::kOperate);
}

bool IsDenied(const Request& request, int status) {
  return status == 401 || (status == 403 && request.key != nullptr && request.scope == Scope::kNone);
}

AuditEntry MakeAuditEntry(const Request& request, std::string_view route, int status, std::string_view body) {
  AuditEntry entry;
  entry.unix_ms = UnixMs();
  if (request.key) {
    entry.key_id = request.key->id;
    entry.key_name = request.key->name;
  }
  entry.address = request.peer;
  entry.action = request.method + " " + std::string(route);
  entry.target = Short(TargetOf(request, route), kMaxTargetBytes);
  entry.status = status;
  entry.detail = Short(status == 499 ? "the client left before the answer" : DetailOf(status, body), kMaxDetailBytes);
  return entry;
}

}  // namespace engram
