// SPDX-License-Identifier: Apache-2.0
#include "settings/value_parsers.h"

#include <arpa/inet.h>

#include <charconv>
#include <limits>

namespace engram {
namespace {

struct Unit {
  std::string_view name;
  uint64_t factor;
};
constexpr Unit kSizeUnits[] = {{"TiB", 1ull << 40}, {"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}};
constexpr Unit kDurationUnits[] = {{"ms", 1}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}};

std::optional<uint64_t> Multiply(std::optional<uint64_t> number, uint64_t factor) {
  if (!number || *number > std::numeric_limits<int64_t>::max() / factor) return std::nullopt;
  return *number * factor;
}

}  // namespace

std::optional<uint64_t> ParseInteger(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<uint64_t> ParseSize(std::string_view text) {
  for (const Unit& unit : kSizeUnits)
    if (text.ends_with(unit.name))
      return Multiply(ParseInteger(text.substr(0, text.size() - unit.name.size())), unit.factor);
  return Multiply(ParseInteger(text), 1);
}

std::string FormatSize(uint64_t bytes) {
  for (const Unit& unit : kSizeUnits)
    if (bytes != 0 && bytes % unit.factor == 0) return std::to_string(bytes / unit.factor) + std::string(unit.name);
  return std::to_string(bytes);
}

std::optional<MemorySize> ParseMemorySize(std::string_view text) {
  if (text.ends_with('%')) {
    const auto percent = ParseInteger(text.substr(0, text.size() - 1));
    if (!percent || *percent < 1 || *percent > 100) return std::nullopt;
    return MemorySize{0, static_cast<uint32_t>(*percent)};
  }
  const auto bytes = ParseSize(text);
  if (!bytes || *bytes == 0) return std::nullopt;
  return MemorySize{*bytes, 0};
}

std::optional<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  for (const Unit& unit : kDurationUnits) {
    if (!text.ends_with(unit.name)) continue;
    const auto value = Multiply(ParseInteger(text.substr(0, text.size() - unit.name.size())), unit.factor);
    if (!value) return std::nullopt;
    return std::chrono::milliseconds(*value);
  }
  return std::nullopt;
}

std::string FormatDuration(std::chrono::milliseconds duration) {
  const auto count = static_cast<uint64_t>(duration.count());
  if (count % 1000 != 0 || count == 0) return std::to_string(count) + "ms";
  return std::to_string(count / 1000) + "s";
}

std::optional<ListenAddress> ParseListenAddress(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = ParseInteger(text.substr(colon + 1));
  if (!port || *port > 65535) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  ListenAddress result{.address = {}, .port = static_cast<uint16_t>(*port)};
  in6_addr buffer{};
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    result.address = std::string(host.substr(1, host.size() - 2));
    if (inet_pton(AF_INET6, result.address.c_str(), &buffer) != 1) return std::nullopt;
    return result;
  }
  result.address = host == "localhost" ? "127.0.0.1" : std::string(host);
  if (inet_pton(AF_INET, result.address.c_str(), &buffer) != 1) return std::nullopt;
  return result;
}

bool IsLoopback(const std::string& address) {
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, address.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::string FormatListenAddress(const std::string& address, uint16_t port) {
  const bool v6 = address.find(':') != std::string::npos;
  return (v6 ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

}  // namespace engram
