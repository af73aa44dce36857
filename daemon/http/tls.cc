// SPDX-License-Identifier: Apache-2.0
#include "http/tls.h"

#include <openssl/ssl.h>

#include <string>
#include <string_view>

namespace engram {
namespace {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

Error BadFile(const char* setting, const std::filesystem::path& path, const error_code& ec) {
  return InvalidArgument("server.tls." + std::string(setting) + ": " + path.string() + ": " + ec.message(),
                         "server.tls." + std::string(setting));
}

// Clients that ask for HTTP/2 first get HTTP/1.1; those that know nothing we speak are told so in the handshake.
int SelectProtocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                   unsigned int in_size, void*) {
  constexpr std::string_view kProtocols = "\x08http/1.1";
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, out_size, reinterpret_cast<const unsigned char*>(kProtocols.data()),
                            static_cast<unsigned int>(kProtocols.size()), in, in_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

Result<std::shared_ptr<ssl::context>> MakeTlsContext(const std::filesystem::path& certificate,
                                                     const std::filesystem::path& key,
                                                     const std::filesystem::path& client_ca) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* const native = context->native_handle();
  if (SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION) != 1) return Internal("TLS 1.2 is not available");
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_alpn_select_cb(native, SelectProtocol, nullptr);
  error_code ec;
  context->use_certificate_chain_file(certificate.string(), ec);
  if (ec) return BadFile("certificate", certificate, ec);
  // Fails for a key that is not the certificate's, too.
  context->use_private_key_file(key.string(), ssl::context::pem, ec);
  if (ec) return BadFile("key", key, ec);
  if (!client_ca.empty()) {
    context->load_verify_file(client_ca.string(), ec);
    if (ec) return BadFile("client_ca", client_ca, ec);
    context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert, ec);
    if (ec) return BadFile("client_ca", client_ca, ec);
    // The names that clients choose their certificate by; resumed sessions are bound to this server.
    SSL_CTX_set_client_CA_list(native, SSL_load_client_CA_file(client_ca.c_str()));
    constexpr unsigned char kSessionId[] = "engramd";
    SSL_CTX_set_session_id_context(native, kSessionId, sizeof(kSessionId) - 1);
  }
  return context;
}

}  // namespace engram
