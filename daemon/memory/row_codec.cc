// SPDX-License-Identifier: Apache-2.0
#include "memory/row_codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>

namespace engram {
namespace {

constexpr uint32_t kGroup = 32;  // fp8 values that share a scale
constexpr float kMaxE4M3 = 448;

template <typename T>
T Load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

float FromBf16(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

float FromF16(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16;
  const uint32_t exponent = bits >> 10 & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
  return sign != 0 ? -magnitude : magnitude;
}

float FromE4M3(uint8_t code) {
  const uint32_t sign = (code & 0x80u) << 24;
  const uint32_t exponent = code >> 3 & 0xfu;
  const uint32_t mantissa = code & 7u;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 120) << 23 | mantissa << 20);
  const float magnitude = std::ldexp(static_cast<float>(mantissa), -9);
  return sign != 0 ? -magnitude : magnitude;
}

const std::array<float, 256>& E4M3Table() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> values{};
    for (size_t code = 0; code < values.size(); ++code) values[code] = FromE4M3(static_cast<uint8_t>(code));
    return values;
  }();
  return table;
}

// 2^(scale - 127); 0 is the subnormal 2^-127, 255 is NaN.
float FromE8M0(uint8_t scale) {
  if (scale == 255) return std::bit_cast<float>(0x7fc00000u);
  return scale == 0 ? std::bit_cast<float>(0x00400000u) : std::bit_cast<float>(uint32_t{scale} << 23);
}

// The magnitude's nearest code of a small float format, ties to the even one: `mantissa_bits` of mantissa, subnormals
// below 2^min_exponent. The code counts up through the magnitudes, so a carry out of the mantissa is the next exponent.
// What lies above the largest finite magnitude comes out above its code.
uint32_t NearestCode(float magnitude, int mantissa_bits, int min_exponent) {
  if (magnitude == 0) return 0;
  const int exponent = std::max(std::ilogb(magnitude), min_exponent);
  // In units of the last place; exact, as doubles hold 53 bits and no float leaves their range.
  const double units = std::ldexp(static_cast<double>(magnitude), mantissa_bits - exponent);
  double whole = std::floor(units);
  const double rest = units - whole;
  if (rest > 0.5 || (rest == 0.5 && std::fmod(whole, 2) != 0)) whole += 1;
  // A normal number's units have the implicit bit, which is worth one exponent.
  return (static_cast<uint32_t>(exponent - min_exponent) << mantissa_bits) + static_cast<uint32_t>(whole);
}

Error TooLarge(size_t index, float value, const char* format) {
  return InvalidArgument("values[" + std::to_string(index) + "] is " + std::to_string(value) +
                         ", too large for the table's row format " + format);
}

}  // namespace

Result<RowCodec> RowCodec::Create(engram_row_format format, uint32_t head_dim) {
  RowCodec codec;
  codec.format_ = format;
  codec.head_dim_ = head_dim;
  switch (format) {
    case ENGRAM_ROW_BF16:
    case ENGRAM_ROW_F16:
      codec.row_bytes_ = 2 * head_dim;
      return codec;
    case ENGRAM_ROW_F32:
      codec.row_bytes_ = 4 * head_dim;
      return codec;
    case ENGRAM_ROW_FP8_E4M3_UE8M0:
      codec.row_bytes_ = head_dim + (head_dim + kGroup - 1) / kGroup;
      return codec;
    default:
      return InvalidArgument("row format " + std::to_string(format) +
                             " is none of 1 (bf16), 2 (f32), 3 (fp8), 4 (f16)");
  }
}

void RowCodec::Decode(const uint8_t* row, float* values) const {
  switch (format_) {
    case ENGRAM_ROW_BF16:
      for (uint32_t i = 0; i < head_dim_; ++i) values[i] = FromBf16(Load<uint16_t>(row + 2 * i));
      return;
    case ENGRAM_ROW_F16:
      for (uint32_t i = 0; i < head_dim_; ++i) values[i] = FromF16(Load<uint16_t>(row + 2 * i));
      return;
    case ENGRAM_ROW_F32:
      std::memcpy(values, row, row_bytes_);
      return;
    default:
      for (uint32_t i = 0; i < head_dim_; ++i) values[i] = E4M3Table()[row[i]] * FromE8M0(row[head_dim_ + i / kGroup]);
  }
}

Status RowCodec::Encode(std::span<const float> values, uint8_t* row) const {
  if (values.size() != head_dim_)
    return InvalidArgument(std::to_string(values.size()) + " values for a row of " + std::to_string(head_dim_));
  for (size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i])) return InvalidArgument("values[" + std::to_string(i) + "] is not a finite number");
  if (format_ == ENGRAM_ROW_F32) {
    std::memcpy(row, values.data(), row_bytes_);
    return {};
  }
  if (format_ == ENGRAM_ROW_FP8_E4M3_UE8M0) {
    for (size_t begin = 0; begin < values.size(); begin += kGroup) {
      const std::span<const float> group = values.subspan(begin, std::min<size_t>(kGroup, values.size() - begin));
      float largest = 0;
      for (const float value : group) largest = std::max(largest, std::abs(value));
      int exponent = 0;
      if (largest > 0) {
        const double mantissa = std::frexp(static_cast<double>(largest) / kMaxE4M3, &exponent);  // in [0.5, 1)
        if (mantissa == 0.5) --exponent;
        exponent = std::max(exponent, -127);
      }
      row[head_dim_ + begin / kGroup] = static_cast<uint8_t>(exponent + 127);
      for (size_t i = 0; i < group.size(); ++i) {
        const float scaled = std::ldexp(std::abs(group[i]), -exponent);  // at most 448: its code is a number's
        row[begin + i] = static_cast<uint8_t>(NearestCode(scaled, 3, -6) | (std::signbit(group[i]) ? 0x80u : 0u));
      }
    }
    return {};
  }
  const bool bf16 = format_ == ENGRAM_ROW_BF16;
  for (size_t i = 0; i < values.size(); ++i) {
    const float magnitude = std::abs(values[i]);
    const uint32_t code = bf16 ? NearestCode(magnitude, 7, -126) : NearestCode(magnitude, 10, -14);
    if (code >= (bf16 ? 0x7f80u : 0x7c00u)) return TooLarge(i, values[i], bf16 ? "bf16" : "f16");
    const auto bits = static_cast<uint16_t>(code | (std::signbit(values[i]) ? 0x8000u : 0u));
    std::memcpy(row + 2 * i, &bits, sizeof(bits));
  }
  return {};
}

}  // namespace engram
