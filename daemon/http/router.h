// SPDX-License-Identifier: Apache-2.0
// Router: from method and path to a handler, after the key has been checked. Routes are added before serving; then
// immutable and free for any thread. Handlers run on I/O or work threads and must be free for concurrent calls.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/published.h"
#include "http/auth.h"
#include "http/message.h"
#include "http/origin.h"

namespace engram {

using Handler = std::function<Reply(const Request&)>;

struct RouteOptions {
  // The handler may wait for a disk: it runs on a work thread whatever the body's size.
  bool blocks = false;
  // Takes binary bodies too, up to HttpOptions::max_upload_bytes: application/x-safetensors, application/octet-stream.
  bool uploads = false;
};

class Router {
 public:
  // `authenticator` outlives the router; each request is checked by the one that is published then.
  explicit Router(const Published<Authenticator>& authenticator, OriginPolicy origins = {})
      : authenticator_(authenticator), origins_(std::move(origins)) {}

  // `path` is exact, or ends in "/*" and then matches what has at least one more character there; of several that match
  // the longest counts. `method` is GET (which answers HEAD too), POST, PUT or DELETE. `scope` is checked before the
  // body is read.
  void Add(std::string method, std::string path, Scope scope, Handler handler, RouteOptions options = {});

  // "METHOD PATH SCOPE" of every route, in the order added.
  std::vector<std::string> List() const;

  // What can be answered before the body is there: unknown routes, methods and media types, foreign
  // pages, keys, OPTIONS. Sets request.client, request.key and, where the request may go on, request.scope. Nothing: go
  // on and call Dispatch().
  std::optional<Response> CheckHead(Request& request) const;
  // Of a request that passed CheckHead().
  RouteOptions OptionsOf(const Request& request) const;
  // Runs the handler of a request that passed CheckHead().
  Reply Dispatch(const Request& request) const;
  // The route's path as a metric label; "other" for unknown ones, so that clients cannot make labels.
  std::string_view Label(const Request& request) const;

 private:
  struct Route {
    std::string method;
    std::string path;
    Scope scope;
    Handler handler;
    RouteOptions options;
  };
  // The path's most exact pattern; empty if there is none.
  std::string_view Pattern(std::string_view path) const;
  const Route* Find(const Request& request, std::string* allowed) const;

  const Published<Authenticator>& authenticator_;
  OriginPolicy origins_;
  std::vector<Route> routes_;
};

}  // namespace engram
