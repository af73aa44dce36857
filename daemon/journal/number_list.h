// SPDX-License-Identifier: Apache-2.0
// Numbers as little-endian bytes, as the journal stores lists of them. Pure functions.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace engram {

static_assert(std::endian::native == std::endian::little, "the journal's lists are stored as they are in memory");

// The bytes of `numbers`, which must outlive the result.
inline std::span<const uint8_t> PackNumbers(std::span<const uint64_t> numbers) {
  return {reinterpret_cast<const uint8_t*>(numbers.data()), numbers.size_bytes()};
}

// A rest of less than eight bytes is left out.
inline std::vector<uint64_t> UnpackNumbers(std::span<const uint8_t> bytes) {
  std::vector<uint64_t> numbers(bytes.size() / sizeof(uint64_t));
  if (!numbers.empty()) std::memcpy(numbers.data(), bytes.data(), numbers.size() * sizeof(uint64_t));
  return numbers;
}

}  // namespace engram
