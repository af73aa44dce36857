// SPDX-License-Identifier: Apache-2.0
#include "engramctl/text_table.h"

#include <wchar.h>

#include <algorithm>
#include <clocale>
#include <cstdio>

namespace engram {

size_t DisplayWidth(const std::string& text) {
  // wcwidth() knows characters in a UTF-8 locale only; glibc always has this one.
  static const bool kHasLocale = std::setlocale(LC_CTYPE, "C.UTF-8") != nullptr;
  if (!kHasLocale) return text.size();
  size_t width = 0;
  mbstate_t state{};
  for (size_t at = 0; at < text.size();) {
    wchar_t character = 0;
    const size_t used = mbrtowc(&character, text.data() + at, text.size() - at, &state);
    if (used == 0 || used > text.size()) {  // malformed: a column for the byte
      state = {};
      ++width;
      ++at;
      continue;
    }
    width += static_cast<size_t>(std::max(wcwidth(character), 0));
    at += used;
  }
  return width;
}

std::string Printable(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      char escape[5];
      std::snprintf(escape, sizeof(escape), "\\x%02x", byte);
      out += escape;
    }
  }
  return out;
}

void TextTable::Add(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = Printable(cell);
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string TextTable::Text() const {
  if (rows_.empty()) return {};
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = DisplayWidth(columns_[c].title);
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(row[c]));
    widths.push_back(width);
  }
  std::string out;
  const auto add_line = [&](const auto& cell_of) {
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string& cell = cell_of(c);
      const std::string padding(widths[c] - DisplayWidth(cell), ' ');
      if (c > 0) out += "  ";
      out += columns_[c].align == Align::kRight ? padding + cell : cell + padding;
    }
    while (out.ends_with(' ')) out.pop_back();
    out += '\n';
  };
  add_line([&](size_t c) -> const std::string& { return columns_[c].title; });
  for (const auto& row : rows_) add_line([&](size_t c) -> const std::string& { return row[c]; });
  return out;
}

void PrintColumns(std::vector<std::vector<std::string>> rows) {
  std::vector<size_t> widths;
  for (auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) {
      row[i] = Printable(row[i]);
      widths[i] = std::max(widths[i], DisplayWidth(row[i]));
    }
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - DisplayWidth(row[i]) + 2, ' ');
    }
    std::printf("%s\n", line.c_str());
  }
}

}  // namespace engram
