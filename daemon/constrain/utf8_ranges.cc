// SPDX-License-Identifier: Apache-2.0
#include "constrain/utf8_ranges.h"

#include <algorithm>

namespace engram {
namespace {

uint8_t Encode(uint32_t c, std::array<uint8_t, 4>& out) {
  if (c < 0x80) return out[0] = static_cast<uint8_t>(c), 1;
  const auto tail = [c](uint32_t shift) { return static_cast<uint8_t>(0x80 | ((c >> shift) & 0x3f)); };
  if (c < 0x800) return out[0] = static_cast<uint8_t>(0xc0 | c >> 6), out[1] = tail(0), 2;
  if (c < 0x10000) return out[0] = static_cast<uint8_t>(0xe0 | c >> 12), out[1] = tail(6), out[2] = tail(0), 3;
  return out[0] = static_cast<uint8_t>(0xf0 | c >> 18), out[1] = tail(12), out[2] = tail(6), out[3] = tail(0), 4;
}

// Splits until the range is a product of byte ranges: first and last of one length, and after the first byte in which
// they differ only whole ranges 80..bf.
void Split(uint32_t first, uint32_t last, std::vector<Utf8Sequence>& out) {
  for (const uint32_t end : {0x7fu, 0x7ffu, 0xffffu}) {
    if (first <= end && last > end) {
      Split(first, end, out);
      Split(end + 1, last, out);
      return;
    }
  }
  for (uint32_t bits = 6; first > 0x7f && bits <= 18; bits += 6) {
    const uint32_t low = (1u << bits) - 1;
    if ((first & ~low) == (last & ~low)) break;
    if ((first & low) != 0) {
      Split(first, first | low, out);
      Split((first | low) + 1, last, out);
      return;
    }
    if ((last & low) != low) {
      Split(first, (last & ~low) - 1, out);
      Split(last & ~low, last, out);
      return;
    }
  }
  std::array<uint8_t, 4> from{};
  std::array<uint8_t, 4> to{};
  Utf8Sequence sequence;
  sequence.size = Encode(first, from);
  Encode(last, to);
  for (uint8_t i = 0; i < sequence.size; ++i) sequence.bytes[i] = {from[i], to[i]};
  out.push_back(sequence);
}

}  // namespace

std::vector<Utf8Sequence> Utf8Sequences(const CodePoints& code_points) {
  std::vector<Utf8Sequence> out;
  const CodePoints characters = code_points.Without({{0xd800, 0xdfff}});
  for (const auto& [first, last] : characters.ranges()) Split(first, std::min(last, CodePoints::kLast), out);
  return out;
}

}  // namespace engram
