// SPDX-License-Identifier: Apache-2.0
#include "memory/latency.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

TEST(Latency, BoundsAreThoseOfTheHeader) {
  EXPECT_EQ(LatencyBound(0), 1.0);
  EXPECT_EQ(LatencyBound(3), 1.75);
  EXPECT_EQ(LatencyBound(4), 2.0);
  EXPECT_EQ(LatencyBound(29), 160.0);
  EXPECT_EQ(LatencyBound(80), 1048576.0);
}

TEST(Latency, QuantilesLieInTheirBuckets) {
  std::array<uint64_t, ENGRAM_LATENCY_BUCKETS> counts{};
  EXPECT_EQ(LatencyQuantile(counts, 0.5), 0);
  counts[24] = 990;  // 64 to 80 us
  counts[40] = 9;    // 1,024 to 1,280
  counts[60] = 1;    // 32,768 to 40,960
  EXPECT_EQ(LatencyCount(counts), 1000u);
  EXPECT_NEAR(LatencyQuantile(counts, 0.5), 64 + 16 * 500.0 / 990, 1e-9);
  EXPECT_EQ(LatencyQuantile(counts, 0.99), 80);
  EXPECT_EQ(LatencyQuantile(counts, 0.999), 1280);
  EXPECT_EQ(LatencyQuantile(counts, 1), 40960);
  EXPECT_EQ(LatencySum(counts), 990 * 72 + 9 * 1152 + 36864);
}

TEST(Latency, OctavesKeepEveryRead) {
  std::array<uint64_t, ENGRAM_LATENCY_BUCKETS> counts{};
  counts[0] = 1;
  counts[3] = 2;
  counts[4] = 4;
  counts[79] = 8;
  const auto octaves = LatencyOctaves(counts);
  EXPECT_EQ(octaves[0], 3u);
  EXPECT_EQ(octaves[1], 4u);
  EXPECT_EQ(octaves[19], 8u);
  EXPECT_DOUBLE_EQ(LatencyOctaveSeconds()[0], 2e-6);
  EXPECT_DOUBLE_EQ(LatencyOctaveSeconds()[18], 0.524288);
}

}  // namespace
}  // namespace engram
