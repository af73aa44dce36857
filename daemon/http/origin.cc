// SPDX-License-Identifier: Apache-2.0
#include "http/origin.h"

#include <algorithm>

namespace engram {
namespace {

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return lower;
}

bool Contains(const std::vector<std::string>& list, std::string_view lower) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& item) { return Lower(item) == lower; });
}

// "host" of "host:port", "[::1]" of "[::1]:port".
std::string_view WithoutPort(std::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.find(']', colon) != std::string_view::npos) return host;
  return host.substr(0, colon);
}

bool IsLocalName(std::string_view host) {
  if (host == "localhost" || host.ends_with(".localhost") || host == "[::1]") return true;
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos;
}

// An origin leaves out its scheme's port, Host may not.
std::string_view WithoutDefaultPort(std::string_view host, std::string_view scheme) {
  const std::string_view port = scheme == "https" ? ":443" : ":80";
  return host.ends_with(port) ? host.substr(0, host.size() - port.size()) : host;
}

}  // namespace

std::optional<ApiError> CheckOrigin(const Request& request, const OriginPolicy& policy, bool keys_needed) {
  const std::string* host_header = request.Header("host");
  const std::string host = host_header == nullptr ? std::string() : Lower(*host_header);
  if (policy.local_hosts_only && !keys_needed && host_header != nullptr) {
    const std::string_view name = WithoutPort(host);
    if (!IsLocalName(name) && !Contains(policy.allowed_hosts, name)) {
      return ApiError(403,
                      "host \"" + host.substr(0, 100) +
                          "\" is not this machine's: without keys only localhost and server.allowed_hosts are answered",
                      {}, "host_not_allowed");
    }
  }
  const std::string* origin_header = request.Header("origin");
  if (origin_header == nullptr) return std::nullopt;
  const std::string origin = Lower(*origin_header);
  if (Contains(policy.allowed_origins, origin)) return std::nullopt;
  const size_t slashes = origin.find("://");
  if (slashes != std::string::npos && !host.empty()) {
    const std::string_view scheme = std::string_view(origin).substr(0, slashes);
    const std::string_view authority = std::string_view(origin).substr(slashes + 3);
    if (WithoutDefaultPort(authority, scheme) == WithoutDefaultPort(host, scheme)) return std::nullopt;
  }
  return ApiError(
      403, "pages of origin \"" + origin.substr(0, 100) + "\" may not use this server; see server.allowed_origins", {},
      "origin_not_allowed");
}

}  // namespace engram
