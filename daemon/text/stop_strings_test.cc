// SPDX-License-Identifier: Apache-2.0
#include "text/stop_strings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace engram {
namespace {

TEST(StopStrings, WithoutStopsTextPassesAtOnce) {
  for (StopStrings stops : {StopStrings({}), StopStrings({""})}) {
    const auto piece = stops.Push("hello");
    EXPECT_EQ(piece.text, "hello");
    EXPECT_FALSE(piece.stopped);
    EXPECT_EQ(stops.Finish(), "");
  }
}

TEST(StopStrings, FindsOneAcrossPieces) {
  StopStrings stops({"<|end|>"});
  EXPECT_EQ(stops.Push("one <|").text, "one ");
  EXPECT_EQ(stops.Push("en").text, "");
  const auto piece = stops.Push("d|> two");
  EXPECT_EQ(piece.text, "");
  EXPECT_TRUE(piece.stopped);
  EXPECT_EQ(stops.Push("three").text, "");
  EXPECT_TRUE(stops.Push("four").stopped);
  EXPECT_EQ(stops.Finish(), "");
}

TEST(StopStrings, LetsGoWhatTurnsOutOtherwise) {
  StopStrings stops({"aab"});
  EXPECT_EQ(stops.Push("xaa").text, "x");
  EXPECT_EQ(stops.Push("a").text, "a");  // "aa" may still become the stop string
  EXPECT_EQ(stops.Push("c").text, "aac");
  EXPECT_EQ(stops.Push("a").text, "");
  EXPECT_EQ(stops.Finish(), "a");
}

TEST(StopStrings, TheEarliestStartWins) {
  StopStrings stops({"world", "lo w"});
  const auto piece = stops.Push("hello world");
  EXPECT_EQ(piece.text, "hel");
  EXPECT_TRUE(piece.stopped);
}

TEST(StopStrings, AnOpenEarlierOneIsWaitedFor) {
  StopStrings whole({"bc", "abcd"});
  EXPECT_EQ(whole.Push("xabc").text, "x");
  const auto found = whole.Push("d");
  EXPECT_EQ(found.text, "");
  EXPECT_TRUE(found.stopped);

  StopStrings other({"bc", "abcd"});
  EXPECT_EQ(other.Push("xabc").text, "x");
  const auto shorter = other.Push("e");
  EXPECT_EQ(shorter.text, "a");
  EXPECT_TRUE(shorter.stopped);

  StopStrings ended({"bc", "abcd"});
  EXPECT_EQ(ended.Push("xabc").text, "x");
  EXPECT_EQ(ended.Finish(), "a");
}

// Against a search in the whole text, for every way of cutting it.
TEST(StopStrings, PiecesDoNotMatter) {
  std::mt19937 random(3);
  const auto word = [&](size_t max) {
    std::string text(1 + random() % max, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 3);
    return text;
  };
  int num_stopped = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string text = word(24);
    std::vector<std::string> stop_list;
    for (size_t n = random() % 4; n > 0; --n) stop_list.push_back(word(6));
    size_t first = std::string::npos;
    for (const std::string& stop : stop_list) first = std::min(first, text.find(stop));

    StopStrings stops(stop_list);
    std::string sent;
    bool stopped = false;
    for (size_t at = 0; at < text.size() && !stopped;) {
      const size_t size = std::min<size_t>(1 + random() % 5, text.size() - at);
      const auto piece = stops.Push(std::string_view(text).substr(at, size));
      sent += piece.text;
      stopped = piece.stopped;
      at += size;
      size_t longest = 0;
      for (const std::string& stop : stop_list) longest = std::max(longest, stop.size());
      if (!stopped) {
        ASSERT_LE(at - sent.size(), longest == 0 ? 0 : longest - 1);
      }
    }
    sent += stops.Finish();
    ASSERT_EQ(sent, text.substr(0, first));
    ASSERT_TRUE(!stopped || first != std::string::npos);
    num_stopped += stopped;
  }
  EXPECT_GT(num_stopped, 1000);
}

TEST(StopStrings, LongRepetitiveStopsTakeLinearTime) {
  StopStrings stops({std::string(1 << 20, 'a') + "b"});
  std::string sent;
  for (int i = 0; i < 1 << 12; ++i) sent += stops.Push(std::string(1 << 10, 'a')).text;
  sent += stops.Finish();
  EXPECT_EQ(sent.size(), size_t{1} << 22);
}

}  // namespace
}  // namespace engram
