// SPDX-License-Identifier: Apache-2.0
// TextTable: rows of text in aligned columns, for people. One thread.
#pragma once

#include <string>
#include <vector>

namespace engram {

class TextTable {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };
  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // As many cells as columns. Line breaks and control characters show as escapes.
  void Add(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  // The titles, then a line for each row; without titles when there are no rows.
  std::string Text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Prints a line for each row, columns two spaces apart and as wide as their widest text; rows may be of different
// length. Control characters show as escapes.
void PrintColumns(std::vector<std::vector<std::string>> rows);

// Columns a terminal takes for `text` (UTF-8): two for wide characters, none for combining ones.
size_t DisplayWidth(const std::string& text);
// `text` with control characters as \n, \t, \x1b and so on: safe to print, one line.
std::string Printable(const std::string& text);

}  // namespace engram
