// SPDX-License-Identifier: Apache-2.0
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <span>
#include <utility>

#include "core/log.h"
#include "http/key_limiter.h"
#include "http/response_head.h"
#include "http/session_impl.h"

namespace engram {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// An answer up to this goes out with its head in one write; and how much a watched peer may send ahead at once.
constexpr size_t kJoinedBytes = 16u << 10;
constexpr size_t kAheadBytes = 16u << 10;
// How long a closing connection swallows what the peer is still sending, so that it can read our answer: closing with
// unread bytes would reset the connection and may destroy the answer on its way.
constexpr std::chrono::seconds kLingerTime{2};

}  // namespace

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
  const bool joined = response.body.size() <= kJoinedBytes;
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
  const std::span<char> space = reader_.Prepare(kAheadBytes);
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

}  // namespace engram
