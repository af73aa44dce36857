// SPDX-License-Identifier: Apache-2.0
// API keys themselves. Any thread.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"
#include "core/sha256.h"

namespace engram {

// "engram_" and 256 random bits in 43 characters of base64url. kInternal without a source of randomness.
Result<std::string> NewKeySecret();
// "key_" and 64 random bits as hex digits.
Result<std::string> NewKeyId();
// The part of a key that may be shown: what NewKeySecret() makes always begins with "engram_", then 4 characters.
std::string KeyPrefix(std::string_view secret);

}  // namespace engram
