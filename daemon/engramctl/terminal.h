// SPDX-License-Identifier: Apache-2.0
// What standard output can show: how wide it is, whether in colours, and text made fit for it. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace engram {

inline constexpr size_t kUnlimitedWidth = SIZE_MAX;

bool IsTerminal();
// Columns of the terminal; kUnlimitedWidth where standard output is none.
size_t TerminalWidth();

enum class Style { kPlain, kBold, kDim, kGood, kWarn, kBad };
// `text` in that style on a terminal; as it is elsewhere, where NO_COLOR is set, or TERM is "dumb".
std::string Styled(const std::string& text, Style style);

// Columns a terminal takes for `text` (UTF-8): two for wide characters, none for combining ones.
size_t DisplayWidth(const std::string& text);
// The start of `text`, ending in "…", where it takes more than `width` columns.
std::string Shorten(const std::string& text, size_t width);
// `text` with control characters as \n, \t, \x1b and so on: safe to print, one line.
std::string Printable(const std::string& text);

}  // namespace engram
