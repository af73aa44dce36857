// SPDX-License-Identifier: Apache-2.0
#include "engramctl/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include <algorithm>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace engram {
namespace {

bool ShowsColors() {
  static const bool kShows = [] {
    const char* off = std::getenv("NO_COLOR");
    const char* terminal = std::getenv("TERM");
    return IsTerminal() && (off == nullptr || *off == '\0') &&
           (terminal == nullptr || std::strcmp(terminal, "dumb") != 0);
  }();
  return kShows;
}

// The bytes of the character that `text` has at `at`, and its columns. A malformed byte takes one column.
std::pair<size_t, size_t> CharacterAt(const std::string& text, size_t at) {
  // wcwidth() knows characters in a UTF-8 locale only; glibc always has this one.
  static const bool kHasLocale = std::setlocale(LC_CTYPE, "C.UTF-8") != nullptr;
  mbstate_t state{};
  wchar_t character = 0;
  const size_t used = kHasLocale ? mbrtowc(&character, text.data() + at, text.size() - at, &state) : 0;
  if (used == 0 || used > text.size()) return {1, 1};
  return {used, static_cast<size_t>(std::max(wcwidth(character), 0))};
}

}  // namespace

bool IsTerminal() {
  static const bool kIs = isatty(STDOUT_FILENO) == 1;
  return kIs;
}

size_t TerminalWidth() {
  winsize size{};
  if (!IsTerminal() || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUnlimitedWidth;
  return size.ws_col;
}

std::string Styled(const std::string& text, Style style) {
  if (style == Style::kPlain || text.empty() || !ShowsColors()) return text;
  const char* code = style == Style::kBold   ? "1"
                     : style == Style::kDim  ? "2"
                     : style == Style::kGood ? "32"
                     : style == Style::kWarn ? "33"
                                             : "31";
  return "\x1b[" + std::string(code) + "m" + text + "\x1b[0m";
}

size_t DisplayWidth(const std::string& text) {
  size_t width = 0;
  for (size_t at = 0; at < text.size();) {
    const auto [bytes, columns] = CharacterAt(text, at);
    at += bytes;
    width += columns;
  }
  return width;
}

std::string Shorten(const std::string& text, size_t width) {
  if (DisplayWidth(text) <= width) return text;
  if (width == 0) return {};
  size_t taken = 0;
  size_t end = 0;
  while (end < text.size()) {
    const auto [bytes, columns] = CharacterAt(text, end);
    if (taken + columns > width - 1) break;
    end += bytes;
    taken += columns;
  }
  return text.substr(0, end) + "…";
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

}  // namespace engram
