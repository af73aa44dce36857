// SPDX-License-Identifier: Apache-2.0
#include "constrain/utf8_ranges.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "constrain/text_cursor.h"

namespace engram {
namespace {

bool Matches(const std::vector<Utf8Sequence>& sequences, const std::string& text) {
  int matches = 0;
  for (const Utf8Sequence& sequence : sequences) {
    bool same = sequence.size == text.size();
    for (size_t i = 0; same && i < text.size(); ++i) {
      const auto byte = static_cast<uint8_t>(text[i]);
      same = sequence.bytes[i].first <= byte && byte <= sequence.bytes[i].last;
    }
    matches += same ? 1 : 0;
  }
  EXPECT_LE(matches, 1);
  return matches == 1;
}

uint64_t NumTexts(const std::vector<Utf8Sequence>& sequences) {
  uint64_t total = 0;
  for (const Utf8Sequence& sequence : sequences) {
    uint64_t product = 1;
    for (uint8_t i = 0; i < sequence.size; ++i) product *= sequence.bytes[i].last - sequence.bytes[i].first + 1u;
    total += product;
  }
  return total;
}

TEST(Utf8RangesTest, AllCharactersAndNoOtherBytes) {
  const auto sequences = Utf8Sequences({{0, CodePoints::kLast}});
  // As many texts as characters, and every character one of them: so nothing else.
  EXPECT_EQ(NumTexts(sequences), 0x110000u - 0x800u);
  for (uint32_t c = 0; c <= CodePoints::kLast; c += c < 0x3000 ? 1 : 97) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    std::string text;
    AppendUtf8(text, c);
    ASSERT_TRUE(Matches(sequences, text)) << std::hex << c;
  }
}

TEST(Utf8RangesTest, RandomRanges) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    const uint32_t top = 1u << std::uniform_int_distribution<uint32_t>(4, 20)(random);
    uint32_t first = random() % top;
    uint32_t last = random() % top;
    if (first > last) std::swap(first, last);
    const auto sequences = Utf8Sequences({{first, last}});
    uint64_t expected = last - first + 1;
    for (uint32_t c = std::max(first, 0xd800u); c <= std::min(last, 0xdfffu); ++c) --expected;
    EXPECT_EQ(NumTexts(sequences), expected) << first << " " << last;
    for (const uint32_t c : {first, last, first + (last - first) / 2}) {
      if (c >= 0xd800 && c <= 0xdfff) continue;
      std::string text;
      AppendUtf8(text, c);
      EXPECT_TRUE(Matches(sequences, text)) << first << " " << last << " " << c;
    }
  }
}

TEST(Utf8RangesTest, SetsOfCodePoints) {
  CodePoints points{{10, 20}, {30, 40}};
  points.Add(21, 29);
  EXPECT_EQ(points.ranges(), (std::vector<CodePoints::Range>{{10, 40}}));
  EXPECT_EQ(points.Complement().ranges(), (std::vector<CodePoints::Range>{{0, 9}, {41, CodePoints::kLast}}));
  EXPECT_EQ(points.Without({{0, 12}, {20, 20}}).ranges(), (std::vector<CodePoints::Range>{{13, 19}, {21, 40}}));
  EXPECT_TRUE(CodePoints({{0, CodePoints::kLast}}).Complement().empty());
}

}  // namespace
}  // namespace engram
