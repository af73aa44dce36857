// SPDX-License-Identifier: Apache-2.0
// Router: from method and path to a handler, after the key has been checked. Routes are added before serving; then
// immutable and free for any thread. Handlers run on I/O or work threads and must be free for concurrent calls.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "http/auth.h"
#include "http/message.h"

namespace engram {

using Handler = std::function<Reply(const Request&)>;

class Router {
 public:
  explicit Router(Authenticator authenticator) : authenticator_(std::move(authenticator)) {}

  // `path` is exact, or ends in "/*" and then matches what has at least one more character there. `method` is GET or
  // POST (a GET route answers HEAD too). `scope` is checked before the body is read.
  void Add(std::string method, std::string path, Scope scope, Handler handler);

  // What can be answered before the body is there: unknown routes, methods and media types, keys, OPTIONS. Sets
  // request.client. Nothing: go on and call Dispatch().
  std::optional<Response> CheckHead(Request& request) const;
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
  };
  const Route* Find(const Request& request, std::string* allowed) const;

  Authenticator authenticator_;
  std::vector<Route> routes_;
};

}  // namespace engram
