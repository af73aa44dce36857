// SPDX-License-Identifier: Apache-2.0
#include "core/json_text.h"

#include <cstdint>
#include <cstdio>

namespace engram {
namespace {

// What stands at the start of a text: a whole character, a wrong part to replace, or the start of a character cut off.
struct Utf8Step {
  enum Kind { kValid, kInvalid, kIncomplete } kind;
  size_t length;  // bytes of the character, of the maximal invalid part, or of the cut-off start
};

// Unicode 15, table 3-7: which second byte each first byte allows.
Utf8Step NextUtf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return {Utf8Step::kValid, 1};
  size_t length = 0;
  uint8_t low = 0x80, high = 0xbf;
  if (first >= 0xc2 && first <= 0xdf) {
    length = 2;
  } else if (first >= 0xe0 && first <= 0xef) {
    length = 3;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
  } else if (first >= 0xf0 && first <= 0xf4) {
    length = 4;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
  } else {
    return {Utf8Step::kInvalid, 1};
  }
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8Step::kIncomplete, i};
    if (byte(i) < low || byte(i) > high) return {Utf8Step::kInvalid, i};
    low = 0x80;
    high = 0xbf;
  }
  return {Utf8Step::kValid, length};
}

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

}  // namespace

size_t ValidUtf8Prefix(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const Utf8Step step = NextUtf8(text.substr(i));
    if (step.kind != Utf8Step::kValid) break;
    i += step.length;
  }
  return i;
}

std::string Utf8Lossy(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    out += step.kind == Utf8Step::kValid ? text.substr(0, step.length) : kReplacement;
    text.remove_prefix(step.length);
  }
  return out;
}

size_t IncompleteUtf8Tail(std::string_view text) {
  for (size_t tail = 1; tail <= 3 && tail <= text.size(); ++tail) {
    const auto byte = static_cast<uint8_t>(text[text.size() - tail]);
    if ((byte & 0xc0) == 0x80) continue;  // a continuation byte: look further back
    const Utf8Step step = NextUtf8(text.substr(text.size() - tail));
    return step.kind == Utf8Step::kIncomplete && step.length == tail ? tail : 0;
  }
  return 0;
}

std::string JsonQuote(std::string_view text) {
  std::string out = "\"";
  out.reserve(text.size() + 2);
  while (!text.empty()) {
    const auto byte = static_cast<uint8_t>(text[0]);
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += text[0];
      text.remove_prefix(1);
    } else if (byte < 0x20 || byte == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
      text.remove_prefix(1);
    } else {
      const Utf8Step step = NextUtf8(text);
      out += step.kind == Utf8Step::kValid ? text.substr(0, step.length) : kReplacement;
      text.remove_prefix(step.length);
    }
  }
  out += '"';
  return out;
}

}  // namespace engram
