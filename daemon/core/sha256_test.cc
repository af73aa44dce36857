// SPDX-License-Identifier: Apache-2.0
#include "core/sha256.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(HexDigits(Sha256().Finish()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 pieces;
  pieces.Update("a");
  pieces.Update(std::string_view());
  pieces.Update("bc");
  EXPECT_EQ(HexDigits(pieces.Finish()), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, NumbersAndTextsAreUnambiguous) {
  Sha256 expected;
  expected.Update(std::string_view("\x02\0\0\0\0\0\0\0ab\x01\x02\0\0\0\0\0\0", 18));
  Sha256 actual;
  actual.UpdateText("ab");
  actual.UpdateNumber(0x201);
  EXPECT_EQ(expected.Finish(), actual.Finish());
}

TEST(Sha256, ParsesOnlyWholeDigests) {
  const Sha256Digest digest = Sha256().Finish();
  const std::string hex = HexDigits(digest);
  ASSERT_TRUE(ParseSha256(hex));
  EXPECT_EQ(*ParseSha256(hex), digest);
  EXPECT_FALSE(ParseSha256(hex.substr(1)));
  EXPECT_FALSE(ParseSha256("g" + hex.substr(1)));
}

}  // namespace
}  // namespace engram
