// SPDX-License-Identifier: Apache-2.0
// The notations of single values: sizes, durations, addresses. Pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace engram {

// A decimal integer, nothing around it. Empty when it is none or does not fit.
std::optional<uint64_t> ParseInteger(std::string_view text);

// "0", "4096", "16KiB", "8MiB", "2GiB", "1TiB": bytes.
std::optional<uint64_t> ParseSize(std::string_view text);
std::string FormatSize(uint64_t bytes);

// An amount of memory: bytes, or a part of the machine's. Both 0: not given.
struct MemorySize {
  uint64_t bytes = 0;
  uint32_t percent = 0;
  bool operator==(const MemorySize&) const = default;
  bool given() const { return bytes != 0 || percent != 0; }
  uint64_t Of(uint64_t machine_bytes) const { return percent != 0 ? machine_bytes / 100 * percent : bytes; }
};
// A size as above but 0, or "1%" to "100%".
std::optional<MemorySize> ParseMemorySize(std::string_view text);

// "500ms", "10s", "2m", "1h".
std::optional<std::chrono::milliseconds> ParseDuration(std::string_view text);
std::string FormatDuration(std::chrono::milliseconds duration);

struct ListenAddress {
  std::string address;  // numeric, without brackets
  uint16_t port = 0;
};
// "127.0.0.1:8484", "[::1]:8484", "localhost:8484" (127.0.0.1).
std::optional<ListenAddress> ParseListenAddress(std::string_view text);

// 127.0.0.0/8 or ::1.
bool IsLoopback(const std::string& address);

// "address:port", an IPv6 address in brackets.
std::string FormatListenAddress(const std::string& address, uint16_t port);

}  // namespace engram
