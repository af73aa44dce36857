// SPDX-License-Identifier: Apache-2.0
// TlsStream: the server's side of TLS over a TCP socket, as Asio and Beast want a stream. OpenSSL reads from the socket
// itself and keeps no buffer while there is nothing to read or write, so that an idle connection is small: Asio's own
// stream holds four buffers of 17 KiB.
//
// Threads: everything on the socket's strand. At most one read and one write at a time.
#pragma once

#include <openssl/ssl.h>

#include <boost/asio/async_result.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace engram {

class TlsStream {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using ErrorCode = boost::system::error_code;

  // Both must outlive it, and every operation that is pending. The socket becomes non-blocking.
  TlsStream(Socket& socket, boost::asio::ssl::context& context);
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // An operation ends with the socket's error, OpenSSL's (asio.ssl), eof when the peer has closed TLS in order, or
  // stream_truncated when it closed the connection without.
  template <typename Token>
  auto async_handshake(Token&& token) {
    return Repeat<void(ErrorCode)>([this] { return Handshake(); }, std::forward<Token>(token));
  }
  // Says that nothing more is sent, and waits for the peer to say so.
  template <typename Token>
  auto async_shutdown(Token&& token) {
    return Repeat<void(ErrorCode)>([this] { return Shutdown(); }, std::forward<Token>(token));
  }
  // Into the first of `buffers` that has room.
  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return Repeat<void(ErrorCode, size_t)>(
        [this, buffers] { return Read(First<boost::asio::mutable_buffer>(buffers)); }, std::forward<Token>(token));
  }
  // One record. Small buffers go together, so that a frame's head is none of its own.
  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return Repeat<void(ErrorCode, size_t)>(
        [this, buffers] {
          const auto first = First<boost::asio::const_buffer>(buffers);
          if (first.size() >= kJoinedBytes || first.size() == boost::asio::buffer_size(buffers)) return Write(first);
          char joined[kJoinedBytes];
          return Write({joined, boost::asio::buffer_copy(boost::asio::buffer(joined), buffers)});
        },
        std::forward<Token>(token));
  }

 private:
  static constexpr size_t kJoinedBytes = 16u << 10;  // the most a record holds

  // What OpenSSL reads from and writes to.
  struct Wire {
    Socket& socket;
    ErrorCode error;  // of the last call
  };
  static const BIO_METHOD* WireMethod();
  static int ReadWire(BIO* bio, char* into, int size);
  static int WriteWire(BIO* bio, const char* from, int size);

  // How far a step came: it waits for the socket, or is done.
  struct Step {
    enum class Wants { kNothing, kRead, kWrite };
    Wants wants = Wants::kNothing;
    ErrorCode error;
    size_t num_bytes = 0;
  };
  Step Handshake();
  Step Shutdown();
  Step Read(boost::asio::mutable_buffer into);
  Step Write(boost::asio::const_buffer from);
  // Of int call(SSL*, size_t& num_bytes).
  template <typename Call>
  Step StepOf(Call call);

  template <typename Buffer, typename Buffers>
  static Buffer First(const Buffers& buffers) {
    const auto end = boost::asio::buffer_sequence_end(buffers);
    for (auto it = boost::asio::buffer_sequence_begin(buffers); it != end; ++it)
      if (const Buffer buffer(*it); buffer.size() > 0) return buffer;
    return Buffer();
  }

  // Repeats `step` until it is done, waiting for the socket in between.
  template <typename Signature, typename TryStep>
  class Operation {
   public:
    Operation(Socket& socket, TryStep try_step) : socket_(socket), try_step_(std::move(try_step)) {}

    template <typename Self>
    void operator()(Self& self, ErrorCode ec = {}) {
      // The wait has failed: the stream may be gone.
      if (ec) return Complete(self, {Step::Wants::kNothing, ec});
      if (!done_) {
        step_ = try_step_();
        const bool first = !std::exchange(begun_, true);
        if (step_.wants == Step::Wants::kRead) return socket_.async_wait(Socket::wait_read, std::move(self));
        if (step_.wants == Step::Wants::kWrite) return socket_.async_wait(Socket::wait_write, std::move(self));
        done_ = true;
        // Not within the call that started it.
        if (first) return boost::asio::post(socket_.get_executor(), std::move(self));
      }
      Complete(self, step_);
    }

   private:
    template <typename Self>
    static void Complete(Self& self, const Step& step) {
      if constexpr (std::is_same_v<Signature, void(ErrorCode)>) {
        self.complete(step.error);
      } else {
        self.complete(step.error, step.num_bytes);
      }
    }

    Socket& socket_;
    TryStep try_step_;
    Step step_;
    bool begun_ = false;
    bool done_ = false;
  };
  template <typename Signature, typename TryStep, typename Token>
  auto Repeat(TryStep try_step, Token&& token) {
    return boost::asio::async_compose<Token, Signature>(
        Operation<Signature, TryStep>(wire_.socket, std::move(try_step)), token, wire_.socket);
  }

  struct SslDeleter {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  Wire wire_;                             // OpenSSL has its address
  std::unique_ptr<SSL, SslDeleter> ssl_;  // null: there was no memory for it
};

}  // namespace engram
