// SPDX-License-Identifier: Apache-2.0
// Code points as ranges of UTF-8 bytes. Pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "constrain/grammar.h"

namespace engram {

struct ByteRange {
  uint8_t first = 0;
  uint8_t last = 0;
};

// Bytes one after the other, each from its range.
struct Utf8Sequence {
  uint8_t size = 0;  // 1 to 4
  std::array<ByteRange, 4> bytes;
};

// Disjoint sequences that together match the UTF-8 of exactly these characters; surrogates, which have none, are left
// out.
std::vector<Utf8Sequence> Utf8Sequences(const CodePoints& code_points);

}  // namespace engram
