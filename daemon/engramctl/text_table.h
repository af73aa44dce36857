// SPDX-License-Identifier: Apache-2.0
// TextTable: rows of text in aligned columns, for people. One thread.
#pragma once

#include <string>
#include <vector>

#include "engramctl/terminal.h"

namespace engram {

class TextTable {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
    bool shrinks = false;  // cut where the table would be wider than it may be
  };
  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // As many cells as columns, and a style for each of the first ones. Line breaks and control characters show as
  // escapes.
  void Add(std::vector<std::string> cells, std::vector<Style> styles = {});
  bool empty() const { return rows_.empty(); }
  // Columns that the whole table takes.
  size_t Width() const;
  // The titles, then a line for each row; without titles when there are no rows. Columns that shrink are cut, all to
  // the same width, if that makes the table at most `max_width` wide.
  std::string Text(size_t max_width = kUnlimitedWidth) const;

 private:
  struct Row {
    std::vector<std::string> cells;
    std::vector<Style> styles;
  };
  std::vector<size_t> Widths() const;

  std::vector<Column> columns_;
  std::vector<Row> rows_;
};

// Prints a line for each row, columns two spaces apart and as wide as their widest text; rows may be of different
// length. Control characters show as escapes.
void PrintColumns(std::vector<std::vector<std::string>> rows);

}  // namespace engram
