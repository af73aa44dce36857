// SPDX-License-Identifier: Apache-2.0
// HttpClient: blocking HTTP/1.1 calls to one engramd, over TLS or not, one connection per call. One thread at a time.
//
// A server's certificate must be for the URL's host and from an authority of the system's, or of the files that
// OpenSSL's variables SSL_CERT_FILE and SSL_CERT_DIR name. ENGRAM_CLIENT_CERTIFICATE and ENGRAM_CLIENT_KEY name PEM
// files of a certificate to show to a daemon that asks for one.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"

namespace engram {

struct HttpAnswer {
  unsigned status = 0;
  std::string body;
};

struct HttpCall {
  std::string method = "GET";  // GET, POST, PUT or DELETE
  std::string target;          // path and query
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
};

class HttpClient {
 public:
  // `url`: http[s]://HOST[:PORT][/PREFIX]; `key`: empty or the API key. kInvalidArgument for any other URL.
  static Result<HttpClient> Create(const std::string& url, std::string key);

  // Any status is an answer; kUnavailable when there is none.
  Result<HttpAnswer> Send(const HttpCall& call) const;
  // The same: GET without a body, else POST.
  Result<HttpAnswer> Call(const std::string& target, const std::string& body = {}) const;

  // POSTs and hands on the data of each server-sent event until "[DONE]" or the end of the body. `on_event` returns
  // false to stop. An answer that is no event stream becomes an error with the server's message. kCancelled when a
  // signal handler ran while waiting.
  Status Stream(const std::string& target, const std::string& body,
                const std::function<bool(std::string_view)>& on_event) const;

  // Hands on each text message of the WebSocket `target` until `on_message` returns false or SIGINT or SIGTERM comes;
  // then closes it in order; a second signal ends the program. kUnavailable when the upgrade is refused, with the
  // server's message, or when the connection ends on its own.
  Status Follow(const std::string& target, const std::function<bool(std::string_view)>& on_message) const;

  // The message of an error answer: OpenAI's shape, or the start of the body.
  static std::string ErrorText(const HttpAnswer& answer);

 private:
  HttpClient() = default;
  template <typename Context, typename WebSocket>  // of Boost.Asio and Boost.Beast
  Status FollowOn(Context& context, WebSocket& stream, const std::string& target,
                  const std::function<bool(std::string_view)>& on_message) const;
  bool tls_ = false;
  std::string host_;
  std::string port_;
  std::string prefix_;
  std::string key_;
};

}  // namespace engram
