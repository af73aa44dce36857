// SPDX-License-Identifier: Apache-2.0
#include "serve/lens.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "serve/sampling_math.h"

namespace engram {

Result<std::vector<LensLayer>> LensOf(std::span<const std::span<const float>> lens_logits, uint32_t top) {
  std::vector<double> log_sums;  // of exp(logit), so that log p = logit - log_sum
  for (size_t layer = 0; layer < lens_logits.size(); ++layer) {
    const std::span<const float> logits = lens_logits[layer];
    if (!AllFinite(logits))
      return Internal("the backbone's logits after layer " + std::to_string(layer) + " are not finite");
    const float max = MaxValue(logits);
    log_sums.push_back(double{max} + std::log(SumExp(logits, max)));
  }
  const std::span<const float> final_logits = lens_logits.back();
  std::vector<LensLayer> lens(lens_logits.size());
  std::vector<int32_t> order(final_logits.size());
  for (size_t layer = 0; layer < lens.size(); ++layer) {
    const std::span<const float> logits = lens_logits[layer];
    const double shift = log_sums.back() - log_sums[layer];
    double kl = 0;
    for (size_t v = 0; v < logits.size(); ++v) {
      const double p = std::exp(double{final_logits[v]} - log_sums.back());
      kl += p * (double{final_logits[v]} - double{logits[v]} - shift);
    }
    lens[layer].kl = static_cast<float>(std::max(0.0, kl));
    std::iota(order.begin(), order.end(), 0);
    const auto end = order.begin() + std::min<ptrdiff_t>(top, static_cast<ptrdiff_t>(order.size()));
    std::partial_sort(order.begin(), end, order.end(), [&](int32_t a, int32_t b) {
      const float x = logits[static_cast<size_t>(a)];
      const float y = logits[static_cast<size_t>(b)];
      return x != y ? x > y : a < b;
    });
    for (auto token = order.begin(); token != end; ++token)
      lens[layer].top.emplace_back(
          *token, static_cast<float>(std::exp(double{logits[static_cast<size_t>(*token)]} - log_sums[layer])));
  }
  return lens;
}

}  // namespace engram
