// SPDX-License-Identifier: Apache-2.0
#include "serve/sampling_math.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>

namespace engram {
namespace {

// Independent partial results: without -ffast-math the compiler must not reorder a reduction itself.
constexpr size_t kLanes = 16;

// exp(x) for x <= 0: 2^n * P(f) with n = round(x / ln 2), f = x - n ln 2 in two parts, P of degree 6 (the coefficients
// of Cephes' expf). Rounding by adding 1.5 * 2^23 needs no SSE4.1 and no library call, so the loop vectorises.
inline float ExpNegative(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kRound = 12582912.0f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  const float clamped = x < -87.0f ? -87.0f : x;
  const float shifted = clamped * kLog2E + kRound;
  const float n = shifted - kRound;
  const float f = clamped - n * kLn2High - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  p = p * f * f + f + 1.0f;
  // The low bits of `shifted` hold n (>= -126), so the sum is the exponent field of 2^n.
  const uint32_t exponent = (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRound) + 127u) << 23;
  const float y = p * std::bit_cast<float>(exponent);
  return x < -87.0f ? 0.0f : y;
}

double Sum(std::span<const float> values) {
  std::array<double, 8> lanes{};
  size_t i = 0;
  for (; i + lanes.size() <= values.size(); i += lanes.size())
    for (size_t j = 0; j < lanes.size(); ++j) lanes[j] += static_cast<double>(values[i + j]);
  double sum = 0;
  for (; i < values.size(); ++i) sum += static_cast<double>(values[i]);
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

bool AllFinite(std::span<const float> values) {
  // As integers without the sign, infinities and NaNs are the numbers from 0x7f800000 up.
  std::array<int32_t, kLanes> lanes{};
  size_t i = 0;
  const auto magnitude = [](float v) { return static_cast<int32_t>(std::bit_cast<uint32_t>(v) & 0x7fffffffu); };
  for (; i + kLanes <= values.size(); i += kLanes)
    for (size_t j = 0; j < kLanes; ++j) lanes[j] = std::max(lanes[j], magnitude(values[i + j]));
  for (; i < values.size(); ++i) lanes[0] = std::max(lanes[0], magnitude(values[i]));
  return *std::max_element(lanes.begin(), lanes.end()) < 0x7f800000;
}

float MaxValue(std::span<const float> values) {
  assert(!values.empty());
  std::array<float, kLanes> lanes;
  lanes.fill(values[0]);
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes)
    for (size_t j = 0; j < kLanes; ++j) lanes[j] = values[i + j] > lanes[j] ? values[i + j] : lanes[j];
  for (; i < values.size(); ++i) lanes[0] = std::max(lanes[0], values[i]);
  return *std::max_element(lanes.begin(), lanes.end());
}

size_t FirstEqual(std::span<const float> values, float value) {
  return static_cast<size_t>(std::find(values.begin(), values.end(), value) - values.begin());
}

double ExpWeights(std::span<const float> values, float max, float scale, std::span<float> weights,
                  std::span<double> block_sums) {
  assert(weights.size() == values.size());
  assert(block_sums.size() == (values.size() + kWeightBlock - 1) / kWeightBlock);
  double total = 0;
  for (size_t begin = 0; begin < values.size(); begin += kWeightBlock) {
    const size_t count = std::min(kWeightBlock, values.size() - begin);
    const float* in = values.data() + begin;
    float* out = weights.data() + begin;
    for (size_t i = 0; i < count; ++i) out[i] = ExpNegative((in[i] - max) * scale);
    total += block_sums[begin / kWeightBlock] = Sum({out, count});
  }
  return total;
}

double SumExp(std::span<const float> values, float max) {
  std::array<float, kWeightBlock> block;
  double total = 0;
  for (size_t begin = 0; begin < values.size(); begin += kWeightBlock) {
    const size_t count = std::min(kWeightBlock, values.size() - begin);
    for (size_t i = 0; i < count; ++i) block[i] = ExpNegative(values[begin + i] - max);
    total += Sum({block.data(), count});
  }
  return total;
}

}  // namespace engram
