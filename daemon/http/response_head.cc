// SPDX-License-Identifier: Apache-2.0
#include "http/response_head.h"

#include <openssl/rand.h>

#include <atomic>
#include <charconv>
#include <ctime>

namespace engram {
namespace {

void AppendField(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  out += value;
  out += "\r\n";
}

std::string HttpDate() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[64];
  const size_t size = std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return std::string(text, size);
}

}  // namespace

std::string FormatHead(const ResponseHead& head) {
  std::string out = "HTTP/1.1 " + std::to_string(head.response.status) + " ";
  out += ReasonPhrase(head.response.status);
  out += "\r\n";
  AppendField(out, "Server", "engramd/" + std::string(head.server_version));
  AppendField(out, "Date", HttpDate());
  if (!head.request_id.empty()) AppendField(out, "X-Request-Id", head.request_id);
  for (const auto& [name, value] : head.response.headers) AppendField(out, name, value);
  for (const auto& [name, value] : head.more) AppendField(out, name, value);
  if (head.response.status != 204 && head.response.status != 304) {
    AppendField(out, "Content-Type", head.response.content_type);
    if (head.content_length) AppendField(out, "Content-Length", std::to_string(*head.content_length));
  }
  if (head.chunked) AppendField(out, "Transfer-Encoding", "chunked");
  if (!head.keep_alive) AppendField(out, "Connection", "close");
  if (head.keep_alive && head.http_1_0) AppendField(out, "Connection", "keep-alive");
  out += "\r\n";
  return out;
}

void AppendChunk(std::string& out, std::string_view data) {
  char size[20];
  const auto end = std::to_chars(size, size + sizeof(size), data.size(), 16).ptr;
  out.append(size, end);
  out += "\r\n";
  out += data;
  out += "\r\n";
}

std::string RandomHex() {
  unsigned char bytes[12];
  if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
    // Ids need to be distinct, not secret: without randomness a counter does.
    static std::atomic<uint64_t> counter{0};
    uint64_t n = ++counter;
    for (unsigned char& byte : bytes) {
      byte = static_cast<unsigned char>(n);
      n >>= 8;
    }
  }
  std::string out;
  for (const unsigned char byte : bytes) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

std::string RequestId(const Request& request) {
  const std::string* sent = request.Header("x-request-id");
  constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  if (sent != nullptr && !sent->empty() && sent->size() <= 64 &&
      sent->find_first_not_of(kAllowed) == std::string::npos) {
    return *sent;
  }
  return "req-" + RandomHex();
}

}  // namespace engram
