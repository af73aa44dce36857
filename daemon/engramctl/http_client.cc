// SPDX-License-Identifier: Apache-2.0
#include "engramctl/http_client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <optional>

namespace engram {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr uint64_t kMaxAnswerBytes = 256u << 20;
constexpr size_t kMaxEventBytes = 16u << 20;

// A connection with one request sent on it and the answer's header read.
struct Exchange {
  asio::io_context context;
  tcp::socket socket{context};
  beast::flat_buffer buffer{1u << 16};
  http::response_parser<http::empty_body> header;
};

Error Failed(const std::string& what, const error_code& error) {
  if (error == asio::error::interrupted) return {ErrorCode::kCancelled, what + ": interrupted", {}};
  return Unavailable(what + ": " + error.message());
}

// Splits a stream of bytes into server-sent events' data (WHATWG HTML, 9.2), as far as data fields go.
class EventSplitter {
 public:
  // False when an event grows beyond bounds.
  bool Append(std::string_view bytes, const std::function<bool(std::string_view)>& on_data, bool& stopped) {
    pending_.append(bytes);
    size_t start = 0;
    for (size_t end; !stopped && (end = pending_.find('\n', start)) != std::string::npos; start = end + 1) {
      std::string_view line(pending_.data() + start, end - start);
      if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
      if (line.empty()) {
        if (data_) stopped = *data_ == "[DONE]" || !on_data(*data_);
        data_.reset();
      } else if (line.starts_with("data:")) {
        line.remove_prefix(5);
        if (line.starts_with(' ')) line.remove_prefix(1);
        if (data_)
          data_->append("\n").append(line);
        else
          data_.emplace(line);
      }
    }
    pending_.erase(0, start);
    return pending_.size() + (data_ ? data_->size() : 0) <= kMaxEventBytes;
  }

 private:
  std::string pending_;
  std::optional<std::string> data_;
};

}  // namespace

Result<HttpClient> HttpClient::Create(const std::string& url, std::string key) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme))
    return InvalidArgument("\"" + url + "\" is not a URL such as http://127.0.0.1:8484 (TLS is not spoken here)");
  std::string_view rest = std::string_view(url).substr(kScheme.size());
  HttpClient client;
  const size_t slash = std::min(rest.find('/'), rest.size());
  client.prefix_ = std::string(rest.substr(slash));
  while (client.prefix_.ends_with('/')) client.prefix_.pop_back();
  std::string_view authority = rest.substr(0, slash);
  const size_t bracket = authority.rfind(']');
  const size_t colon = authority.rfind(':');
  const bool has_port = colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  client.port_ = has_port ? std::string(authority.substr(colon + 1)) : "80";
  if (has_port) authority = authority.substr(0, colon);
  if (authority.starts_with('[') && authority.ends_with(']')) authority = authority.substr(1, authority.size() - 2);
  client.host_ = std::string(authority);
  if (client.host_.empty() || client.port_.empty() || client.port_.find_first_not_of("0123456789") != std::string::npos)
    return InvalidArgument("\"" + url + "\" is not a URL such as http://127.0.0.1:8484");
  if (key.find_first_of("\r\n") != std::string::npos) return InvalidArgument("the API key holds a line break");
  client.key_ = std::move(key);
  return client;
}

static Status Begin(Exchange& exchange, const std::string& host, const std::string& port, const std::string& key,
                    const HttpCall& call) {
  const std::string where = host + ":" + port;
  error_code error;
  tcp::resolver resolver(exchange.context);
  const auto endpoints = resolver.resolve(host, port, error);
  if (error) return Failed(where, error);
  asio::connect(exchange.socket, endpoints, error);
  if (error) return Failed("connecting to " + where + " (is engramd running there?)", error);

  http::request<http::string_body> request(http::string_to_verb(call.method), call.target, 11);
  request.set(http::field::host, where);
  request.set(http::field::user_agent, "engramctl/" ENGRAMD_VERSION);
  request.set(http::field::connection, "close");
  if (!key.empty()) request.set(http::field::authorization, "Bearer " + key);
  for (const auto& [name, value] : call.headers) request.set(name, value);
  if (!call.body.empty()) {
    request.set(http::field::content_type, call.content_type);
    request.body() = call.body;
  }
  if (!call.body.empty() || call.method != "GET") request.prepare_payload();
  http::write(exchange.socket, request, error);
  // A server that refuses a request may answer and close before it has read all of it.
  if (error && error != asio::error::broken_pipe && error != asio::error::connection_reset)
    return Failed("sending to " + where, error);
  exchange.header.body_limit(kMaxAnswerBytes);
  http::read_header(exchange.socket, exchange.buffer, exchange.header, error);
  if (error) return Failed("reading from " + where, error);
  return {};
}

static Result<HttpAnswer> ReadWhole(Exchange& exchange) {
  http::response_parser<http::string_body> parser(std::move(exchange.header));
  parser.body_limit(kMaxAnswerBytes);
  error_code error;
  http::read(exchange.socket, exchange.buffer, parser, error);
  if (error) return Failed("reading the answer", error);
  return HttpAnswer{parser.get().result_int(), std::move(parser.get().body())};
}

Result<HttpAnswer> HttpClient::Send(const HttpCall& call) const {
  HttpCall sent = call;
  sent.target = prefix_ + call.target;
  Exchange exchange;
  ENGRAM_CHECK_OK(Begin(exchange, host_, port_, key_, sent));
  return ReadWhole(exchange);
}

Result<HttpAnswer> HttpClient::Call(const std::string& target, const std::string& body) const {
  return Send({.method = body.empty() ? "GET" : "POST", .target = target, .body = body});
}

Status HttpClient::Stream(const std::string& target, const std::string& body,
                          const std::function<bool(std::string_view)>& on_event) const {
  Exchange exchange;
  ENGRAM_CHECK_OK(Begin(exchange, host_, port_, key_, {.method = "POST", .target = prefix_ + target, .body = body}));
  const bool events = exchange.header.get()[http::field::content_type].starts_with("text/event-stream");
  if (!events || exchange.header.get().result() != http::status::ok) {
    ENGRAM_TRY(const HttpAnswer answer, ReadWhole(exchange));
    return Unavailable(ErrorText(answer));
  }
  http::response_parser<http::buffer_body> parser(std::move(exchange.header));
  parser.body_limit(boost::none);
  EventSplitter splitter;
  char chunk[16384];
  bool stopped = false;
  while (!stopped && !parser.is_done()) {
    parser.get().body().data = chunk;
    parser.get().body().size = sizeof(chunk);
    error_code error;
    http::read_some(exchange.socket, exchange.buffer, parser, error);
    if (error && error != http::error::need_buffer) return Failed("reading the stream", error);
    const size_t got = sizeof(chunk) - parser.get().body().size;
    if (!splitter.Append({chunk, got}, on_event, stopped)) return DataLoss("the server sent an event without end");
  }
  return {};
}

std::string HttpClient::ErrorText(const HttpAnswer& answer) {
  const std::string status = "HTTP " + std::to_string(answer.status);
  error_code error;
  const boost::json::value value = boost::json::parse(answer.body, error);
  if (!error && value.is_object())
    if (const auto* object = value.as_object().if_contains("error"); object && object->is_object())
      if (const auto* message = object->as_object().if_contains("message"); message && message->is_string())
        return status + ": " + std::string(message->as_string());
  return status + (answer.body.empty() ? "" : ": " + answer.body.substr(0, 300));
}

}  // namespace engram
