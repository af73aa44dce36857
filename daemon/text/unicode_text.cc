// SPDX-License-Identifier: Apache-2.0
#include "text/unicode_text.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

namespace engram {

char32_t NextCodePoint(std::string_view text, size_t& at) {
  UChar32 code_point;
  U8_NEXT_UNSAFE(text.data(), at, code_point);
  return static_cast<char32_t>(code_point);
}

char32_t PreviousCodePoint(std::string_view text, size_t& at) {
  UChar32 code_point;
  U8_PREV_UNSAFE(text.data(), at, code_point);
  return static_cast<char32_t>(code_point);
}

void AppendCodePoint(char32_t code_point, std::string& text) {
  char bytes[U8_MAX_LENGTH];
  size_t num_bytes = 0;
  U8_APPEND_UNSAFE(bytes, num_bytes, static_cast<UChar32>(code_point));
  text.append(bytes, num_bytes);
}

bool IsWordCharacter(char32_t code_point) {
  const auto c = static_cast<UChar32>(code_point);
  constexpr uint32_t kCategories = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return (U_GET_GC_MASK(c) & kCategories) != 0 || u_isUAlphabetic(c) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

}  // namespace engram
