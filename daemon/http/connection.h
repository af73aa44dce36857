// SPDX-License-Identifier: Apache-2.0
// Connection: a client's TCP connection, with TLS or without, as Asio and Beast want a stream.
//
// Threads: everything on the socket's strand. At most one read and one write at a time.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/beast/websocket/teardown.hpp>
#include <memory>
#include <utility>

#include "http/tls_stream.h"

namespace engram {

class Connection {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using executor_type = Socket::executor_type;
  using ErrorCode = boost::system::error_code;

  // With `tls` the bytes are encrypted, after async_handshake().
  Connection(Socket socket, std::shared_ptr<boost::asio::ssl::context> tls) : tls_context_(std::move(tls)) {
    socket_ = std::make_unique<Socket>(std::move(socket));
    if (tls_context_) tls_ = std::make_unique<TlsStream>(*socket_, *tls_context_);
  }

  executor_type get_executor() { return socket_->get_executor(); }
  Socket& socket() { return *socket_; }
  bool is_tls() const { return tls_ != nullptr; }
  // Now; what is pending ends. Nothing for a connection that was moved on.
  void Close() {
    ErrorCode ignored;  // nothing to be done about a close that fails
    if (socket_) socket_->close(ignored);
  }
  void Cancel() {
    ErrorCode ignored;  // likewise
    if (socket_) socket_->cancel(ignored);
  }

  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, void(ErrorCode, size_t)>(
        [this](auto handler, const Buffers& into) {
          if (tls_) {
            tls_->async_read_some(into, std::move(handler));
          } else {
            socket_->async_read_some(into, std::move(handler));
          }
        },
        token, buffers);
  }
  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, void(ErrorCode, size_t)>(
        [this](auto handler, const Buffers& from) {
          if (tls_) {
            tls_->async_write_some(from, std::move(handler));
          } else {
            socket_->async_write_some(from, std::move(handler));
          }
        },
        token, buffers);
  }
  // Only with TLS: the beginning, and the end (the peer is told, and its answer awaited).
  template <typename Token>
  auto async_handshake(Token&& token) {
    return tls_->async_handshake(std::forward<Token>(token));
  }
  template <typename Token>
  auto async_shutdown(Token&& token) {
    return tls_->async_shutdown(std::forward<Token>(token));
  }

 private:
  std::shared_ptr<boost::asio::ssl::context> tls_context_;
  std::unique_ptr<Socket> socket_;
  std::unique_ptr<TlsStream> tls_;
};

// What Beast's WebSocket asks of a stream, beside reading and writing.
inline void beast_close_socket(Connection& connection) {
  connection.Close();
}
template <typename Handler>
void async_teardown(boost::beast::role_type role, Connection& connection, Handler&& handler) {
  if (connection.is_tls()) {
    connection.async_shutdown(std::forward<Handler>(handler));
  } else {
    boost::beast::websocket::async_teardown(role, connection.socket(), std::forward<Handler>(handler));
  }
}

}  // namespace engram
