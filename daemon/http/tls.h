// SPDX-License-Identifier: Apache-2.0
// The server's side of TLS: certificate, key, and whose client certificates are accepted. Blocking; any thread.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <filesystem>
#include <memory>

#include "core/result.h"

namespace engram {

// TLS 1.2 or newer with the certificate chain and key of these PEM files; with `client_ca`, only for clients with a
// certificate that one of its CAs signed. kInvalidArgument names the file and OpenSSL's reason.
Result<std::shared_ptr<boost::asio::ssl::context>> MakeTlsContext(const std::filesystem::path& certificate,
                                                                  const std::filesystem::path& key,
                                                                  const std::filesystem::path& client_ca);

}  // namespace engram
