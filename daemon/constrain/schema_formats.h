// SPDX-License-Identifier: Apache-2.0
// The values of a JSON schema's `format` that are supported, as regular expressions. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace engram {

// What regex_pattern.h reads; strings of the format, though perhaps not all.
std::optional<std::string_view> PatternOfFormat(std::string_view format);
// Their names, for a message.
std::string KnownFormats();

}  // namespace engram
