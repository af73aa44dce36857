// SPDX-License-Identifier: Apache-2.0
// JSON strings and UTF-8 checks that need no JSON library. Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace engram {

// `text` as a JSON string literal with its quotes. Bytes that are not valid UTF-8 become U+FFFD, so the result is
// always valid JSON.
std::string JsonQuote(std::string_view text);

// Length in bytes of the longest prefix of `text` that is valid UTF-8 (no overlong forms, no surrogates, <= U+10FFFF).
size_t ValidUtf8Prefix(std::string_view text);
inline bool IsValidUtf8(std::string_view text) {
  return ValidUtf8Prefix(text) == text.size();
}

// `text` with every maximal invalid part replaced by one U+FFFD, as the WHATWG decoder and Rust's from_utf8_lossy do.
std::string Utf8Lossy(std::string_view text);

// Where `text` ends in the start of a character that more bytes could complete: the length of that tail (0 to 3).
size_t IncompleteUtf8Tail(std::string_view text);

}  // namespace engram
