// SPDX-License-Identifier: Apache-2.0
#include "http/request_reader.h"

#include <algorithm>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

namespace engram {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

// What may wait in the buffer beside one header: pipelined requests, or the part of a body that came with it.
constexpr size_t kExtraBufferBytes = 64u << 10;

// "0", CRLF, CRLF: what every chunked body ends with. Boost.Beast 1.81 takes for granted that it has come by the time
// it looks at a last chunk for the second time, and ends the process (an assertion) if one more byte has come instead.
constexpr size_t kLastChunkBytes = 5;

ApiError FromParser(const beast::error_code& ec, uint32_t max_header_bytes, uint64_t max_body_bytes) {
  if (ec == http::error::header_limit) {
    return {431, "the request header is larger than " + std::to_string(max_header_bytes) + " bytes"};
  }
  if (ec == http::error::body_limit) {
    return {413, "the request body is larger than " + std::to_string(max_body_bytes) + " bytes"};
  }
  if (ec == http::error::bad_version) return {505, "only HTTP/1.0 and HTTP/1.1 are supported"};
  return {400, "malformed HTTP request: " + ec.message()};
}

}  // namespace

struct RequestReader::Impl {
  Impl(uint32_t header_bytes, uint64_t body_bytes)
      : max_header_bytes(header_bytes), max_body_bytes(body_bytes), buffer(header_bytes + kExtraBufferBytes) {}

  void Restart() {
    parser.emplace();
    parser->header_limit(max_header_bytes);
    parser->body_limit(boost::none);  // set by BeginBody(), when the request's own limit is known
    request = Request();
    expects_continue = false;
    header_bytes = 0;
    body_limit = max_body_bytes;
    body_begun = false;
    state = State::kHeader;
  }
  State Fail(ApiError why) {
    error = std::move(why);
    return state = State::kFailed;
  }
  // Nothing, or why the body is refused.
  std::optional<ApiError> BeginBody();
  // Copies the parsed header into `request`. Nothing, or why the request is refused.
  std::optional<ApiError> TakeHeader();
  std::optional<ApiError> TakeTarget();

  const uint32_t max_header_bytes;
  const uint64_t max_body_bytes;  // unless AllowBody() says otherwise
  size_t header_bytes = 0;        // taken so far
  uint64_t body_limit = 0;
  bool body_begun = false;
  beast::flat_buffer buffer;
  std::optional<http::request_parser<http::string_body>> parser;
  State state = State::kHeader;
  Request request;
  bool expects_continue = false;
  ApiError error;
};

RequestReader::RequestReader(uint32_t max_header_bytes, uint64_t max_body_bytes)
    : impl_(std::make_unique<Impl>(max_header_bytes, max_body_bytes)) {
  impl_->Restart();
}
RequestReader::~RequestReader() = default;

std::span<char> RequestReader::Prepare(size_t max_bytes) {
  beast::flat_buffer& buffer = impl_->buffer;
  const size_t room = std::min(max_bytes, buffer.max_size() - buffer.size());
  if (room == 0) return {};
  const auto space = buffer.prepare(room);
  return {static_cast<char*>(space.data()), space.size()};
}

void RequestReader::Commit(size_t num_bytes) {
  impl_->buffer.commit(num_bytes);
}
size_t RequestReader::buffered_bytes() const {
  return impl_->buffer.size();
}
RequestReader::State RequestReader::state() const {
  return impl_->state;
}
Request& RequestReader::request() {
  return impl_->request;
}
std::optional<uint64_t> RequestReader::announced_body_bytes() const {
  if (impl_->parser->chunked()) return std::nullopt;
  const auto length = impl_->parser->content_length();
  return length ? *length : 0;
}
void RequestReader::AllowBody(uint64_t max_bytes) {
  impl_->body_limit = max_bytes;
}
bool RequestReader::expects_continue() const {
  return impl_->expects_continue;
}
const ApiError& RequestReader::error() const {
  return impl_->error;
}
void RequestReader::Next() {
  impl_->Restart();
}

void RequestReader::Release() {
  impl_->Restart();
  impl_->buffer.clear();
  impl_->buffer.shrink_to_fit();
}

RequestReader::State RequestReader::Advance() {
  Impl& me = *impl_;
  auto& parser = *me.parser;
  while (me.state == State::kHeader || me.state == State::kBody) {
    if (me.state == State::kBody && parser.is_done()) {
      me.request.body = std::move(parser.get().body());
      return me.state = State::kComplete;
    }
    if (me.state == State::kBody && !me.body_begun) {
      if (auto refused = me.BeginBody()) return me.Fail(std::move(*refused));
    }
    if (me.buffer.size() == 0) return me.state;
    if (me.state == State::kBody && parser.chunked() && me.buffer.size() < kLastChunkBytes) return me.state;
    beast::error_code ec;
    const size_t used = parser.put(me.buffer.data(), ec);
    me.buffer.consume(used);
    if (me.state == State::kHeader) me.header_bytes += used;
    if (ec == http::error::need_more) {
      // A line that does not fit the buffer, such as an endless chunk extension, would never end.
      if (used == 0 && me.buffer.size() == me.buffer.max_size())
        return me.Fail({400, "malformed HTTP request: line too long"});
      if (used == 0) return me.state;
      continue;
    }
    if (ec) return me.Fail(FromParser(ec, me.max_header_bytes, me.body_limit));
    if (me.state == State::kHeader && parser.is_header_done()) {
      if (auto refused = me.TakeHeader()) return me.Fail(std::move(*refused));
      parser.eager(true);
      me.state = State::kBody;
      if (parser.is_done()) continue;
      return me.state;
    }
  }
  return me.state;
}

std::optional<ApiError> RequestReader::Impl::BeginBody() {
  body_begun = true;
  parser->body_limit(body_limit);
  const auto length = parser->content_length();
  if (!length || *length <= body_limit) return std::nullopt;
  return FromParser(http::error::body_limit, max_header_bytes, body_limit);
}

std::optional<ApiError> RequestReader::Impl::TakeHeader() {
  // Beast measures the request line and the fields each by themselves, or together, by the pieces they come in.
  if (header_bytes > max_header_bytes) return FromParser(http::error::header_limit, max_header_bytes, body_limit);
  const auto& message = parser->get();
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  request.http_1_0 = message.version() == 10;
  request.keep_alive = parser->keep_alive();
  size_t num_hosts = 0;
  size_t num_lengths = 0;
  size_t num_encodings = 0;
  for (const auto& field : message) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
    num_hosts += name == "host";
    num_lengths += name == "content-length";
    num_encodings += name == "transfer-encoding";
    request.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  if (num_lengths > 1 || (num_lengths > 0 && num_encodings > 0)) {
    return ApiError(400, "malformed HTTP request: ambiguous body length");
  }
  // Beast also takes a list of equal lengths, "5, 5".
  const std::string* length = request.Header("content-length");
  if (length != nullptr && length->find_first_not_of("0123456789") != std::string::npos) {
    return ApiError(400, "malformed HTTP request: bad Content-Length");
  }
  if (num_encodings > 0) {
    // Beast takes only a final "chunked" for framing and ignores everything else; a proxy in front may not.
    if (request.http_1_0) return ApiError(400, "malformed HTTP request: Transfer-Encoding in HTTP/1.0");
    if (num_encodings > 1 || !beast::iequals(*request.Header("transfer-encoding"), "chunked")) {
      return ApiError(501, "transfer encodings other than \"chunked\" are not supported");
    }
  }
  if (num_hosts > 1 || (num_hosts == 0 && !request.http_1_0)) {
    return ApiError(400, "malformed HTTP request: exactly one Host header is needed");
  }
  if (const std::string* expect = request.Header("expect")) {
    if (!beast::iequals(*expect, "100-continue")) return ApiError(417, "only \"Expect: 100-continue\" is supported");
    expects_continue = !request.http_1_0;
  }
  request.has_body = num_lengths + num_encodings > 0;
  return TakeTarget();
}

std::optional<ApiError> RequestReader::Impl::TakeTarget() {
  std::string_view path = request.target;
  if (path.starts_with("http://") || path.starts_with("https://")) {
    path.remove_prefix(path.find("//") + 2);
    const size_t slash = path.find('/');
    path = slash == std::string_view::npos ? std::string_view("/") : path.substr(slash);
  }
  path = path.substr(0, path.find_first_of("?#"));
  if (request.method == "CONNECT" || (request.method == "OPTIONS" && path == "*")) {
    request.path = std::string(path);
    return std::nullopt;
  }
  auto decoded = path.starts_with('/') ? PercentDecode(path) : std::nullopt;
  if (!decoded) return ApiError(400, "malformed HTTP request: bad request target");
  request.path = std::move(*decoded);
  return std::nullopt;
}

}  // namespace engram
