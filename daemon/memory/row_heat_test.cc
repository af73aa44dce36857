// SPDX-License-Identifier: Apache-2.0
#include "memory/row_heat.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace engram {
namespace {

uint64_t Sum(const RowHeat::Report& report) {
  return std::accumulate(report.ranges.begin(), report.ranges.end(), uint64_t{0});
}

void ExpectAscendingToOne(const RowHeat::Report& report) {
  ASSERT_FALSE(report.curve.empty());
  for (size_t i = 1; i < report.curve.size(); ++i) {
    EXPECT_GT(report.curve[i].first, report.curve[i - 1].first);
    EXPECT_GE(report.curve[i].second, report.curve[i - 1].second);
  }
  EXPECT_EQ(report.curve.back(), std::pair(1.0, 1.0));
}

TEST(RowHeat, NothingReadIsNothingKnown) {
  const RowHeat heat(1000);
  const RowHeat::Report report = heat.report();
  EXPECT_EQ(report.num_rows, 1000u);
  EXPECT_EQ(report.sampled_reads, 0u);
  EXPECT_EQ(report.sample_rate, 0);
  EXPECT_EQ(Sum(report), 0u);
  EXPECT_TRUE(report.curve.empty());
}

TEST(RowHeat, TheFirstGatherAndOneInEveryFewIsLookedAt) {
  RowHeat heat(512);
  const std::vector<uint64_t> ids = {0, 1, 2, 511, 511, 511};
  for (uint32_t i = 0; i < 4 * RowHeat::kEvery; ++i) {
    heat.Record(RowHeat::Lane::kBatches, ids);
    EXPECT_EQ(heat.report().sampled_reads, ids.size() * (i / RowHeat::kEvery + 1));
  }
  const RowHeat::Report report = heat.report();
  EXPECT_DOUBLE_EQ(report.sample_rate, 1.0 / RowHeat::kEvery);
  EXPECT_EQ(report.ranges[0], 8u);
  EXPECT_EQ(report.ranges[1], 4u);
  EXPECT_EQ(report.ranges[255], 12u);
  EXPECT_EQ(Sum(report), report.sampled_reads);
}

TEST(RowHeat, ASmallTableIsCountedExactly) {
  RowHeat heat(1000);
  // Row i of the first 100 is read 100 - i times: 5,050 reads.
  std::vector<uint64_t> ids;
  for (uint64_t row = 0; row < 100; ++row) ids.insert(ids.end(), 100 - row, row * 7);
  heat.Record(RowHeat::Lane::kBatches, ids);
  const RowHeat::Report report = heat.report();
  ExpectAscendingToOne(report);
  EXPECT_DOUBLE_EQ(report.curve.front().first, 0.001);
  EXPECT_NEAR(report.curve.front().second, 100.0 / 5050, 1e-9);
  for (const auto& [rows, reads] : report.curve) {
    const auto n = std::min(100.0, std::round(rows * 1000));
    EXPECT_NEAR(reads, n * (201 - n) / 2 / 5050, 1e-9) << rows;
  }
}

TEST(RowHeat, TablesWithOneRowAndFewerRowsThanRanges) {
  for (const uint64_t rows : {1u, 2u, 255u}) {
    RowHeat heat(rows);
    std::vector<uint64_t> ids(rows);
    std::iota(ids.begin(), ids.end(), uint64_t{0});
    heat.Record(RowHeat::Lane::kBatches, ids);
    ExpectAscendingToOne(heat.report());
    EXPECT_EQ(Sum(heat.report()), rows);
  }
}

// Far more rows than the sample has room for: its curve against that of all counts.
TEST(RowHeat, TheSampleOfALargeTableHasTheShapeOfTheWhole) {
  constexpr uint64_t kRows = 200'000;
  RowHeat heat(kRows);
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> uniform;
  std::vector<uint32_t> counts(kRows);
  std::vector<uint64_t> ids(20'000);
  uint64_t reads = 0;
  for (int gather = 0; gather < 50; ++gather) {
    for (uint64_t& id : ids) {
      // The share x of the rows has the share x^0.25 of the reads; hot rows lie anywhere.
      const auto rank = std::min<uint64_t>(kRows - 1, static_cast<uint64_t>(std::pow(uniform(random), 4) * kRows));
      id = rank * 2'654'435'761u % kRows;
      ++counts[id];
    }
    reads += ids.size();
    for (uint32_t i = 0; i < RowHeat::kEvery; ++i)
      heat.Record(RowHeat::Lane::kBatches, i == 0 ? std::span(ids) : std::span(ids).first(1));
  }
  const RowHeat::Report report = heat.report();
  EXPECT_EQ(report.sampled_reads, reads);
  ExpectAscendingToOne(report);
  EXPECT_LT(report.curve.front().first, 0.001);
  std::sort(counts.begin(), counts.end(), std::greater<>());
  std::vector<uint64_t> up_to(kRows + 1, 0);
  for (size_t i = 0; i < kRows; ++i) up_to[i + 1] = up_to[i] + counts[i];
  for (const auto& [rows, share] : report.curve) {
    const auto exact = static_cast<double>(up_to[static_cast<size_t>(std::llround(rows * kRows))]);
    EXPECT_NEAR(share, exact / static_cast<double>(reads), 0.03) << rows;
  }
}

TEST(RowHeat, LanesCountTogether) {
  RowHeat heat(1u << 20);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 2; ++t)
    threads.emplace_back([&heat, t] {
      const RowHeat::Lane lane = t == 0 ? RowHeat::Lane::kBatches : RowHeat::Lane::kTokens;
      std::mt19937_64 random(t);
      std::vector<uint64_t> ids(16);
      for (uint32_t i = 0; i < 64 * RowHeat::kEvery; ++i) {
        for (uint64_t& id : ids) id = random() % (1u << 20);
        heat.Record(lane, ids);
      }
    });
  for (std::thread& thread : threads) thread.join();
  const RowHeat::Report report = heat.report();
  EXPECT_EQ(report.sampled_reads, 2u * 64 * 16);
  EXPECT_EQ(Sum(report), report.sampled_reads);
  EXPECT_DOUBLE_EQ(report.sample_rate, 1.0 / RowHeat::kEvery);
  ExpectAscendingToOne(report);
}

}  // namespace
}  // namespace engram
