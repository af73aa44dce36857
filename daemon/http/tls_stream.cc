// SPDX-License-Identifier: Apache-2.0
#include "http/tls_stream.h"

#include <openssl/bio.h>
#include <openssl/err.h>

#include <boost/asio/error.hpp>
#include <boost/asio/ssl/error.hpp>

namespace engram {

namespace asio = boost::asio;

// Made once and kept to the end of the process.
const BIO_METHOD* TlsStream::WireMethod() {
  static const BIO_METHOD* const kMethod = [] {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "asio socket");
    if (method == nullptr) return method;
    BIO_meth_set_read(method, &ReadWire);
    BIO_meth_set_write(method, &WriteWire);
    // Nothing is kept back that would have to be flushed.
    BIO_meth_set_ctrl(method, [](BIO*, int command, long, void*) -> long { return command == BIO_CTRL_FLUSH; });
    return method;
  }();
  return kMethod;
}

int TlsStream::ReadWire(BIO* bio, char* into, int size) {
  Wire& wire = *static_cast<Wire*>(BIO_get_data(bio));
  const size_t num_bytes = wire.socket.read_some(asio::buffer(into, static_cast<size_t>(size)), wire.error);
  BIO_clear_retry_flags(bio);
  if (wire.error == asio::error::would_block) BIO_set_retry_read(bio);
  return wire.error == asio::error::eof ? 0 : wire.error ? -1 : static_cast<int>(num_bytes);
}

int TlsStream::WriteWire(BIO* bio, const char* from, int size) {
  Wire& wire = *static_cast<Wire*>(BIO_get_data(bio));
  const size_t num_bytes = wire.socket.write_some(asio::buffer(from, static_cast<size_t>(size)), wire.error);
  BIO_clear_retry_flags(bio);
  if (wire.error == asio::error::would_block) BIO_set_retry_write(bio);
  return wire.error ? -1 : static_cast<int>(num_bytes);
}

TlsStream::TlsStream(Socket& socket, asio::ssl::context& context) : wire_{socket, {}} {
  // A socket that cannot do that fails at its first read.
  wire_.socket.non_blocking(true, wire_.error);
  ssl_.reset(SSL_new(context.native_handle()));
  const BIO_METHOD* method = WireMethod();
  BIO* bio = ssl_ == nullptr || method == nullptr ? nullptr : BIO_new(method);
  if (bio == nullptr) {
    ssl_.reset();
    return;
  }
  BIO_set_data(bio, &wire_);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_accept_state(ssl_.get());
  // A write that goes on may find its bytes elsewhere. Buffers are given back as soon as they are empty.
  SSL_set_mode(ssl_.get(),
               SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  // A record's head and body in one read of the socket.
  SSL_set_read_ahead(ssl_.get(), 1);
}

template <typename Call>
TlsStream::Step TlsStream::StepOf(Call call) {
  using Wants = Step::Wants;
  if (ssl_ == nullptr) return {Wants::kNothing, asio::error::no_memory};
  ERR_clear_error();  // of the thread; what others left would be taken for ours
  wire_.error = {};
  size_t num_bytes = 0;
  const int result = call(ssl_.get(), num_bytes);
  if (result > 0) return {Wants::kNothing, {}, num_bytes};
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return {Wants::kRead, {}};
    case SSL_ERROR_WANT_WRITE:
      return {Wants::kWrite, {}};
    case SSL_ERROR_ZERO_RETURN:
      return {Wants::kNothing, asio::error::eof};
    case SSL_ERROR_SYSCALL:
      if (wire_.error && wire_.error != asio::error::eof) return {Wants::kNothing, wire_.error};
      return {Wants::kNothing, asio::ssl::error::stream_truncated};
    default:
      const auto reason = static_cast<int>(ERR_get_error());
      if (reason == 0) return {Wants::kNothing, asio::ssl::error::unexpected_result};
      return {Wants::kNothing, ErrorCode(reason, asio::error::get_ssl_category())};
  }
}

TlsStream::Step TlsStream::Handshake() {
  return StepOf([](SSL* ssl, size_t&) { return SSL_do_handshake(ssl); });
}

TlsStream::Step TlsStream::Shutdown() {
  return StepOf([](SSL* ssl, size_t&) {
    const int result = SSL_shutdown(ssl);
    // 0: ours is sent, the peer's has not come.
    return result == 0 ? SSL_shutdown(ssl) : result;
  });
}

TlsStream::Step TlsStream::Read(asio::mutable_buffer into) {
  if (into.size() == 0) return {};
  return StepOf([&](SSL* ssl, size_t& num_bytes) { return SSL_read_ex(ssl, into.data(), into.size(), &num_bytes); });
}

TlsStream::Step TlsStream::Write(asio::const_buffer from) {
  if (from.size() == 0) return {};
  return StepOf([&](SSL* ssl, size_t& num_bytes) { return SSL_write_ex(ssl, from.data(), from.size(), &num_bytes); });
}

}  // namespace engram
