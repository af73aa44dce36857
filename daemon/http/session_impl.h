// SPDX-License-Identifier: Apache-2.0
// SessionImpl: what session.h promises, as session.cc (requests, and what becomes of them) and session_write.cc
// (answers, and watching the peer meanwhile) make it. Threads: as session.h says; all else on the session's strand.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http/request_reader.h"
#include "http/session.h"
#include "http/upload_slot.h"
#include "http/websocket.h"

namespace engram {

class SessionImpl final : public Session, public std::enable_shared_from_this<SessionImpl> {
 public:
  SessionImpl(Connection connection, const SessionEnvironment& environment);

  void Start(std::function<void()> on_closed) override;
  void Refuse(std::function<void()> on_closed) override;
  void Drain() override;
  void Close() override;
  void CheckKey() override;

 private:
  using Clock = std::chrono::steady_clock;

  void Spawn(boost::asio::awaitable<void> (SessionImpl::*run)(), std::function<void()> on_closed);
  void CloseSocket();
  // Cancels what the socket waits for once `duration` has passed, and sets timed_out_.
  void ArmDeadline(Clock::duration duration);
  void DisarmDeadline() { deadline_.expires_at(Clock::time_point::max()); }
  void Wake() {
    woken_ = true;
    wake_.cancel();
  }

  // session.cc
  boost::asio::awaitable<bool> Handshake();
  boost::asio::awaitable<void> Serve();
  boost::asio::awaitable<void> SayFull();
  boost::asio::awaitable<bool> Fill(size_t max_bytes);
  boost::asio::awaitable<RequestReader::State> ReadHeader();
  boost::asio::awaitable<RequestReader::State> ReadBody();
  boost::asio::awaitable<void> MakeReply();
  boost::asio::awaitable<void> ServeWebSocket();
  std::optional<Response> AdmitUpload();
  void EndIfForbidden();
  void Audit(int status, std::string_view body);
  void FinishRequest();

  // session_write.cc
  boost::asio::awaitable<bool> WriteReply();
  boost::asio::awaitable<bool> WriteWhole(Response response);
  boost::asio::awaitable<bool> WriteStream();
  boost::asio::awaitable<bool> Write(std::string bytes);
  boost::asio::awaitable<void> WaitForWake();
  boost::asio::awaitable<void> StopWatching();
  boost::asio::awaitable<void> Linger();
  ReplySource::Step Forbid(bool headed);
  void WatchPeer();

  const SessionEnvironment env_;
  const Connection::executor_type executor_;
  Connection connection_;  // moved on once it is a WebSocket
  boost::asio::steady_timer deadline_;
  boost::asio::steady_timer wake_;  // never expires; cancelled to wake the coroutine
  boost::asio::cancellation_signal stop_watching_;
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

}  // namespace engram
