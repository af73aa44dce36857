// SPDX-License-Identifier: Apache-2.0
#include "memory/row_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace engram {
namespace {

using ::testing::HasSubstr;

RowCodec Codec(engram_row_format format, uint32_t head_dim) {
  auto codec = RowCodec::Create(format, head_dim);
  EXPECT_TRUE(codec);
  return *codec;
}

std::vector<float> Decoded(const RowCodec& codec, const std::vector<uint8_t>& row) {
  std::vector<float> values(codec.head_dim());
  codec.Decode(row.data(), values.data());
  return values;
}

std::vector<uint8_t> Encoded(const RowCodec& codec, const std::vector<float>& values) {
  std::vector<uint8_t> row(codec.row_bytes());
  const Status status = codec.Encode(values, row.data());
  EXPECT_TRUE(status) << status.error().message;
  return row;
}

uint16_t Encoded16(const RowCodec& codec, float value) {
  uint16_t bits = 0;
  std::memcpy(&bits, Encoded(codec, {value}).data(), 2);
  return bits;
}

TEST(RowCodec, KnowsTheRowsSizes) {
  EXPECT_EQ(Codec(ENGRAM_ROW_BF16, 32).row_bytes(), 64u);
  EXPECT_EQ(Codec(ENGRAM_ROW_F16, 32).row_bytes(), 64u);
  EXPECT_EQ(Codec(ENGRAM_ROW_F32, 32).row_bytes(), 128u);
  EXPECT_EQ(Codec(ENGRAM_ROW_FP8_E4M3_UE8M0, 256).row_bytes(), 264u);
  EXPECT_EQ(Codec(ENGRAM_ROW_FP8_E4M3_UE8M0, 40).row_bytes(), 42u);
  EXPECT_EQ(RowCodec::Create(9, 32).error().code, ErrorCode::kInvalidArgument);
}

// Every number of both 16-bit formats; their values by arithmetic on exponent and mantissa.
TEST(RowCodec, EverySixteenBitPatternComesBack) {
  struct Format {
    engram_row_format format;
    int exponent_bits, mantissa_bits, bias;
  };
  for (const Format& f : {Format{ENGRAM_ROW_BF16, 8, 7, 127}, Format{ENGRAM_ROW_F16, 5, 10, 15}}) {
    const RowCodec codec = Codec(f.format, 1);
    for (uint32_t bits = 0; bits < 65536; ++bits) {
      const std::vector<uint8_t> row = {static_cast<uint8_t>(bits), static_cast<uint8_t>(bits >> 8)};
      const float value = Decoded(codec, row)[0];
      const int exponent = static_cast<int>(bits >> f.mantissa_bits) & ((1 << f.exponent_bits) - 1);
      const int mantissa = static_cast<int>(bits) & ((1 << f.mantissa_bits) - 1);
      if (exponent == (1 << f.exponent_bits) - 1) {
        EXPECT_FALSE(std::isfinite(value)) << bits;
        continue;
      }
      const double magnitude = exponent == 0
                                   ? std::ldexp(mantissa, 1 - f.bias - f.mantissa_bits)
                                   : std::ldexp(mantissa + (1 << f.mantissa_bits), exponent - f.bias - f.mantissa_bits);
      ASSERT_EQ(static_cast<double>(value), (bits & 0x8000) != 0 ? -magnitude : magnitude) << bits;
      ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
      ASSERT_EQ(Encoded(codec, {value}), row) << bits;
    }
  }
}

TEST(RowCodec, RoundsToTheNearestAndTiesToEven) {
  for (const engram_row_format format : {ENGRAM_ROW_BF16, ENGRAM_ROW_F16}) {
    const RowCodec codec = Codec(format, 1);
    const uint32_t limit = format == ENGRAM_ROW_BF16 ? 0x7f80 : 0x7c00;
    for (uint32_t bits = 0; bits + 1 < limit; ++bits) {
      const auto value_of = [&](uint32_t code) {
        return Decoded(codec, {static_cast<uint8_t>(code), static_cast<uint8_t>(code >> 8)})[0];
      };
      const float low = value_of(bits), high = value_of(bits + 1);
      const auto middle = static_cast<float>((static_cast<double>(low) + static_cast<double>(high)) / 2);
      ASSERT_EQ(Encoded16(codec, middle), bits % 2 == 0 ? bits : bits + 1) << bits;
      ASSERT_EQ(Encoded16(codec, std::nextafter(middle, low)), bits) << bits;
      ASSERT_EQ(Encoded16(codec, std::nextafter(middle, high)), bits + 1) << bits;
    }
  }
}

TEST(RowCodec, F32IsTakenAsItIs) {
  const RowCodec codec = Codec(ENGRAM_ROW_F32, 3);
  const std::vector<float> values = {-0.0f, 1.5e-45f, std::numeric_limits<float>::max()};
  const std::vector<uint8_t> row = Encoded(codec, values);
  EXPECT_EQ(std::memcmp(row.data(), values.data(), 12), 0);
  EXPECT_EQ(Decoded(codec, row), values);
}

double E4M3(uint32_t code) {
  const int exponent = static_cast<int>(code) >> 3 & 15;
  const int mantissa = static_cast<int>(code) & 7;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

// Every code under every scale whose products are floats.
TEST(RowCodec, EveryFp8CodeAndScaleComesBack) {
  const RowCodec codec = Codec(ENGRAM_ROW_FP8_E4M3_UE8M0, 32);
  for (uint32_t scale = 0; scale <= 246; ++scale) {
    for (uint32_t code = 0; code < 256; ++code) {
      if ((code & 0x7f) == 0x7f) continue;
      std::vector<uint8_t> row(33, 0x30);
      row[7] = static_cast<uint8_t>(code);
      row[9] = 0xfe;  // -448: the group's largest, so that no smaller scale would do
      row[32] = static_cast<uint8_t>(scale);
      const std::vector<float> values = Decoded(codec, row);
      ASSERT_EQ(static_cast<double>(values[7]), std::ldexp(E4M3(code), static_cast<int>(scale) - 127));
      ASSERT_EQ(std::signbit(values[7]), code >= 128);
      ASSERT_EQ(Encoded(codec, values), row) << "code " << code << " scale " << scale;
    }
  }
  std::vector<uint8_t> row(33, 0);
  row[0] = 0x7f;
  EXPECT_TRUE(std::isnan(Decoded(codec, {row})[0]));
  row[0] = 0x38;
  row[32] = 255;
  EXPECT_TRUE(std::isnan(Decoded(codec, {row})[0]));
}

// The rule of the exporter (training/engram_model/quantize.py): the smallest power of two that keeps the largest at or
// below 448; a code is the nearest, ties to the even one.
TEST(RowCodec, QuantizesAsTheExporterDoes) {
  const RowCodec codec = Codec(ENGRAM_ROW_FP8_E4M3_UE8M0, 72);  // two groups and 8 values
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (int round = 0; round < 2000; ++round) {
    std::vector<float> values(72);
    for (float& value : values) value = normal(random) * std::ldexp(1.0f, round % 60 - 40);
    if (round % 7 == 0) std::fill(values.begin() + 32, values.begin() + 64, 0.0f);
    if (round % 5 == 0) values[3] = std::ldexp(448.0f, round % 60 - 38);
    if (round % 5 == 1) values[3] = std::nextafter(std::ldexp(448.0f, round % 60 - 38), 1e30f);
    const std::vector<uint8_t> row = Encoded(codec, values);
    for (uint32_t group = 0; group < 3; ++group) {
      const uint32_t end = std::min(72u, group * 32 + 32);
      double largest = 0;
      for (uint32_t i = group * 32; i < end; ++i) largest = std::max(largest, std::abs(static_cast<double>(values[i])));
      const int exponent = row[72 + group] - 127;
      if (largest == 0) {
        EXPECT_EQ(exponent, 0);
      } else {
        EXPECT_LE(largest, std::ldexp(448.0, exponent));
        EXPECT_GT(largest, std::ldexp(448.0, exponent - 1));
      }
      for (uint32_t i = group * 32; i < end; ++i) {
        const double scaled = std::ldexp(static_cast<double>(values[i]), -exponent);
        const double error = std::abs(E4M3(row[i]) - scaled);
        for (const int step : {-1, 1}) {
          const uint32_t other = (row[i] & 0x7fu) + static_cast<uint32_t>(step);
          if (other > 0x7e) continue;
          const double other_error = std::abs(E4M3(other | (row[i] & 0x80u)) - scaled);
          ASSERT_TRUE(error < other_error || (error == other_error && row[i] % 2 == 0)) << i << " of " << round;
        }
      }
    }
    // Once decoded, the values stay what they are.
    const std::vector<float> decoded = Decoded(codec, row);
    const std::vector<uint8_t> again = Encoded(codec, decoded);
    ASSERT_EQ(Decoded(codec, again), decoded);
    ASSERT_EQ(Encoded(codec, Decoded(codec, again)), again);
  }
}

TEST(RowCodec, RefusesWhatTheFormatCannotHold) {
  std::vector<uint8_t> row(64);
  const auto message = [&](engram_row_format format, std::vector<float> values) {
    const Status status = Codec(format, 2).Encode(values, row.data());
    return status ? std::string("taken") : status.error().message;
  };
  for (const engram_row_format format : {ENGRAM_ROW_BF16, ENGRAM_ROW_F32, ENGRAM_ROW_FP8_E4M3_UE8M0, ENGRAM_ROW_F16}) {
    EXPECT_EQ(message(format, {1, std::nanf("")}), "values[1] is not a finite number");
    EXPECT_EQ(message(format, {-INFINITY, 1}), "values[0] is not a finite number");
    EXPECT_EQ(message(format, {1}), "1 values for a row of 2");
  }
  EXPECT_THAT(message(ENGRAM_ROW_F16, {0, 65520}), HasSubstr("values[1] is 65520.000000, too large"));
  EXPECT_EQ(message(ENGRAM_ROW_F16, {0, 65519}), "taken");
  EXPECT_THAT(message(ENGRAM_ROW_BF16, {-std::numeric_limits<float>::max(), 0}), HasSubstr("values[0] is -"));
  EXPECT_EQ(message(ENGRAM_ROW_FP8_E4M3_UE8M0, {std::numeric_limits<float>::max(), 0}), "taken");
}

}  // namespace
}  // namespace engram
