// SPDX-License-Identifier: Apache-2.0
// The bytes before a response's body. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace engram {

struct ResponseHead {
  const Response& response;
  std::string_view request_id;
  std::string_view server_version;
  std::optional<uint64_t> content_length = std::nullopt;
  bool chunked = false;
  bool keep_alive = false;
  bool http_1_0 = false;  // the request's protocol
  HeaderList more = {};   // beside the response's own
};

// Status line and headers with the empty line.
std::string FormatHead(const ResponseHead& head);
// Appends `data` as one chunk of the chunked coding; `data` is not empty.
void AppendChunk(std::string& out, std::string_view data);
// The client's X-Request-Id where it is harmless in logs and headers, else a random one.
std::string RequestId(const Request& request);
// 24 random hex digits, for ids.
std::string RandomHex();

}  // namespace engram
