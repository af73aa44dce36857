// SPDX-License-Identifier: Apache-2.0
// The passes over a whole vocabulary that sampling needs, written so that the compiler can vectorise them. Pure
// functions; results depend on the input alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace engram {

// No value is NaN or infinite.
bool AllFinite(std::span<const float> values);

// Largest value; `values` is not empty and finite.
float MaxValue(std::span<const float> values);

// Index of the first value equal to `value`, or values.size().
size_t FirstEqual(std::span<const float> values, float value);

// Number of elements whose weights share one partial sum.
inline constexpr size_t kWeightBlock = 512;

// weights[i] = exp((values[i] - max) * scale), 0 where that is below exp(-87); max >= every value, scale > 0. The
// relative error of a weight is below 3e-7. block_sums[b] is the float64 sum of weights[b * kWeightBlock ..]. Returns
// the sum of all. Sizes: weights as values, block_sums ceil(values.size() / kWeightBlock).
double ExpWeights(std::span<const float> values, float max, float scale, std::span<float> weights,
                  std::span<double> block_sums);

// Sum of exp(values[i] - max) in float64, terms as in ExpWeights().
double SumExp(std::span<const float> values, float max);

}  // namespace engram
