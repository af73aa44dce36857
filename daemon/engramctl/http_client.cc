// SPDX-License-Identifier: Apache-2.0
#include "engramctl/http_client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>

namespace engram {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using asio::ip::tcp;
using boost::system::error_code;

constexpr uint64_t kMaxAnswerBytes = 256u << 20;
constexpr size_t kMaxEventBytes = 16u << 20;
// A WebSocket's server that says nothing for so long is pinged, and is gone if that does not help.
constexpr std::chrono::seconds kSilence{30};
// From our close frame to the server's.
constexpr std::chrono::seconds kCloseTime{3};
constexpr const char* kUserAgent = "engramctl/" ENGRAMD_VERSION;

// Plain or within TLS; a SyncStream of Boost.Beast.
class Connection {
 public:
  explicit Connection(asio::io_context& context) : socket_(context) {}

  tcp::socket& socket() { return socket_; }
  asio::ssl::stream<tcp::socket&>& StartTls(asio::ssl::context& tls) { return secure_.emplace(socket_, tls); }

  template <typename Buffers>
  size_t read_some(const Buffers& buffers, error_code& error) {
    return secure_ ? secure_->read_some(buffers, error) : socket_.read_some(buffers, error);
  }
  template <typename Buffers>
  size_t read_some(const Buffers& buffers) {
    return secure_ ? secure_->read_some(buffers) : socket_.read_some(buffers);
  }
  template <typename Buffers>
  size_t write_some(const Buffers& buffers, error_code& error) {
    return secure_ ? secure_->write_some(buffers, error) : socket_.write_some(buffers, error);
  }
  template <typename Buffers>
  size_t write_some(const Buffers& buffers) {
    return secure_ ? secure_->write_some(buffers) : socket_.write_some(buffers);
  }

 private:
  tcp::socket socket_;
  std::optional<asio::ssl::stream<tcp::socket&>> secure_;
};

// A connection with one request sent on it and the answer's header read.
struct Exchange {
  asio::io_context context;
  asio::ssl::context tls{asio::ssl::context::tls_client};
  Connection socket{context};
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

// Reads one message after the other; everything happens in Run().
template <typename Transport>
class Follower {
 public:
  using OnMessage = std::function<bool(std::string_view)>;
  Follower(asio::io_context& context, websocket::stream<Transport>& stream, const OnMessage& on_message)
      : context_(context), stream_(stream), stop_(context, SIGINT, SIGTERM), on_message_(on_message) {}

  Status Run() {
    stop_.async_wait([this](error_code error, int) {
      if (!error) Close();
    });
    Read();
    context_.run();
    if (closing_) return {};
    if (ended_ != websocket::error::closed) return Failed("the connection", ended_);
    const auto& reason = stream_.reason();
    return Unavailable("the daemon closed the connection: " +
                       (reason.reason.empty() ? "code " + std::to_string(reason.code)
                                              : std::string(reason.reason.data(), reason.reason.size())));
  }

 private:
  void Read() {
    stream_.async_read(buffer_, [this](error_code error, size_t) {
      if (error) {
        ended_ = error;
        if (!closing_) context_.stop();
        return;
      }
      const std::string message = beast::buffers_to_string(buffer_.data());
      buffer_.consume(buffer_.size());
      if (closing_ || on_message_(message)) {
        Read();
      } else {
        Close();
      }
    });
  }
  void Close() {
    if (closing_) return;
    closing_ = true;
    error_code ignored;  // without them the next signal ends the program, which is what it is for
    stop_.clear(ignored);
    stream_.async_close(websocket::close_code::normal, [this](error_code) { context_.stop(); });
  }

  asio::io_context& context_;
  websocket::stream<Transport>& stream_;
  asio::signal_set stop_;
  const OnMessage& on_message_;
  beast::flat_buffer buffer_;
  bool closing_ = false;
  error_code ended_;
};

}  // namespace

Result<HttpClient> HttpClient::Create(const std::string& url, std::string key) {
  HttpClient client;
  client.tls_ = url.starts_with("https://");
  if (!client.tls_ && !url.starts_with("http://"))
    return InvalidArgument("\"" + url + "\" is not a URL such as http://127.0.0.1:8484");
  std::string_view rest = std::string_view(url).substr(url.find("//") + 2);
  const size_t slash = std::min(rest.find('/'), rest.size());
  client.prefix_ = std::string(rest.substr(slash));
  while (client.prefix_.ends_with('/')) client.prefix_.pop_back();
  std::string_view authority = rest.substr(0, slash);
  const size_t bracket = authority.rfind(']');
  const size_t colon = authority.rfind(':');
  const bool has_port = colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  client.port_ = has_port ? std::string(authority.substr(colon + 1)) : client.tls_ ? "443" : "80";
  if (has_port) authority = authority.substr(0, colon);
  if (authority.starts_with('[') && authority.ends_with(']')) authority = authority.substr(1, authority.size() - 2);
  client.host_ = std::string(authority);
  if (client.host_.empty() || client.port_.empty() || client.port_.find_first_not_of("0123456789") != std::string::npos)
    return InvalidArgument("\"" + url + "\" is not a URL such as http://127.0.0.1:8484");
  if (key.find_first_of("\r\n") != std::string::npos) return InvalidArgument("the API key holds a line break");
  client.key_ = std::move(key);
  return client;
}

static Status Connect(asio::io_context& context, tcp::socket& socket, const std::string& host,
                      const std::string& port) {
  const std::string where = host + ":" + port;
  error_code error;
  tcp::resolver resolver(context);
  const auto endpoints = resolver.resolve(host, port, error);
  if (error) return Failed(where, error);
  asio::connect(socket, endpoints, error);
  if (error) return Failed("connecting to " + where + " (is engramd running there?)", error);
  return {};
}

// What proves who either side is; see the header.
static Status Prepare(asio::ssl::context& tls) {
  error_code error;
  tls.set_verify_mode(asio::ssl::verify_peer);
  tls.set_default_verify_paths(error);
  if (error) return Failed("the authorities' certificates", error);
  const char* const certificate = std::getenv("ENGRAM_CLIENT_CERTIFICATE");
  const char* const key = std::getenv("ENGRAM_CLIENT_KEY");
  if (certificate != nullptr) tls.use_certificate_chain_file(certificate, error);
  if (error) return Failed("ENGRAM_CLIENT_CERTIFICATE, " + std::string(certificate), error);
  if (key != nullptr) tls.use_private_key_file(key, asio::ssl::context::pem, error);
  if (error) return Failed("ENGRAM_CLIENT_KEY, " + std::string(key), error);
  return {};
}

template <typename Stream>
static Status ShakeHands(Stream& stream, const std::string& host, const std::string& where) {
  error_code error;
  asio::ip::make_address(host, error);
  // A name is told to the server, which may have a certificate for each; addresses may not be.
  if (error) SSL_set_tlsext_host_name(stream.native_handle(), host.c_str());
  stream.set_verify_callback(asio::ssl::host_name_verification(host));
  stream.handshake(asio::ssl::stream_base::client, error);
  if (!error) return {};
  const long verified = SSL_get_verify_result(stream.native_handle());
  if (verified == X509_V_OK) return Failed("TLS with " + where, error);
  return Unavailable("TLS with " + where + ": the server's certificate: " + X509_verify_cert_error_string(verified) +
                     " (SSL_CERT_FILE names further authorities)");
}

static Status Begin(Exchange& exchange, bool tls, const std::string& host, const std::string& port,
                    const std::string& key, const HttpCall& call) {
  const std::string where = host + ":" + port;
  if (tls) ENGRAM_CHECK_OK(Prepare(exchange.tls));
  ENGRAM_CHECK_OK(Connect(exchange.context, exchange.socket.socket(), host, port));
  if (tls) ENGRAM_CHECK_OK(ShakeHands(exchange.socket.StartTls(exchange.tls), host, where));
  error_code error;
  http::request<http::string_body> request(http::string_to_verb(call.method), call.target, 11);
  request.set(http::field::host, where);
  request.set(http::field::user_agent, kUserAgent);
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
  ENGRAM_CHECK_OK(Begin(exchange, tls_, host_, port_, key_, sent));
  return ReadWhole(exchange);
}

Result<HttpAnswer> HttpClient::Call(const std::string& target, const std::string& body) const {
  return Send({.method = body.empty() ? "GET" : "POST", .target = target, .body = body});
}

Status HttpClient::Stream(const std::string& target, const std::string& body,
                          const std::function<bool(std::string_view)>& on_event) const {
  Exchange exchange;
  ENGRAM_CHECK_OK(
      Begin(exchange, tls_, host_, port_, key_, {.method = "POST", .target = prefix_ + target, .body = body}));
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

Status HttpClient::Follow(const std::string& target, const std::function<bool(std::string_view)>& on_message) const {
  asio::io_context context;
  if (!tls_) {
    websocket::stream<tcp::socket> stream(context);
    ENGRAM_CHECK_OK(Connect(context, stream.next_layer(), host_, port_));
    return FollowOn(context, stream, target, on_message);
  }
  asio::ssl::context tls(asio::ssl::context::tls_client);
  ENGRAM_CHECK_OK(Prepare(tls));
  websocket::stream<asio::ssl::stream<tcp::socket>> stream(context, tls);
  ENGRAM_CHECK_OK(Connect(context, stream.next_layer().next_layer(), host_, port_));
  ENGRAM_CHECK_OK(ShakeHands(stream.next_layer(), host_, host_ + ":" + port_));
  return FollowOn(context, stream, target, on_message);
}

template <typename Context, typename WebSocket>
Status HttpClient::FollowOn(Context& context, WebSocket& stream, const std::string& target,
                            const std::function<bool(std::string_view)>& on_message) const {
  stream.set_option(websocket::stream_base::timeout{kCloseTime, kSilence, true});
  stream.set_option(websocket::stream_base::decorator([this](websocket::request_type& request) {
    request.set(http::field::user_agent, kUserAgent);
    if (!key_.empty()) request.set(http::field::authorization, "Bearer " + key_);
  }));
  stream.read_message_max(kMaxEventBytes);
  error_code error;
  websocket::response_type answer;
  stream.handshake(answer, host_ + ":" + port_, prefix_ + target, error);
  if (error == websocket::error::upgrade_declined) return Unavailable(ErrorText({answer.result_int(), answer.body()}));
  if (error) return Failed("asking " + host_ + ":" + port_, error);
  return Follower<typename WebSocket::next_layer_type>(context, stream, on_message).Run();
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
