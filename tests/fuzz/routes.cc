// SPDX-License-Identifier: Apache-2.0
// A request to any route, and its answer. The first line is METHOD TARGET, or METHOD! TARGET with a binary body; the
// rest is the body; of the WebSockets, their messages, a line each.
#include <boost/json/parse.hpp>
#include <string>

#include "fuzz/fuzz_target.h"
#include "fuzz/reply_driver.h"
#include "fuzz/served_world.h"

namespace engram {
namespace {

constexpr char kWebSocketHeaders[][2][32] = {{"connection", "Upgrade"},
                                             {"upgrade", "websocket"},
                                             {"sec-websocket-version", "13"},
                                             {"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="}};

// Nothing for a first line that is no request.
std::optional<Request> MakeRequest(FuzzInput& input) {
  const std::string_view line = input.Line();
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  Request request;
  std::string_view method = line.substr(0, space);
  request.headers.emplace_back("host", "localhost");
  if (method.ends_with('!')) {
    method.remove_suffix(1);
    request.headers.emplace_back("content-type", "application/x-safetensors");
  }
  request.method = std::string(method);
  request.target = std::string(line.substr(space + 1));
  const auto path = PercentDecode(std::string_view(request.target).substr(0, request.target.find('?')));
  if (!path || !path->starts_with('/')) return std::nullopt;
  request.path = *path;
  if (request.method == "GET")
    for (const auto& [name, value] : kWebSocketHeaders) request.headers.emplace_back(name, value);
  request.body = std::string(input.Rest());
  request.has_body = !request.body.empty();
  request.request_id = "fuzz";
  request.peer = "127.0.0.1";
  return request;
}

void Check(const Response& response) {
  FUZZ_CHECK(ReasonPhrase(response.status) != "Unknown");
  if (response.status == 500) std::fprintf(stderr, "%s\n", response.body.c_str());
  // What a request brings is never the server's own fault.
  FUZZ_CHECK(response.status != 500);
  if (response.content_type == "application/json" && !response.body.empty()) {
    boost::json::error_code ec;
    boost::json::parse(response.body, ec);
    FUZZ_CHECK(!ec);
  }
}

}  // namespace

ENGRAM_FUZZ_TARGET(routes, bytes) {
  ServedWorld& world = ServedWorld::Fresh();
  FuzzInput input(bytes);
  auto request = MakeRequest(input);
  if (!request) return;
  if (const auto refused = world.router().CheckHead(*request)) {
    Check(*refused);
    return;
  }
  Reply reply = world.router().Dispatch(*request);
  if (reply.channel) {
    Converse(*reply.channel, request->body);
  } else {
    Check(FinishReply(std::move(reply)));
  }
}

}  // namespace engram
