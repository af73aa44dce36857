// SPDX-License-Identifier: Apache-2.0
#include "http/router.h"

#include <exception>
#include <string_view>

#include "core/log.h"

namespace engram {
namespace {

bool Matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with("/*")) return pattern == path;
  pattern.remove_suffix(1);
  return path.size() > pattern.size() && path.starts_with(pattern);
}

bool IsKnownMethod(std::string_view method) {
  for (std::string_view known : {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"})
    if (method == known) return true;
  return false;
}

// Only what can be nothing but a mistake: uploads and media. Everything else is read as JSON, whatever it calls
// itself; `curl -d` says form data.
bool IsClearlyNotJson(std::string_view type) {
  for (std::string_view wrong : {"multipart/", "image/", "audio/", "video/", "application/octet-stream",
                                 "application/xml", "text/xml", "text/html"})
    if (type.starts_with(wrong)) return true;
  return false;
}

}  // namespace

void Router::Add(std::string method, std::string path, Scope scope, Handler handler, RouteOptions options) {
  routes_.push_back({std::move(method), std::move(path), scope, std::move(handler), options});
}

std::vector<std::string> Router::List() const {
  std::vector<std::string> list;
  for (const Route& route : routes_)
    list.push_back(route.method + " " + route.path + " " + std::string(ScopeName(route.scope)));
  return list;
}

std::string_view Router::Pattern(std::string_view path) const {
  std::string_view best;
  for (const Route& route : routes_)
    if (route.path.size() > best.size() && Matches(route.path, path)) best = route.path;
  return best;
}

const Router::Route* Router::Find(const Request& request, std::string* allowed) const {
  const Route* found = nullptr;
  const std::string_view pattern = Pattern(request.path);
  for (const Route& route : routes_) {
    if (pattern.empty() || route.path != pattern) continue;
    if (route.method == request.method || (route.method == "GET" && request.method == "HEAD")) found = &route;
    if (allowed != nullptr) *allowed += (route.method == "GET" ? "GET, HEAD, " : route.method + ", ");
  }
  return found;
}

std::optional<Response> Router::CheckHead(Request& request) const {
  request.client = request.peer;
  if (!IsKnownMethod(request.method)) return ErrorResponse({501, "method " + request.method + " is not implemented"});
  const std::shared_ptr<const Authenticator> authenticator = authenticator_.Read();
  if (auto error = CheckOrigin(request, origins_, authenticator->required())) return ErrorResponse(*error);
  std::string allowed;
  const Route* route = Find(request, &allowed);
  if (request.method == "OPTIONS" && (request.path == "*" || !allowed.empty())) {
    Response response;
    response.status = 204;
    response.headers.emplace_back("Allow",
                                  request.path == "*" ? "GET, HEAD, POST, PUT, DELETE, OPTIONS" : allowed + "OPTIONS");
    return response;
  }
  if (allowed.empty()) {
    return ErrorResponse({404, "no such route: " + request.method + " " + request.path.substr(0, 200)});
  }
  if (route == nullptr) {
    ApiError error(405, request.method + " is not allowed for " + request.path.substr(0, 200));
    error.headers.emplace_back("Allow", allowed + "OPTIONS");
    return ErrorResponse(error);
  }
  if (auto error = authenticator->Check(request, route->scope)) return ErrorResponse(*error);
  request.scope = route->scope;
  const std::string* type = request.Header("content-type");
  const bool upload = route->options.uploads && IsUpload(request);
  if (type != nullptr && route->method != "GET" && !upload && IsClearlyNotJson(*type)) {
    return ErrorResponse(
        {415, "content type \"" + type->substr(0, 100) + "\" is not supported; send application/json"});
  }
  const std::string* encoding = request.Header("content-encoding");
  if (encoding != nullptr && *encoding != "identity") {
    return ErrorResponse({415, "content encoding \"" + encoding->substr(0, 100) + "\" is not supported"});
  }
  return std::nullopt;
}

RouteOptions Router::OptionsOf(const Request& request) const {
  const Route* route = Find(request, nullptr);
  return route == nullptr ? RouteOptions() : route->options;
}

Reply Router::Dispatch(const Request& request) const {
  const Route* route = Find(request, nullptr);
  if (route == nullptr) return ErrorResponse({404, "no such route"});
  try {
    return route->handler(request);
  } catch (const std::bad_alloc&) {
    return ErrorResponse(ApiError(Unavailable("out of memory")));
  } catch (const std::exception& exception) {
    log::Error("{} {}: {}", request.method, route->path, exception.what());
    return ErrorResponse(ApiError(Internal("internal error; the log has request " + request.request_id)));
  }
}

std::string_view Router::Label(const Request& request) const {
  const std::string_view pattern = Pattern(request.path);
  return pattern.empty() ? "other" : pattern;
}

}  // namespace engram
