// SPDX-License-Identifier: Apache-2.0
// SHA-256 in pieces. One thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"

namespace engram {

using Sha256Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  Sha256();  // throws std::bad_alloc
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(std::span<const uint8_t> bytes);
  void Update(std::string_view text);
  void Update(const void* bytes, size_t num_bytes);
  void UpdateNumber(uint64_t number);      // eight bytes, little-endian
  void UpdateText(std::string_view text);  // its length as a number, then its bytes
  Sha256Digest Finish();                   // once

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// 64 lowercase hex digits.
std::string HexDigits(std::span<const uint8_t> bytes);
// kInvalidArgument for anything else than 64 hex digits.
Result<Sha256Digest> ParseSha256(std::string_view hex);

}  // namespace engram
