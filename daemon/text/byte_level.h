// SPDX-License-Identifier: Apache-2.0
// The alphabet of byte-level BPE: every byte as one printable character (GPT-2's encoder.py, bytes_to_unicode).
// Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace engram {

// The character that stands for a byte, as UTF-8 (1 or 2 bytes).
std::string_view ByteLevelChar(uint8_t byte);
// The bytes that a string of such characters stands for; nothing when it holds another character.
std::optional<std::string> BytesOfByteLevel(std::string_view text);

}  // namespace engram
