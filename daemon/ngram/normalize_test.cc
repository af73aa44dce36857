// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "core/json_text.h"
#include "ngram/compressed_map.h"
#include "ngram/vector_file.h"

namespace engram {
namespace {

std::string Utf8(uint32_t c) {
  std::u32string one(1, static_cast<char32_t>(c));
  std::string out;
  for (char32_t x : one) {
    if (x < 0x80) {
      out += static_cast<char>(x);
    } else if (x < 0x800) {
      out += {static_cast<char>(0xC0 | (x >> 6)), static_cast<char>(0x80 | (x & 0x3F))};
    } else if (x < 0x10000) {
      out += {static_cast<char>(0xE0 | (x >> 12)), static_cast<char>(0x80 | ((x >> 6) & 0x3F)),
              static_cast<char>(0x80 | (x & 0x3F))};
    } else {
      out += {static_cast<char>(0xF0 | (x >> 18)), static_cast<char>(0x80 | ((x >> 12) & 0x3F)),
              static_cast<char>(0x80 | ((x >> 6) & 0x3F)), static_cast<char>(0x80 | (x & 0x3F))};
    }
  }
  return out;
}

TEST(Normalize, EveryCodePointOfTheVector) {
  const boost::json::value vector = ReadVector("normalize.json");
  size_t num_checked = 0;
  for (const auto& [code_point, expected] : vector.at("map").as_object()) {
    const auto c = static_cast<uint32_t>(std::stoul(std::string(code_point)));
    // Between letters, so that the steps on white space, which the vector leaves out, change nothing but U+0020 runs.
    EXPECT_EQ(NormalizeForCompression("x" + Utf8(c) + "y"), "x" + std::string(expected.as_string()) + "y")
        << "code point " << c;
    ++num_checked;
  }
  EXPECT_EQ(num_checked, 3431u);
}

TEST(Normalize, WhiteSpace) {
  EXPECT_EQ(NormalizeForCompression(""), "");
  EXPECT_EQ(NormalizeForCompression(" "), " ");
  EXPECT_EQ(NormalizeForCompression("   "), " ");
  EXPECT_EQ(NormalizeForCompression("\r\n\t "), " ");
  EXPECT_EQ(NormalizeForCompression("\xC2\xA0"), " ");         // U+00A0 is a space by compatibility
  EXPECT_EQ(NormalizeForCompression(" \xE3\x80\x80\n"), " ");  // so is U+3000
  EXPECT_EQ(NormalizeForCompression("  a \t\n b  "), "a b");
  EXPECT_EQ(NormalizeForCompression("\v"), "");  // white space, but in no run
  EXPECT_EQ(NormalizeForCompression(" \f "), "");
  EXPECT_EQ(NormalizeForCompression("\xC2\x85"
                                    "a\xE2\x80\xA8"),
            "a");  // U+0085, U+2028
  EXPECT_EQ(NormalizeForCompression("\xE1\x9A\x80"
                                    "a"),
            "a");  // U+1680
  EXPECT_EQ(NormalizeForCompression("\xE2\x80\x8B"
                                    "a"),
            "\xE2\x80\x8B"
            "a");  // U+200B is not white space
  EXPECT_EQ(NormalizeForCompression("a\v\vb"), "a\v\vb");
}

TEST(Normalize, Texts) {
  EXPECT_EQ(NormalizeForCompression(" Caf\xC3\x89"), "cafe");
  EXPECT_EQ(NormalizeForCompression("CAFE\xCC\x81"), "cafe");
  EXPECT_EQ(NormalizeForCompression("\xCE\x91\xCE\xA3"), "\xCE\xB1\xCF\x83");  // by code point: no final sigma
  EXPECT_EQ(NormalizeForCompression("\xC4\xB0"), "i");                         // U+0130 loses its dot
  EXPECT_EQ(NormalizeForCompression("\xEF\xAC\x81"), "fi");
  EXPECT_EQ(NormalizeForCompression("\xCC\x81"), "");
  EXPECT_EQ(NormalizeForCompression("\xEA\xB0\x81"), "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8");  // Hangul falls apart
}

TEST(Normalize, TablesAreOfTheirOwnVersions) {
  EXPECT_EQ(NormalizeForCompression("a" + Utf8(0x08D4)), "a");                   // mark of 9.0
  EXPECT_EQ(NormalizeForCompression("a" + Utf8(0x08D3)), "a" + Utf8(0x08D3));    // mark of 11.0
  EXPECT_EQ(NormalizeForCompression("a" + Utf8(0x1CF2)), "a");                   // mark in 9.0, letter now
  EXPECT_EQ(NormalizeForCompression("a" + Utf8(0x111C9)), "a" + Utf8(0x111C9));  // mark now, punctuation in 9.0
  EXPECT_EQ(NormalizeForCompression(Utf8(0x32FF)), Utf8(0x32FF));                // compatibility form of 12.1
  EXPECT_EQ(NormalizeForCompression(Utf8(0x10D50)), Utf8(0x10D70));              // lower case of 16.0
  EXPECT_EQ(NormalizeForCompression(Utf8(0x16EB8)), Utf8(0x16ED3));              // lower case of 17.0
}

// Every code point gives valid UTF-8, and a second pass changes nothing that the first one made of an old code point.
TEST(Normalize, EveryCodePointIsStable) {
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const std::string once = NormalizeForCompression("x" + Utf8(c) + "y");
    ASSERT_TRUE(IsValidUtf8(once)) << c;
    ASSERT_EQ(NormalizeForCompression(once), once) << c;
  }
}

TEST(CompressionKey, ChoosesTheKind) {
  EXPECT_EQ(CompressionKey(" The", "\xC4\xA0The"), "the");
  EXPECT_EQ(CompressionKey("\xE2\x82", "\xC3\xA2\xC4\xA4"), "\xC3\xA2\xC4\xA4");  // part of a character: raw
  EXPECT_EQ(CompressionKey("\xEF\xBF\xBD", "raw"), "raw");                        // U+FFFD itself, too
  EXPECT_EQ(CompressionKey("\v", "raw"), "\v");                                   // nothing left: the text
  EXPECT_EQ(CompressionKey("\xCC\x81", "raw"), "\xCC\x81");
  EXPECT_EQ(CompressionKey("", ""), "");
  EXPECT_EQ(CompressionKey("<|im_end|>", "<|im_end|>"), "<|im_end|>");
}

}  // namespace
}  // namespace engram
