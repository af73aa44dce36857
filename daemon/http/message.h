// SPDX-License-Identifier: Apache-2.0
// What handlers see of HTTP: plain requests, whole responses, and replies that are not ready yet. No sockets here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "access/access_key.h"
#include "http/channel.h"

namespace engram {

class KeyLimiter;

using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method;  // as sent, upper case by the protocol
  std::string target;  // as sent
  std::string path;    // percent-decoded, without query
  HeaderList headers;  // names in lower case, in the order sent
  std::string body;
  bool http_1_0 = false;
  bool keep_alive = true;
  bool has_body = false;                // a body was announced (it may be empty)
  std::string request_id;               // [A-Za-z0-9._-]{1,64}
  std::string peer;                     // address without port
  std::string client;                   // the API key's name, or the peer
  std::shared_ptr<KeyLimiter> limiter;  // the API key's; null: no limits
  std::shared_ptr<const AccessKey> key;  // null: none is needed
  Scope scope = Scope::kNone;            // what the route needs; set once the request may go on

  // The first header of that (lower-case) name, or nullptr.
  const std::string* Header(std::string_view name) const {
    for (const auto& [key, value] : headers)
      if (key == name) return &value;
    return nullptr;
  }
};

struct Response {
  int status = 200;
  HeaderList headers;  // without Content-Length, Connection, Date and Server
  std::string content_type = "application/json";
  std::string body;
};

// A reply that takes time. Used by one thread at a time (the session's strand); destroying it stops the work behind it.
class ReplySource {
 public:
  virtual ~ReplySource() = default;

  // Called once, before Poll(). `wake` is called from any thread when Poll() may have something; never after the
  // destructor has returned. It does not block.
  virtual void Start(std::function<void()> wake) = 0;

  struct Step {
    std::optional<Response> head;  // once, first: status and headers
    bool streamed = false;         // with head: the body follows as `data`; else head is the whole answer
    std::string data;              // body bytes of a streamed reply
    bool done = false;
    bool aborted = false;  // with done: the connection must not be used again (the body is incomplete)
  };
  // What is ready now; never blocks.
  virtual Step Poll() = 0;
};

// What a handler answers: the one of `channel` and `source` that is set, else `response`. A channel turns the
// connection into a WebSocket: only for requests that passed CheckUpgrade() (websocket_request.h).
struct Reply {
  Response response;
  std::unique_ptr<ReplySource> source;
  std::unique_ptr<Channel> channel;

  Reply(Response whole) : response(std::move(whole)) {}  // NOLINT: implicit on purpose
  Reply(std::unique_ptr<ReplySource> pending) : response(), source(std::move(pending)) {}  // NOLINT
  Reply(std::unique_ptr<Channel> opened) : response(), channel(std::move(opened)) {}       // NOLINT
};

// Whether the body is binary by its Content-Type: application/x-safetensors or application/octet-stream.
bool IsUpload(const Request& request);

// The reason phrase of a status code.
std::string_view ReasonPhrase(int status);

// Decodes %XX; nothing for a malformed escape or an encoded NUL.
std::optional<std::string> PercentDecode(std::string_view text);

}  // namespace engram
