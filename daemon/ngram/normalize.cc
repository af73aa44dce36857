// SPDX-License-Identifier: Apache-2.0
// The normalisation that compressed ids are defined by. The library that defined it carries two sets of Unicode tables:
// decompositions and marks of version 9.0, lower case and white space of version 17.0. ICU has newer tables than the
// one and, on Debian 12, older ones than the other. Decompositions never change once a code point is assigned, so the
// age of a code point tells whether version 9.0 knew it; the few marks whose category changed since, and the lower case
// added since, are listed here (from the Unicode Character Database, versions 9.0, 15.0, 16.0 and 17.0).
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <cassert>

#include "ngram/compressed_map.h"

namespace engram {
namespace {

constexpr int kTablesVersion = 9;
// No code point decomposes into more than 18 UTF-16 units (U+FDFA).
constexpr int kMaxDecomposedUnits = 32;

bool InOldTables(UChar32 c) {
  UVersionInfo age;
  u_charAge(c, age);
  return age[0] != 0 && age[0] <= kTablesVersion;
}

bool IsOldMark(UChar32 c) {
  if (c == 0x1CF2 || c == 0x1CF3) return true;  // Mc until version 12.0, Lo since
  if (c == 0x111C9) return false;               // Po until version 11.0, Mn since
  return (U_GET_GC_MASK(c) & U_GC_M_MASK) != 0 && InOldTables(c);
}

UChar32 ToLower(UChar32 c) {
  const UChar32 lower = u_tolower(c);
  if (lower != c || c < 0x1C89) return lower;
  if (c >= 0x10D50 && c <= 0x10D65) return c + 0x20;  // Garay, 16.0
  if (c >= 0x16EA0 && c <= 0x16EB8) return c + 0x1B;  // Beria Erfe, 17.0
  switch (c) {
    case 0x1C89:  // 16.0
    case 0xA7CC:  // 16.0
    case 0xA7CE:  // 17.0
    case 0xA7D2:  // 17.0
    case 0xA7D4:  // 17.0
    case 0xA7DA:  // 16.0
      return c + 1;
    case 0xA7CB:  // 16.0
      return 0x0264;
    case 0xA7DC:  // 16.0
      return 0x019B;
    default:
      return c;
  }
}

// White_Space of version 17.0; unchanged since 6.3.
bool IsWhiteSpace(UChar32 c) {
  return u_isUWhiteSpace(c);
}

void AppendUtf8(std::string& out, UChar32 c) {
  char bytes[U8_MAX_LENGTH];
  int length = 0;
  U8_APPEND_UNSAFE(bytes, length, c);
  out.append(bytes, static_cast<size_t>(length));
}

// Appends what is left of `c` after NFKC, NFD, the marks' removal and lower case. Composing before decomposing changes
// nothing, and canonical order concerns marks alone, which go: each code point can be taken by itself.
void AppendFolded(std::string& out, UChar32 c, const UNormalizer2* nfkd) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c));
    return;
  }
  UChar units[kMaxDecomposedUnits];
  UErrorCode error = U_ZERO_ERROR;
  const int32_t num_units = InOldTables(c) ? unorm2_getDecomposition(nfkd, c, units, kMaxDecomposedUnits, &error) : -1;
  assert(U_SUCCESS(error));
  if (num_units < 0) {  // it decomposes to itself
    if (!IsOldMark(c)) AppendUtf8(out, ToLower(c));
    return;
  }
  for (int32_t i = 0; i < num_units;) {
    UChar32 part;
    U16_NEXT(units, i, num_units, part);
    if (!IsOldMark(part)) AppendUtf8(out, ToLower(part));
  }
}

std::string CollapseSpaces(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool in_run = false;
  for (char c : text) {
    const bool space = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    if (!space) out.push_back(c);
    if (space && !in_run) out.push_back(' ');
    in_run = space;
  }
  return out;
}

std::string_view Strip(std::string_view text) {
  int32_t start = 0;
  int32_t end = static_cast<int32_t>(text.size());
  while (start < end) {
    int32_t next = start;
    UChar32 c;
    U8_NEXT(text.data(), next, end, c);
    if (!IsWhiteSpace(c)) break;
    start = next;
  }
  while (end > start) {
    int32_t previous = end;
    UChar32 c;
    U8_PREV(text.data(), start, previous, c);
    if (!IsWhiteSpace(c)) break;
    end = previous;
  }
  return text.substr(static_cast<size_t>(start), static_cast<size_t>(end - start));
}

}  // namespace

std::string NormalizeForCompression(std::string_view text) {
  UErrorCode error = U_ZERO_ERROR;
  const UNormalizer2* nfkd = unorm2_getNFKDInstance(&error);
  assert(U_SUCCESS(error));  // the tables are linked into ICU's data library
  std::string folded;
  folded.reserve(text.size());
  const int32_t size = static_cast<int32_t>(text.size());
  for (int32_t i = 0; i < size;) {
    UChar32 c;
    U8_NEXT_OR_FFFD(text.data(), i, size, c);
    AppendFolded(folded, c, nfkd);
  }
  std::string collapsed = CollapseSpaces(folded);
  if (collapsed == " ") return collapsed;
  return std::string(Strip(collapsed));
}

}  // namespace engram
