// SPDX-License-Identifier: Apache-2.0
// Base64 (RFC 4648, section 4, with padding). Pure function; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace engram {

// Nothing for what is not exactly that: other characters, white space, missing padding.
std::optional<std::vector<uint8_t>> DecodeBase64(std::string_view text);

}  // namespace engram
