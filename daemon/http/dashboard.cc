// SPDX-License-Identifier: Apache-2.0
// The dashboard's files under /ui/, and the way there from /. They hold no secrets, so no key is needed.
#include "http/endpoints.h"

namespace engram {
namespace {

constexpr std::string_view kPrefix = "/ui/";

Reply Redirect(const char* to) {
  Response response;
  response.status = 308;
  response.headers.emplace_back("Location", to);
  response.content_type = "text/plain";
  return response;
}

}  // namespace

void AddDashboardEndpoints(Router& router, const EndpointEnvironment& environment) {
  const auto serve = [environment](const Request& request) -> Reply {
    return environment.dashboard.Read()->Get(std::string_view(request.path).substr(kPrefix.size()), request);
  };
  router.Add("GET", "/ui/", Scope::kNone, serve);
  router.Add("GET", "/ui/*", Scope::kNone, serve);
  router.Add("GET", "/ui", Scope::kNone, [](const Request&) { return Redirect("/ui/"); });
  router.Add("GET", "/", Scope::kNone, [](const Request&) { return Redirect("/ui/"); });
}

}  // namespace engram
