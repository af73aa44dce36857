// SPDX-License-Identifier: Apache-2.0
#include "constrain/text_cursor.h"

namespace engram {

size_t TextCursor::CharacterBytes() const {
  const auto lead = static_cast<uint8_t>(text_[at_]);
  return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

uint32_t TextCursor::peek() const {
  const size_t size = CharacterBytes();
  const auto lead = static_cast<uint8_t>(text_[at_]);
  if (size == 1) return lead;
  uint32_t c = lead & (0x7fu >> size);
  for (size_t i = 1; i < size; ++i) c = c << 6 | (static_cast<uint8_t>(text_[at_ + i]) & 0x3f);
  return c;
}

uint32_t TextCursor::Next() {
  const uint32_t c = peek();
  at_ += CharacterBytes();
  if (c == '\n') {
    ++line_;
    column_ = 1;
  } else {
    ++column_;
  }
  return c;
}

bool TextCursor::Take(std::string_view text) {
  if (text_.substr(at_, text.size()) != text) return false;
  at_ += text.size();
  column_ += static_cast<uint32_t>(text.size());
  return true;
}

std::optional<uint32_t> TextCursor::TakeHex(uint32_t digits) {
  const TextCursor start = *this;
  uint32_t value = 0;
  for (uint32_t i = 0; i < digits; ++i) {
    const uint32_t c = at_end() ? 0 : Next();
    uint32_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else {
      *this = start;
      return std::nullopt;
    }
    value = value << 4 | digit;
  }
  return value;
}

std::optional<uint32_t> TextCursor::TakeNumber() {
  const TextCursor start = *this;
  uint32_t value = 0;
  uint32_t digits = 0;
  for (; !at_end() && peek() >= '0' && peek() <= '9'; ++digits) {
    if (digits == 9) return *this = start, std::nullopt;
    value = value * 10 + (Next() - '0');
  }
  if (digits == 0) return std::nullopt;
  return value;
}

std::string TextCursor::place() const {
  return "line " + std::to_string(line_) + ", column " + std::to_string(column_);
}

Error TextCursor::Fail(const std::string& message) const {
  return InvalidArgument(place() + ": " + message);
}

void AppendUtf8(std::string& out, uint32_t c) {
  const auto add = [&out](uint32_t byte) { out += static_cast<char>(static_cast<uint8_t>(byte)); };
  if (c < 0x80) return add(c);
  if (c < 0x800) {
    add(0xc0 | c >> 6);
  } else {
    if (c < 0x10000) {
      add(0xe0 | c >> 12);
    } else {
      add(0xf0 | c >> 18);
      add(0x80 | ((c >> 12) & 0x3f));
    }
    add(0x80 | ((c >> 6) & 0x3f));
  }
  add(0x80 | (c & 0x3f));
}

}  // namespace engram
