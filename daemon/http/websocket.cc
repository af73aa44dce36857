// SPDX-License-Identifier: Apache-2.0
#include "http/websocket.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "core/log.h"
#include "http/websocket_request.h"

namespace engram {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = boost::beast::websocket;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

// Messages above this are read on a work thread, as the bodies of requests are.
constexpr size_t kInlineMessageBytes = 32u << 10;
// What one write may bring on its way within write_timeout.
constexpr size_t kWriteBytes = 64u << 10;
// What an idle connection keeps of its read buffer.
constexpr size_t kKeptBufferBytes = 4u << 10;
constexpr std::chrono::seconds kHandshakeTime{10};
// From our close frame to the peer's.
constexpr std::chrono::seconds kCloseTime{5};

// Windows of 4 KiB and little memory for hash chains: 24 KiB for a connection that compresses rather than 256. Single
// tokens stay below the threshold: compressing them costs more than it saves.
websocket::permessage_deflate DeflateOptions() {
  websocket::permessage_deflate options;
  options.server_enable = true;
  options.server_max_window_bits = 12;
  options.client_max_window_bits = 12;
  options.compLevel = 3;
  options.memLevel = 4;
  options.msg_size_threshold = 256;
  return options;
}

const ChannelClose kInternalError{1011, "internal error"};

// Without an action: it went wrong.
Channel::Action TryReceive(Channel& channel, std::string message) {
  try {
    return channel.Receive(std::move(message));
  } catch (const std::exception& exception) {
    log::Error("websocket: {}", exception.what());
    return nullptr;
  }
}

class WebSocketImpl final : public WebSocket, public std::enable_shared_from_this<WebSocketImpl> {
 public:
  WebSocketImpl(Connection connection, const Request& request, std::unique_ptr<Channel> channel,
                const SessionEnvironment& environment)
      : env_(environment),
        stream_(std::move(connection)),
        deadline_(stream_.get_executor()),
        wake_(stream_.get_executor()),
        channel_(std::move(channel)) {
    upgrade_.method(beast::http::verb::get);
    upgrade_.target(request.target);
    for (const auto& [name, value] : request.headers) upgrade_.insert(name, value);
    stream_.set_option(DeflateOptions());
    stream_.set_option(websocket::stream_base::timeout{kHandshakeTime, env_.options.websocket_ping_interval * 2, true});
    const auto offered = HeaderItems(request, "sec-websocket-protocol");
    const bool confirm = std::find(offered.begin(), offered.end(), kWebSocketProtocol) != offered.end();
    stream_.set_option(websocket::stream_base::decorator(
        [confirm, id = request.request_id, version = env_.options.server_version](websocket::response_type& response) {
          response.set(beast::http::field::server, "engramd/" + version);
          response.set("X-Request-Id", id);
          if (confirm) response.set(beast::http::field::sec_websocket_protocol, kWebSocketProtocol);
        }));
    stream_.read_message_max(env_.options.websocket_max_message_bytes);
    stream_.auto_fragment(false);
    stream_.text(true);
  }

  asio::awaitable<uint16_t> Run(std::function<void()> on_open) override;
  void Drain() override {
    draining_ = true;
    if (channel_) channel_->Drain();
    Wake();
  }
  void End(ChannelClose close) override {
    if (!close_) close_ = std::move(close);
    ended_ = true;
    if (opened_) {
      channel_.reset();  // with close_ set nothing asks it any more
      ArmDeadline(kCloseTime);
    }
    Wake();
  }
  void Close() override {
    closed_ = true;
    stream_.next_layer().Close();
    Wake();
  }

 private:
  void Read();
  void OnRead(error_code ec);
  void Receive(std::string message);
  void Apply(const Channel::Action& action);
  asio::awaitable<void> Converse();
  asio::awaitable<bool> Write(const std::string& message);
  asio::awaitable<void> SendClose();
  void Wake() {
    woken_ = true;
    wake_.cancel();
  }
  asio::awaitable<void> WaitForWake();
  void ArmDeadline(Clock::duration duration);

  const SessionEnvironment env_;
  websocket::stream<Connection> stream_;
  asio::steady_timer deadline_;
  asio::steady_timer wake_;  // never expires; cancelled to wake the coroutine
  websocket::request_type upgrade_;
  beast::flat_buffer buffer_;
  std::shared_ptr<Channel> channel_;  // shared with a work thread that reads a message

  bool draining_ = false;
  bool opened_ = false;
  bool ended_ = false;      // by End()
  bool closed_ = false;     // the socket is
  bool receiving_ = false;  // a message is being read, by the socket or the channel
  bool woken_ = false;      // since the coroutine last waited
  std::optional<error_code> read_error_;
  std::optional<ChannelClose> close_;  // our reason to close
};

asio::awaitable<uint16_t> WebSocketImpl::Run(std::function<void()> on_open) {
  const auto self = shared_from_this();
  error_code ec;
  co_await stream_.async_accept(upgrade_, asio::redirect_error(asio::use_awaitable, ec));
  upgrade_ = {};
  if (ec || closed_) {
    channel_.reset();
    co_return 0;
  }
  opened_ = true;
  on_open();
  if (draining_) channel_->Drain();
  channel_->Start([weak = weak_from_this()] {
    auto owner = weak.lock();
    if (!owner) return;
    const auto executor = owner->stream_.get_executor();
    // The reference moves on: its end here could be the channel's, whose locks the caller holds.
    asio::post(executor, [owner = std::move(owner)] { owner->Wake(); });
  });
  co_await Converse();
  channel_.reset();
  deadline_.cancel();
  if (close_) co_return close_->code;
  if (read_error_ == websocket::error::message_too_big) co_return 1009;
  const auto code = stream_.reason().code;
  co_return code == websocket::close_code::none ? uint16_t{1006} : static_cast<uint16_t>(code);
}

asio::awaitable<void> WebSocketImpl::Converse() {
  Read();
  while (!closed_ && !read_error_ && !close_) {
    Channel::Step step;
    try {
      step = channel_->Poll();
    } catch (const std::exception& exception) {
      log::Error("websocket: {}", exception.what());
      close_ = kInternalError;
      break;
    }
    for (const std::string& message : step.messages) {
      if (ended_) break;
      const bool written = co_await Write(message);
      if (!written) {
        Close();
        co_return;
      }
    }
    if (step.close && !close_) close_ = std::move(step.close);
    if (close_ || read_error_) break;
    Read();
    if (step.messages.empty()) co_await WaitForWake();
  }
  if (close_ && !read_error_ && !closed_) co_await SendClose();
}

// One message after the other, and none while answers pile up. Pings are answered while a read is pending.
void WebSocketImpl::Read() {
  if (receiving_ || closed_ || close_ || channel_->congested()) return;
  receiving_ = true;
  stream_.async_read(buffer_, [self = shared_from_this()](error_code ec, size_t) { self->OnRead(ec); });
}

void WebSocketImpl::OnRead(error_code ec) {
  if (ec) {
    read_error_ = ec;
    // A write that is stuck ends now, not at its deadline. Where the stream itself closed the connection, with the
    // code that the error has, this changes nothing.
    stream_.next_layer().Close();
    Wake();
    return;
  }
  if (!channel_) return;
  if (!stream_.got_text()) {
    close_ = ChannelClose{1003, "binary messages are not understood"};
    Wake();
    return;
  }
  std::string message = beast::buffers_to_string(buffer_.data());
  buffer_.consume(buffer_.size());
  if (buffer_.capacity() > kKeptBufferBytes) buffer_.shrink_to_fit();
  Receive(std::move(message));
}

void WebSocketImpl::Receive(std::string message) {
  if (message.size() <= kInlineMessageBytes) {
    Apply(TryReceive(*channel_, std::move(message)));
    return;
  }
  asio::post(env_.work, [self = shared_from_this(), channel = channel_, message = std::move(message)]() mutable {
    Channel::Action action = TryReceive(*channel, std::move(message));
    const auto executor = self->stream_.get_executor();
    asio::post(executor, [self = std::move(self), channel = std::move(channel), action = std::move(action)] {
      if (self->channel_) self->Apply(action);
    });
  });
}

void WebSocketImpl::Apply(const Channel::Action& action) {
  receiving_ = false;
  try {
    if (action) action();
    if (!action) close_ = kInternalError;
  } catch (const std::exception& exception) {
    log::Error("websocket: {}", exception.what());
    close_ = kInternalError;
  }
  Wake();
  Read();
}

// Every write that makes no progress for write_timeout ends the connection.
asio::awaitable<bool> WebSocketImpl::Write(const std::string& message) {
  size_t offset = 0;
  do {
    if (closed_ || read_error_) co_return false;
    // Nobody waits long for a peer that is to be closed.
    ArmDeadline(ended_ ? std::min<Clock::duration>(kCloseTime, env_.options.write_timeout)
                       : env_.options.write_timeout);
    const size_t size = std::min(kWriteBytes, message.size() - offset);
    error_code ec;
    co_await stream_.async_write_some(offset + size == message.size(), asio::buffer(message.data() + offset, size),
                                      asio::redirect_error(asio::use_awaitable, ec));
    if (ec) co_return false;
    offset += size;
  } while (offset < message.size());
  deadline_.expires_at(Clock::time_point::max());
  co_return true;
}

asio::awaitable<void> WebSocketImpl::SendClose() {
  ArmDeadline(kCloseTime);
  error_code ec;  // whoever does not close in turn is closed
  co_await stream_.async_close({static_cast<websocket::close_code>(close_->code), close_->reason},
                               asio::redirect_error(asio::use_awaitable, ec));
  Close();
}

asio::awaitable<void> WebSocketImpl::WaitForWake() {
  if (!woken_) {
    wake_.expires_at(Clock::time_point::max());
    error_code ec;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
  woken_ = false;
}

// Closes the socket once `duration` has passed.
void WebSocketImpl::ArmDeadline(Clock::duration duration) {
  deadline_.expires_after(duration);
  deadline_.async_wait([weak = weak_from_this()](error_code ec) {
    const auto self = weak.lock();
    // A wait that was already due when the deadline moved arrives without an error: the expiry tells.
    if (ec || !self || self->deadline_.expiry() > Clock::now()) return;
    self->Close();
  });
}

}  // namespace

std::shared_ptr<WebSocket> NewWebSocket(Connection connection, const Request& request, std::unique_ptr<Channel> channel,
                                        const SessionEnvironment& environment) {
  return std::make_shared<WebSocketImpl>(std::move(connection), request, std::move(channel), environment);
}

}  // namespace engram
