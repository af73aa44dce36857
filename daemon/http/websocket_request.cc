// SPDX-License-Identifier: Apache-2.0
#include "http/websocket_request.h"

#include <algorithm>

namespace engram {
namespace {

bool EqualsIgnoringCase(std::string_view text, std::string_view lower) {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b; });
}

bool HasItem(const Request& request, std::string_view name, std::string_view lower) {
  for (const std::string_view item : HeaderItems(request, name))
    if (EqualsIgnoringCase(item, lower)) return true;
  return false;
}

}  // namespace

std::vector<std::string_view> HeaderItems(const Request& request, std::string_view name) {
  std::vector<std::string_view> items;
  for (const auto& [key, value] : request.headers) {
    if (key != name) continue;
    std::string_view rest = value;
    while (!rest.empty()) {
      const size_t comma = std::min(rest.find(','), rest.size());
      std::string_view item = rest.substr(0, comma);
      rest.remove_prefix(std::min(comma + 1, rest.size()));
      const size_t first = item.find_first_not_of(" \t");
      if (first == std::string_view::npos) continue;
      items.push_back(item.substr(first, item.find_last_not_of(" \t") - first + 1));
    }
  }
  return items;
}

bool IsUpgrade(const Request& request) {
  return request.method == "GET" && !request.http_1_0 && HasItem(request, "connection", "upgrade") &&
         HasItem(request, "upgrade", "websocket");
}

std::optional<ApiError> CheckUpgrade(const Request& request) {
  const std::string* version = request.Header("sec-websocket-version");
  if (!IsUpgrade(request) || version == nullptr || *version != "13") {
    ApiError error(426, "this route speaks WebSocket, version 13");
    error.headers = {{"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Version", "13"}};
    return error;
  }
  // 16 bytes in base64.
  const std::string* key = request.Header("sec-websocket-key");
  if (key == nullptr || key->size() != 24 || !key->ends_with("==")) {
    return ApiError(400, "malformed WebSocket request: Sec-WebSocket-Key must be 16 bytes in base64");
  }
  if (request.has_body) return ApiError(400, "malformed WebSocket request: it has a body");
  return std::nullopt;
}

std::string_view SubprotocolKey(const Request& request) {
  constexpr std::string_view kPrefix = "bearer.";
  for (const std::string_view item : HeaderItems(request, "sec-websocket-protocol"))
    if (item.starts_with(kPrefix)) return item.substr(kPrefix.size());
  return {};
}

}  // namespace engram
