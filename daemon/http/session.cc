// SPDX-License-Identifier: Apache-2.0
#include "http/session.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>

#include "access/access_store.h"
#include "core/clock.h"
#include "core/log.h"
#include "http/audit.h"
#include "http/key_limiter.h"
#include "http/request_reader.h"
#include "http/response_head.h"
#include "http/upload_slot.h"
#include "http/websocket.h"

namespace engram {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

// Bodies above this are parsed and tokenised on a work thread: 32 KiB take about a millisecond.
constexpr size_t kInlineBodyBytes = 32u << 10;
constexpr size_t kReadBytes = 16u << 10;
constexpr size_t kBodyReadBytes = 64u << 10;
// How long a closing connection swallows what the peer is still sending, so that it can read our answer: closing with
// unread bytes would reset the connection and may destroy the answer on its way.
constexpr std::chrono::seconds kLingerTime{2};
// Close code of a WebSocket whose key may not go on (RFC 6455, 7.4.1).
constexpr uint16_t kPolicyViolation = 1008;

class SessionImpl final : public Session, public std::enable_shared_from_this<SessionImpl> {
 public:
  SessionImpl(Connection connection, const SessionEnvironment& environment)
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

  void Start(std::function<void()> on_closed) override { Spawn(&SessionImpl::Serve, std::move(on_closed)); }
  void Refuse(std::function<void()> on_closed) override { Spawn(&SessionImpl::SayFull, std::move(on_closed)); }

  void Drain() override {
    asio::post(executor_, [self = shared_from_this()] {
      if (self->web_socket_) return self->web_socket_->Drain();
      if (self->idle_) self->CloseSocket();
    });
  }
  void Close() override {
    asio::post(executor_, [self = shared_from_this()] { self->CloseSocket(); });
  }
  void CheckKey() override {
    asio::post(executor_, [self = shared_from_this()] { self->EndIfForbidden(); });
  }

 private:
  void Spawn(asio::awaitable<void> (SessionImpl::*run)(), std::function<void()> on_closed) {
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

  void CloseSocket() {
    closed_ = true;
    if (web_socket_) web_socket_->Close();
    connection_.Close();
    deadline_.cancel();
    wake_.cancel();
  }

  // Cancels what the socket waits for once `duration` has passed, and sets timed_out_.
  void ArmDeadline(Clock::duration duration) {
    timed_out_ = false;
    deadline_.expires_after(duration);
    deadline_.async_wait([self = shared_from_this()](error_code ec) {
      // A wait that was already due when the deadline moved arrives without an error: the expiry tells.
      if (ec || self->deadline_.expiry() > Clock::now()) return;
      self->timed_out_ = true;
      self->connection_.Cancel();
    });
  }
  void DisarmDeadline() { deadline_.expires_at(Clock::time_point::max()); }

  asio::awaitable<bool> Handshake();
  asio::awaitable<void> Serve();
  asio::awaitable<void> SayFull();
  asio::awaitable<bool> Fill(size_t max_bytes);
  asio::awaitable<RequestReader::State> ReadHeader();
  asio::awaitable<RequestReader::State> ReadBody();
  asio::awaitable<void> MakeReply();
  asio::awaitable<void> ServeWebSocket();
  asio::awaitable<bool> WriteReply();
  asio::awaitable<bool> WriteWhole(Response response);
  asio::awaitable<bool> WriteStream();
  asio::awaitable<bool> Write(std::string bytes);
  asio::awaitable<void> WaitForWake();
  asio::awaitable<void> StopWatching();
  asio::awaitable<void> Linger();
  ReplySource::Step Forbid(bool headed);
  void WatchPeer();
  void Wake() {
    woken_ = true;
    wake_.cancel();
  }
  std::optional<Response> AdmitUpload();
  void EndIfForbidden();
  void Audit(int status, std::string_view body);
  void FinishRequest();

  const SessionEnvironment env_;
  const Connection::executor_type executor_;
  Connection connection_;  // moved on once it is a WebSocket
  asio::steady_timer deadline_;
  asio::steady_timer wake_;  // never expires; cancelled to wake the coroutine
  asio::cancellation_signal stop_watching_;
  RequestReader reader_;
  std::string peer_ = "unknown";

  bool closed_ = false;
  bool timed_out_ = false;
  bool idle_ = true;       // no byte of a request has come
  bool woken_ = false;     // since the coroutine last waited
  bool watching_ = false;  // a read is pending beside the coroutine
  bool peer_gone_ = false;
  bool keep_alive_ = false;
  UploadSlot upload_;  // of the request that is read or answered

  // The request being answered.
  Clock::time_point started_;
  std::optional<Reply> reply_;
  std::unique_ptr<ReplySource> source_;
  std::shared_ptr<WebSocket> web_socket_;  // what the connection has become
  int status_ = 0;
  std::shared_ptr<const AccessKey> key_;  // the request's, or the WebSocket's
  Scope scope_ = Scope::kNone;            // what it needs; kNone: nothing is under way
  std::optional<ApiError> forbidden_;     // why it may not go on
  bool audited_ = false;
};

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

asio::awaitable<bool> SessionImpl::WriteReply() {
  source_ = std::move(reply_->source);
  if (source_) {
    const bool written = co_await WriteStream();
    co_return written;
  }
  const bool written = co_await WriteWhole(std::move(reply_->response));
  co_return written;
}

asio::awaitable<bool> SessionImpl::WriteWhole(Response response) {
  const Request& request = reader_.request();
  status_ = response.status;
  Audit(status_, response.body);
  ResponseHead head{response, request.request_id, env_.options.server_version};
  head.content_length = response.body.size();
  head.keep_alive = keep_alive_;
  head.http_1_0 = request.http_1_0;
  if (request.limiter) head.more = request.limiter->Headers();
  std::string bytes = FormatHead(head);
  // Small answers go out in one write, large ones are not copied.
  const bool joined = response.body.size() <= kReadBytes;
  if (request.method != "HEAD" && joined) bytes += response.body;
  bool written = co_await Write(std::move(bytes));
  if (written && request.method != "HEAD" && !joined) written = co_await Write(std::move(response.body));
  co_return written;
}

// Follows source_ until it is done. False when the connection cannot be used any more.
asio::awaitable<bool> SessionImpl::WriteStream() {
  bool chunked = false;
  peer_gone_ = false;
  source_->Start([weak = weak_from_this()] {
    if (auto self = weak.lock()) asio::post(self->executor_, [self] { self->Wake(); });
  });
  WatchPeer();
  bool written = true;
  bool aborted = false;
  bool headed = false;
  for (bool done = false; !done && written;) {
    ReplySource::Step step = forbidden_ ? Forbid(headed) : source_->Poll();
    headed = headed || step.head;
    done = step.done;
    aborted = step.aborted;
    if (step.head && !step.streamed) {
      co_await StopWatching();
      if (peer_gone_) co_return false;
      written = co_await WriteWhole(std::move(*step.head));
      co_return written && !aborted;
    }
    std::string bytes;
    if (step.head) {
      const Request& request = reader_.request();
      status_ = step.head->status;
      chunked = !request.http_1_0;
      if (!chunked) keep_alive_ = false;  // HTTP/1.0 knows the end of a stream only by the close
      ResponseHead head{*step.head, request.request_id, env_.options.server_version};
      head.chunked = chunked;
      head.keep_alive = keep_alive_;
      head.http_1_0 = request.http_1_0;
      if (request.limiter) head.more = request.limiter->Headers();
      bytes = FormatHead(head);
    }
    if (!step.data.empty()) {
      if (chunked) AppendChunk(bytes, step.data);
      if (!chunked) bytes += step.data;
    }
    if (done && !aborted && chunked) bytes += "0\r\n\r\n";
    if (!bytes.empty()) {
      written = co_await Write(std::move(bytes));
    } else if (!done) {
      co_await WaitForWake();
    }
    if (peer_gone_ || closed_) written = false;
  }
  co_await StopWatching();
  co_return written && !aborted;
}

// Writes everything; every write that makes no progress for write_timeout ends the connection.
asio::awaitable<bool> SessionImpl::Write(std::string bytes) {
  size_t offset = 0;
  while (offset < bytes.size()) {
    if (closed_) co_return false;
    ArmDeadline(env_.options.write_timeout);
    error_code ec;
    const auto rest = asio::buffer(bytes.data() + offset, bytes.size() - offset);
    const size_t num_bytes = co_await connection_.async_write_some(rest, asio::redirect_error(asio::use_awaitable, ec));
    if (ec || timed_out_) {
      if (timed_out_) log::Debug("connection from {}: the peer did not read for too long", peer_);
      co_return false;
    }
    offset += num_bytes;
  }
  DisarmDeadline();
  co_return true;
}

// Waits for Wake() or CloseSocket(). Whoever waits after the socket was closed is still woken: by the work thread's
// answer, or by the aborted read.
asio::awaitable<void> SessionImpl::WaitForWake() {
  if (!woken_) {
    wake_.expires_at(Clock::time_point::max());
    error_code ec;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
  woken_ = false;
}

// Keeps a read pending while a reply is made: it notices a peer that goes away, and keeps the requests that a
// pipelining client sends meanwhile. With the buffer full nothing is read, and a lost peer is noticed when writing.
void SessionImpl::WatchPeer() {
  if (closed_ || watching_) return;
  const std::span<char> space = reader_.Prepare(kReadBytes);
  if (space.empty()) return;
  watching_ = true;
  connection_.async_read_some(
      asio::buffer(space.data(), space.size()),
      asio::bind_cancellation_slot(stop_watching_.slot(), [self = shared_from_this()](error_code ec, size_t num_bytes) {
        self->watching_ = false;
        if (!ec) {
          self->reader_.Commit(num_bytes);
          if (self->source_) self->WatchPeer();
        } else if (ec != asio::error::operation_aborted) {
          self->peer_gone_ = true;
          // A reply that is stuck in a write to a peer that is gone ends now, not at the write timeout.
          self->connection_.Cancel();
        }
        self->Wake();
      }));
}

asio::awaitable<void> SessionImpl::StopWatching() {
  while (watching_) {
    stop_watching_.emit(asio::cancellation_type::all);
    co_await WaitForWake();
  }
  woken_ = false;
}

// The end of a reply whose key may not have it any more: an error, or the last event of those that have begun.
ReplySource::Step SessionImpl::Forbid(bool headed) {
  source_.reset();
  ReplySource::Step step;
  step.done = true;
  if (headed) {
    step.data = "data: " + ErrorJson(*forbidden_) + "\n\n";
  } else {
    step.head = ErrorResponse(*forbidden_);
  }
  return step;
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

asio::awaitable<void> SessionImpl::Linger() {
  error_code ec;
  ArmDeadline(kLingerTime);
  if (connection_.is_tls()) {
    co_await connection_.async_shutdown(asio::redirect_error(asio::use_awaitable, ec));
    co_return;
  }
  connection_.socket().shutdown(tcp::socket::shutdown_send, ec);
  if (ec) co_return;
  char sink[4096];
  while (!closed_ && !timed_out_) {
    co_await connection_.async_read_some(asio::buffer(sink), asio::redirect_error(asio::use_awaitable, ec));
    if (ec) break;
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

}  // namespace

std::shared_ptr<Session> NewSession(Connection connection, const SessionEnvironment& environment) {
  return std::make_shared<SessionImpl>(std::move(connection), environment);
}

}  // namespace engram
