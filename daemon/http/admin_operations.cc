// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <charconv>

#include "control/operations.h"
#include "http/admin_json.h"
#include "http/endpoints.h"

namespace engram {
namespace {

namespace json = boost::json;

constexpr std::string_view kPrefix = "/admin/v1/operations/";

Result<uint64_t> IdOf(const Request& request) {
  const std::string_view text = std::string_view(request.path).substr(kPrefix.size());
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size())
    return NotFound("\"" + std::string(text.substr(0, 100)) + "\" is not the number of an operation");
  return id;
}

}  // namespace

void AddAdminOperationEndpoints(Router& router, const EndpointEnvironment& environment) {
  Operations* const operations = environment.admin.operations;
  if (operations == nullptr) return;
  const std::string one = std::string(kPrefix) + "*";
  router.Add("GET", "/admin/v1/operations", Scope::kRead, [operations](const Request&) -> Reply {
    json::array list;
    for (const Operation& operation : operations->List()) list.push_back(OperationJson(operation));
    return JsonResponse(json::object{{"operations", std::move(list)}});
  });
  router.Add("GET", one, Scope::kRead, [operations](const Request& request) -> Reply {
    const auto id = IdOf(request);
    if (!id) return ErrorResponse(id.error());
    const auto operation = operations->Get(*id);
    if (!operation) return ErrorResponse(operation.error());
    return JsonResponse(OperationJson(*operation));
  });
  router.Add("DELETE", one, Scope::kOperate, [operations](const Request& request) -> Reply {
    const auto id = IdOf(request);
    if (!id) return ErrorResponse(id.error());
    if (const Status cancelled = operations->Cancel(*id); !cancelled) return ErrorResponse(cancelled.error());
    const auto operation = operations->Get(*id);
    if (!operation) return ErrorResponse(operation.error());
    // One that runs ends at its next step.
    return JsonResponse(OperationJson(*operation), IsOver(operation->state) ? 200 : 202);
  });
}

}  // namespace engram
