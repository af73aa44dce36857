// SPDX-License-Identifier: Apache-2.0
#include "memory/latency.h"

#include <cmath>
#include <numeric>

namespace engram {

double LatencyBound(uint32_t bucket) {
  return std::ldexp(1 + (bucket % 4) / 4.0, static_cast<int>(bucket / 4));
}

uint64_t LatencyCount(LatencyCounts counts) {
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

double LatencyQuantile(LatencyCounts counts, double quantile) {
  const double wanted = quantile * static_cast<double>(LatencyCount(counts));
  double below = 0;
  double value = 0;
  for (uint32_t b = 0; b < ENGRAM_LATENCY_BUCKETS; ++b) {
    if (counts[b] == 0) continue;
    const auto here = static_cast<double>(counts[b]);
    const double begin = LatencyBound(b);
    value = LatencyBound(b + 1);
    if (below + here >= wanted) return begin + (value - begin) * (wanted - below) / here;
    below += here;
  }
  return value;
}

double LatencySum(LatencyCounts counts) {
  double sum = 0;
  for (uint32_t b = 0; b < ENGRAM_LATENCY_BUCKETS; ++b)
    sum += static_cast<double>(counts[b]) * (LatencyBound(b) + LatencyBound(b + 1)) / 2;
  return sum;
}

std::span<const double, kLatencyOctaves - 1> LatencyOctaveSeconds() {
  static const auto kBounds = [] {
    std::array<double, kLatencyOctaves - 1> bounds{};
    for (uint32_t i = 0; i < bounds.size(); ++i) bounds[i] = LatencyBound(4 * (i + 1)) * 1e-6;
    return bounds;
  }();
  return kBounds;
}

std::array<uint64_t, kLatencyOctaves> LatencyOctaves(LatencyCounts counts) {
  std::array<uint64_t, kLatencyOctaves> octaves{};
  for (uint32_t b = 0; b < ENGRAM_LATENCY_BUCKETS; ++b) octaves[b / 4] += counts[b];
  return octaves;
}

}  // namespace engram
