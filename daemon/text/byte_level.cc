// SPDX-License-Identifier: Apache-2.0
#include "text/byte_level.h"

#include <array>

namespace engram {
namespace {

struct Alphabet {
  std::array<std::string, 256> text;
  std::array<int16_t, 0x144> byte_of;  // by code point; -1 for none

  Alphabet() {
    byte_of.fill(-1);
    int next = 0x100;  // bytes that do not print take the code points from U+0100 on, in order
    for (int byte = 0; byte < 256; ++byte) {
      const bool prints = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const int code_point = prints ? byte : next++;
      byte_of[code_point] = static_cast<int16_t>(byte);
      if (code_point < 0x80) {
        text[byte] = static_cast<char>(code_point);
      } else {
        text[byte] = {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
      }
    }
  }
};

const Alphabet& GetAlphabet() {
  static const Alphabet alphabet;
  return alphabet;
}

}  // namespace

std::string_view ByteLevelChar(uint8_t byte) {
  return GetAlphabet().text[byte];
}

std::optional<std::string> BytesOfByteLevel(std::string_view text) {
  const Alphabet& alphabet = GetAlphabet();
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    auto code_point = static_cast<uint8_t>(text[i]);
    size_t value = code_point;
    if (code_point >= 0x80) {
      // The alphabet ends at U+0143, so lead bytes above 0xC5 are of other characters.
      if (code_point < 0xC2 || code_point > 0xC5 || i + 1 >= text.size()) return std::nullopt;
      value = (code_point & 0x1Fu) << 6 | (static_cast<uint8_t>(text[++i]) & 0x3Fu);
    }
    if (value >= alphabet.byte_of.size() || alphabet.byte_of[value] < 0) return std::nullopt;
    bytes += static_cast<char>(alphabet.byte_of[value]);
  }
  return bytes;
}

}  // namespace engram
