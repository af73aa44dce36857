// SPDX-License-Identifier: Apache-2.0
#include "engramctl/text_table.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace engram {
namespace {

constexpr size_t kGap = 2;         // between columns
constexpr size_t kLeastWidth = 6;  // of a column that is cut

size_t Sum(const std::vector<size_t>& widths) {
  size_t sum = widths.empty() ? 0 : kGap * (widths.size() - 1);
  for (const size_t width : widths) sum += width;
  return sum;
}

}  // namespace

void TextTable::Add(std::vector<std::string> cells, std::vector<Style> styles) {
  for (std::string& cell : cells) cell = Printable(cell);
  cells.resize(columns_.size());
  styles.resize(columns_.size(), Style::kPlain);
  rows_.push_back({std::move(cells), std::move(styles)});
}

std::vector<size_t> TextTable::Widths() const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = DisplayWidth(columns_[c].title);
    for (const Row& row : rows_) width = std::max(width, DisplayWidth(row.cells[c]));
    widths.push_back(width);
  }
  return widths;
}

size_t TextTable::Width() const {
  return Sum(Widths());
}

std::string TextTable::Text(size_t max_width) const {
  if (rows_.empty()) return {};
  std::vector<size_t> widths = Widths();
  // The widest of those that may be cut gives way first.
  while (Sum(widths) > max_width) {
    size_t* widest = nullptr;
    for (size_t c = 0; c < columns_.size(); ++c)
      if (columns_[c].shrinks && widths[c] > kLeastWidth && (widest == nullptr || widths[c] > *widest))
        widest = &widths[c];
    if (widest == nullptr) break;
    --*widest;
  }
  std::string out;
  const auto add_line = [&](const auto& cell_of) {
    std::string padding;  // what is left of one cell to the next; never at the line's end
    for (size_t c = 0; c < columns_.size(); ++c) {
      const auto [whole, style] = cell_of(c);
      const std::string cell = Shorten(whole, widths[c]);
      const std::string rest(widths[c] - std::min(widths[c], DisplayWidth(cell)), ' ');
      const bool right = columns_[c].align == Align::kRight;
      if (right) padding += rest;
      if (!cell.empty()) out += std::exchange(padding, {}) + Styled(cell, style);
      if (!right) padding += rest;
      padding.append(kGap, ' ');
    }
    out += '\n';
  };
  add_line([&](size_t c) { return std::pair<const std::string&, Style>(columns_[c].title, Style::kBold); });
  for (const Row& row : rows_)
    add_line([&](size_t c) { return std::pair<const std::string&, Style>(row.cells[c], row.styles[c]); });
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
      if (i + 1 < row.size()) line.append(widths[i] - DisplayWidth(row[i]) + kGap, ' ');
    }
    std::printf("%s\n", line.c_str());
  }
}

}  // namespace engram
