// SPDX-License-Identifier: Apache-2.0
#include "access/key_secret.h"

#include <openssl/rand.h>

#include <array>
#include <cstdint>

namespace engram {
namespace {

constexpr std::string_view kMark = "engram_";
constexpr size_t kShownCharacters = 4;

template <size_t kBytes>
Result<std::array<uint8_t, kBytes>> RandomBytes() {
  std::array<uint8_t, kBytes> bytes;
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) return Internal("no random numbers are available");
  return bytes;
}

}  // namespace

Result<std::string> NewKeySecret() {
  ENGRAM_TRY(const auto bytes, RandomBytes<32>());
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string secret(kMark);
  uint32_t bits = 0;
  int num_bits = 0;
  for (const uint8_t byte : bytes) {
    bits = bits << 8 | byte;
    for (num_bits += 8; num_bits >= 6; num_bits -= 6) secret += kAlphabet[bits >> (num_bits - 6) & 63];
  }
  if (num_bits > 0) secret += kAlphabet[bits << (6 - num_bits) & 63];
  return secret;
}

Result<std::string> NewKeyId() {
  ENGRAM_TRY(const auto bytes, RandomBytes<8>());
  return "key_" + HexDigits(bytes);
}

std::string KeyPrefix(std::string_view secret) {
  return std::string(secret.substr(0, kMark.size() + kShownCharacters));
}

}  // namespace engram
