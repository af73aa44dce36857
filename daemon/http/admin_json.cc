// SPDX-License-Identifier: Apache-2.0
#include "http/admin_json.h"

#include <boost/json.hpp>
#include <utility>

#include "core/json_value.h"
#include "http/json_body.h"

namespace engram {

namespace json = boost::json;

namespace {

json::value TimeOrNull(int64_t unix_ms) {
  if (unix_ms == 0) return nullptr;
  return unix_ms;
}

}  // namespace

json::object OperationJson(const Operation& operation) {
  json::object object{{"id", operation.id},
                      {"kind", operation.kind},
                      {"target", operation.target},
                      {"path", operation.path},
                      {"state", OperationStateName(operation.state)},
                      {"cancelling", operation.cancelling},
                      {"stage", operation.stage},
                      {"progress", operation.progress},
                      {"error", nullptr},
                      {"created_unix_ms", operation.created_unix_ms},
                      {"started_unix_ms", TimeOrNull(operation.started_unix_ms)},
                      {"finished_unix_ms", TimeOrNull(operation.finished_unix_ms)}};
  if (operation.error) object["error"] = json::parse(ErrorJson(*operation.error)).at("error");
  return object;
}

std::string MemoryEventJson(const NumberedMemoryEvent& numbered) {
  const MemoryEvent& event = numbered.event;
  json::object object{{"number", numbered.number}, {"unix_ms", event.unix_ms}, {"kind", event.kind},
                      {"model", event.model},      {"version", event.version}, {"rows", event.rows},
                      {"overlay", nullptr}};
  if (!event.name.empty()) object["overlay"] = event.name;
  return json::serialize(object);
}

Response JsonResponse(const json::value& value, int status) {
  return JsonTextResponse(status, JsonText(value));
}

Response JsonTextResponse(int status, std::string text) {
  Response response;
  response.status = status;
  response.headers.emplace_back("Cache-Control", "no-store");
  response.body = std::move(text);
  response.body += '\n';
  return response;
}

Response Accepted(const Result<uint64_t>& operation) {
  if (!operation) return ErrorResponse(operation.error());
  Response response = JsonResponse(json::object{{"operation", *operation}}, 202);
  response.headers.emplace_back("Location", "/admin/v1/operations/" + std::to_string(*operation));
  return response;
}

Handler JsonHandler(std::function<Response(JsonFields&)> answer) {
  return [answer = std::move(answer)](const Request& request) -> Reply {
    const auto body = ParseJsonObject(request.body);
    if (!body) return ErrorResponse(body.error());
    JsonFields fields(*body);
    return answer(fields);
  };
}

std::string ReadSha256(JsonFields& fields, std::string_view name) {
  std::string digits = fields.String(name, "");
  for (char& c : digits)
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  if (!digits.empty() && (digits.size() != 64 || digits.find_first_not_of("0123456789abcdef") != std::string::npos))
    fields.Fail(name, "must be 64 hexadecimal digits");
  return digits;
}

}  // namespace engram
