// SPDX-License-Identifier: Apache-2.0
// What engram_tier_stats.read_latency says in other terms. Pure functions.
#pragma once

#include <engram/tier.h>

#include <array>
#include <cstdint>
#include <span>

namespace engram {

using LatencyCounts = std::span<const uint64_t, ENGRAM_LATENCY_BUCKETS>;

// Where bucket `bucket` begins, in microseconds; that of ENGRAM_LATENCY_BUCKETS is where the last one would end.
double LatencyBound(uint32_t bucket);

uint64_t LatencyCount(LatencyCounts counts);
// The microseconds within which a share `quantile` (0 to 1) of the reads was done, evenly spread within a bucket; 0 of
// none.
double LatencyQuantile(LatencyCounts counts, double quantile);
// All reads together in microseconds, each taken for the middle of its bucket.
double LatencySum(LatencyCounts counts);

// One bucket an octave: bounds 2, 4, ... 2^19 microseconds, in seconds, and the counts between and above them.
inline constexpr uint32_t kLatencyOctaves = ENGRAM_LATENCY_BUCKETS / 4;
std::span<const double, kLatencyOctaves - 1> LatencyOctaveSeconds();
std::array<uint64_t, kLatencyOctaves> LatencyOctaves(LatencyCounts counts);

}  // namespace engram
