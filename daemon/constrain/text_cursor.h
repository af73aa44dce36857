// SPDX-License-Identifier: Apache-2.0
// TextCursor: reads a valid UTF-8 text character by character and knows line and column. A value: copies are marks to
// go back to or to name in an error. The text must outlive it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace engram {

class TextCursor {
 public:
  explicit TextCursor(std::string_view text) : text_(text) {}

  bool at_end() const { return at_ == text_.size(); }
  // Not at the end.
  uint32_t peek() const;
  uint32_t Next();
  // Goes over `text` (ASCII) if it is next.
  bool Take(std::string_view text);
  // Exactly so many hexadecimal digits, at most 8.
  std::optional<uint32_t> TakeHex(uint32_t digits);
  // Decimal digits, below 10^9; else nothing is taken.
  std::optional<uint32_t> TakeNumber();

  std::string place() const;  // "line 3, column 7"
  // kInvalidArgument with the place.
  Error Fail(const std::string& message) const;

 private:
  size_t CharacterBytes() const;

  std::string_view text_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  uint32_t column_ = 1;
};

// Appends a character as UTF-8.
void AppendUtf8(std::string& out, uint32_t code_point);

}  // namespace engram
