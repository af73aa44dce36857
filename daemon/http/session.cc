// SPDX-License-Identifier: Apache-2.0
#include "http/session.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <utility>

#include "access/access_store.h"
#include "core/clock.h"
#include "core/log.h"
#include "http/audit.h"
#include "http/response_head.h"
#include "http/session_impl.h"

namespace engram {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// Bodies above this are parsed and tokenised on a work thread: 32 KiB take about a millisecond.
constexpr size_t kInlineBodyBytes = 32u << 10;
constexpr size_t kReadBytes = 16u << 10;
constexpr size_t kBodyReadBytes = 64u << 10;
// Close code of a WebSocket whose key may not go on (RFC 6455, 7.4.1).
constexpr uint16_t kPolicyViolation = 1008;

}  // namespace

SessionImpl::SessionImpl(Connection connection, const SessionEnvironment& environment)
    : env_(environment),
      executor_(connection.get_executor()),
      connection_(std::move(connection)),
      deadline_(executor_),
      wake_(executor_),
      reader_(environment.options.max_header_bytes, environment.options.max_body_bytes),
      upload_(environment.uploads) {
  error_code ec;
  const auto endpoint = connection_.socket().remote_endpoint(ec);
  if (!ec) peer_ = endpoint.address().to_string();
  // Best effort: without it streams are only less smooth.
  connection_.socket().set_option(tcp::no_delay(true), ec);
}

void SessionImpl::Start(std::function<void()> on_closed) {
  Spawn(&SessionImpl::Serve, std::move(on_closed));
}

void SessionImpl::Refuse(std::function<void()> on_closed) {
  Spawn(&SessionImpl::SayFull, std::move(on_closed));
}

void SessionImpl::Drain() {
  asio::post(executor_, [self = shared_from_this()] {
    if (self->web_socket_) return self->web_socket_->Drain();
    if (self->idle_) self->CloseSocket();
  });
}

void SessionImpl::Close() {
  asio::post(executor_, [self = shared_from_this()] { self->CloseSocket(); });
}

void SessionImpl::CheckKey() {
  asio::post(executor_, [self = shared_from_this()] { self->EndIfForbidden(); });
}

void SessionImpl::Spawn(asio::awaitable<void> (SessionImpl::*run)(), std::function<void()> on_closed) {
  asio::co_spawn(
      executor_, [self = shared_from_this(), run] { return ((*self).*run)(); },
      [self = shared_from_this(), on_closed = std::move(on_closed)](const std::exception_ptr& exception) {
        try {
          if (exception) std::rethrow_exception(exception);
        } catch (const std::exception& e) {
          log::Error("connection from {}: {}", self->peer_, e.what());
        }
        self->source_.reset();
        self->upload_.Release();
        self->CloseSocket();
        on_closed();
      });
}

void SessionImpl::CloseSocket() {
  closed_ = true;
  if (web_socket_) web_socket_->Close();
  connection_.Close();
  deadline_.cancel();
  wake_.cancel();
}

void SessionImpl::ArmDeadline(Clock::duration duration) {
  timed_out_ = false;
  deadline_.expires_after(duration);
  deadline_.async_wait([self = shared_from_this()](error_code ec) {
    // A wait that was already due when the deadline moved arrives without an error: the expiry tells.
    if (ec || self->deadline_.expiry() > Clock::now()) return;
    self->timed_out_ = true;
    self->connection_.Cancel();
  });
}

// Reads once. False when the connection is at its end, closed or timed out, or the buffer is full.
asio::awaitable<bool> SessionImpl::Fill(size_t max_bytes) {
  const std::span<char> space = reader_.Prepare(max_bytes);
  if (space.empty() || closed_ || timed_out_) co_return false;
  error_code ec;
  const size_t num_bytes = co_await connection_.async_read_some(asio::buffer(space.data(), space.size()),
                                                                asio::redirect_error(asio::use_awaitable, ec));
  if (ec || num_bytes == 0) co_return false;
  reader_.Commit(num_bytes);
  co_return true;
}

asio::awaitable<RequestReader::State> SessionImpl::ReadHeader() {
  idle_ = reader_.buffered_bytes() == 0;
  ArmDeadline(idle_ && status_ != 0 ? env_.options.idle_timeout : env_.options.header_timeout);
  RequestReader::State state = reader_.Advance();
  while (state == RequestReader::State::kHeader) {
    if (idle_ && env_.draining) break;
    const bool more = co_await Fill(kReadBytes);
    if (!more) break;
    if (idle_ && status_ != 0) ArmDeadline(env_.options.header_timeout);
    idle_ = false;
    state = reader_.Advance();
  }
  if (!timed_out_) DisarmDeadline();
  co_return state;
}

asio::awaitable<RequestReader::State> SessionImpl::ReadBody() {
  ArmDeadline(env_.options.body_timeout);
  RequestReader::State state = reader_.Advance();
  if (state == RequestReader::State::kBody && reader_.expects_continue()) {
    const bool written = co_await Write("HTTP/1.1 100 Continue\r\n\r\n");
    if (!written) co_return state;
    ArmDeadline(env_.options.body_timeout);
  }
  while (state == RequestReader::State::kBody) {
    const bool more = co_await Fill(kBodyReadBytes);
    if (!more) break;
    state = reader_.Advance();
  }
  if (!timed_out_) DisarmDeadline();
  co_return state;
}

// With TLS, agrees on its keys. False: the peer gave up, or speaks something else.
asio::awaitable<bool> SessionImpl::Handshake() {
  if (!connection_.is_tls()) co_return true;
  ArmDeadline(env_.options.header_timeout);
  error_code ec;
  co_await connection_.async_handshake(asio::redirect_error(asio::use_awaitable, ec));
  if (ec) log::Debug("TLS handshake with {}: {}", peer_, ec.message());
  if (!timed_out_) DisarmDeadline();
  co_return !ec && !closed_ && !timed_out_;
}

asio::awaitable<void> SessionImpl::Serve() {
  const bool agreed = co_await Handshake();
  if (!agreed) co_return;
  for (;;) {
    RequestReader::State state = co_await ReadHeader();
    if (closed_ || (state == RequestReader::State::kHeader && !(timed_out_ && reader_.buffered_bytes() > 0))) break;
    started_ = Clock::now();
    Request& request = reader_.request();
    request.peer = peer_;
    request.client = peer_;
    request.request_id = RequestId(request);
    status_ = 0;
    audited_ = false;

    std::optional<Response> refused;
    if (state == RequestReader::State::kBody || state == RequestReader::State::kComplete) {
      refused = env_.router.CheckHead(request);
      key_ = request.key;
      scope_ = request.scope;
      if (!refused) refused = AdmitUpload();
      if (!refused && state == RequestReader::State::kBody) {
        state = co_await ReadBody();
        if (closed_ || (state == RequestReader::State::kBody && !timed_out_)) break;
      }
    }
    keep_alive_ = request.keep_alive && state == RequestReader::State::kComplete && !env_.draining;
    if (state == RequestReader::State::kFailed) {
      reply_.emplace(ErrorResponse(reader_.error()));
    } else if (refused) {
      reply_.emplace(std::move(*refused));
    } else if (state == RequestReader::State::kComplete) {
      co_await MakeReply();
    } else {
      reply_.emplace(ErrorResponse({408, "the request took too long to arrive"}));
    }
    if (closed_) break;
    if (reply_->channel && forbidden_) reply_.emplace(ErrorResponse(*forbidden_));
    if (reply_->channel && reader_.buffered_bytes() == 0) {
      co_await ServeWebSocket();
      break;
    }
    if (reply_->channel) {
      keep_alive_ = false;
      reply_.emplace(ErrorResponse({400, "malformed WebSocket request: frames came before it was answered"}));
    }
    const bool written = co_await WriteReply();
    source_.reset();
    FinishRequest();
    if (!written || closed_) break;
    if (!keep_alive_) {
      co_await Linger();
      break;
    }
    reader_.Next();
    upload_.Release();
  }
}

// Lets a route that takes uploads have a large body, if not too many are held already.
std::optional<Response> SessionImpl::AdmitUpload() {
  if (!IsUpload(reader_.request()) || !env_.router.OptionsOf(reader_.request()).uploads ||
      reader_.announced_body_bytes().value_or(env_.options.max_upload_bytes) <= env_.options.max_body_bytes)
    return std::nullopt;
  if (!upload_.Acquire()) return ErrorResponse(ApiError(Unavailable("too many large uploads are under way")));
  reader_.AllowBody(env_.options.max_upload_bytes);
  return std::nullopt;
}

// Runs the handler, here or on a work thread.
asio::awaitable<void> SessionImpl::MakeReply() {
  const Request& request = reader_.request();
  if (request.body.size() <= kInlineBodyBytes && !env_.router.OptionsOf(request).blocks) {
    reply_.emplace(env_.router.Dispatch(request));
    co_return;
  }
  reply_.reset();
  asio::post(env_.work, [self = shared_from_this()] {
    Reply reply = self->env_.router.Dispatch(self->reader_.request());
    asio::post(self->executor_, [self, reply = std::make_shared<Reply>(std::move(reply))] {
      self->reply_.emplace(std::move(*reply));
      self->Wake();
    });
  });
  // The work thread reads the request until it is done, so not even a closed connection ends the wait.
  while (!reply_) co_await WaitForWake();
}

// The connection is the WebSocket's from here on.
asio::awaitable<void> SessionImpl::ServeWebSocket() {
  const std::string name = reader_.request().request_id + " " + reader_.request().client;
  web_socket_ = NewWebSocket(std::move(connection_), reader_.request(), std::move(reply_->channel), env_);
  reply_.reset();
  if (env_.draining) web_socket_->Drain();
  const uint16_t code = co_await web_socket_->Run([this] {
    status_ = 101;
    FinishRequest();
    reader_.Release();
    env_.metrics.websockets().Add(1);
  });
  if (code == 0) {
    FinishRequest();
    co_return;
  }
  env_.metrics.websockets().Add(-1);
  const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  log::Info("websocket closed {} after {:.1f} s {}", code, seconds, name);
}

// Only generations and WebSockets: what else is under way was allowed when it came, and is soon over.
void SessionImpl::EndIfForbidden() {
  if (scope_ == Scope::kNone || forbidden_ || (scope_ != Scope::kGenerate && !web_socket_)) return;
  forbidden_ = env_.authenticator.Read()->Objection(key_.get(), scope_, UnixMs());
  if (!forbidden_) return;
  if (web_socket_) return web_socket_->End({kPolicyViolation, forbidden_->message});
  source_.reset();  // the generation ends now, however long the peer takes to read of it
  Wake();
}

// Before the answer goes out, so that who has it finds it in the log.
void SessionImpl::Audit(int status, std::string_view body) {
  const Request& request = reader_.request();
  if (env_.access == nullptr || audited_) return;
  const bool denied = IsDenied(request, status);
  if (!denied && !IsAudited(request)) return;
  audited_ = true;
  AuditEntry entry = MakeAuditEntry(request, env_.router.Label(request), status, body);
  if (denied) {
    env_.access->RecordFailure(std::move(entry));
  } else {
    env_.access->Record(std::move(entry));
  }
}

asio::awaitable<void> SessionImpl::SayFull() {
  const bool agreed = co_await Handshake();
  if (!agreed) co_return;
  Response response = ErrorResponse(ApiError(Unavailable("too many connections are open")));
  ResponseHead head{response, "", env_.options.server_version};
  head.content_length = response.body.size();
  const bool written = co_await Write(FormatHead(head) + response.body);
  if (written) co_await Linger();
}

void SessionImpl::FinishRequest() {
  const Request& request = reader_.request();
  const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  // 499 as other servers log it: the client closed before an answer began.
  const int status = status_ == 0 ? 499 : status_;
  Audit(status, {});
  scope_ = web_socket_ ? scope_ : Scope::kNone;
  forbidden_.reset();
  const std::string_view label = request.path.empty() ? "other" : env_.router.Label(request);
  env_.metrics.CountRequest(label, request.method, status, seconds);
  log::Info("{} {} {} {:.1f} ms {} {}", request.method.empty() ? "-" : request.method.substr(0, 16),
            label == "other" ? "(unknown route)" : request.path.substr(0, 200), status, seconds * 1e3,
            request.request_id, request.client);
  status_ = status;
}

std::shared_ptr<Session> NewSession(Connection connection, const SessionEnvironment& environment) {
  return std::make_shared<SessionImpl>(std::move(connection), environment);
}

}  // namespace engram
