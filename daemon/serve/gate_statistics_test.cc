// SPDX-License-Identifier: Apache-2.0
#include "serve/gate_statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <map>
#include <random>
#include <thread>

namespace engram {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(TopNgramsTest, CountsExactlyWhileThereIsRoom) {
  TopNgrams top(8, /*keep_tokens=*/true);
  const std::vector<int32_t> a = {1, 2}, b = {1, 3}, c = {1, 2, 3};
  for (int i = 0; i < 5; ++i) top.Add(TopNgrams::Hash(a), a, 0.5);
  for (int i = 0; i < 3; ++i) top.Add(TopNgrams::Hash(b), b, 2);
  top.Add(TopNgrams::Hash(c), c, 0.25);
  const auto entries = top.Top(10);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].tokens, b);
  EXPECT_EQ(entries[0].weight, 6);
  EXPECT_EQ(entries[0].count, 3u);
  EXPECT_EQ(entries[1].tokens, a);
  EXPECT_EQ(entries[1].weight, 2.5);
  EXPECT_EQ(entries[2].tokens, c);
  EXPECT_EQ(entries[2].error, 0);
  EXPECT_EQ(top.Top(1).size(), 1u);
  top.Clear();
  EXPECT_THAT(top.Top(10), IsEmpty());
}

// Space-Saving's guarantees against exact counts of a skewed stream many times larger than the sketch.
TEST(TopNgramsTest, BoundsHoldOverALongStream) {
  constexpr uint32_t kCapacity = 64;
  TopNgrams top(kCapacity, true);
  std::map<std::vector<int32_t>, double> exact;
  std::mt19937_64 random(7);
  std::exponential_distribution<double> skewed(0.02);
  double total = 0;
  for (int i = 0; i < 50'000; ++i) {
    const std::vector<int32_t> ngram = {static_cast<int32_t>(skewed(random)), static_cast<int32_t>(random() % 3)};
    const double weight = 0.25 * static_cast<double>(1 + random() % 4);  // exact in binary
    top.Add(TopNgrams::Hash(ngram), ngram, weight);
    exact[ngram] += weight;
    total += weight;
  }
  ASSERT_GT(exact.size(), 4 * kCapacity);
  const auto entries = top.Top(1000);
  ASSERT_EQ(entries.size(), kCapacity);
  std::map<std::vector<int32_t>, const TopNgrams::Entry*> held;
  for (const auto& entry : entries) {
    held[entry.tokens] = &entry;
    EXPECT_GE(entry.weight, exact[entry.tokens]);
    EXPECT_LE(entry.weight - entry.error, exact[entry.tokens]);
    EXPECT_LE(entry.error, total / kCapacity);
  }
  EXPECT_TRUE(
      std::is_sorted(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.weight > b.weight; }));
  for (const auto& [ngram, weight] : exact) {
    if (weight > total / kCapacity) {
      EXPECT_TRUE(held.contains(ngram)) << ngram[0];
    }
  }
}

// Weights that are no numbers, or without end, do not hang it.
TEST(TopNgramsTest, SurvivesWhatIsNoNumber) {
  TopNgrams top(2, true);
  const auto add = [&](int32_t token, double weight) {
    const std::vector<int32_t> ngram = {token};
    top.Add(TopNgrams::Hash(ngram), ngram, weight);
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  for (int32_t token = 0; token < 100; ++token) {
    add(token, token % 3 == 0 ? nan : token % 3 == 1 ? infinity : 1);
    add(token, nan);
  }
  EXPECT_EQ(top.Top(10).size(), 2u);
}

TEST(TopNgramsTest, WithoutTextsOnlyHashesStay) {
  TopNgrams top(4, /*keep_tokens=*/false);
  const std::vector<int32_t> ngram = {7, 8};
  top.Add(TopNgrams::Hash(ngram), ngram, 1);
  ASSERT_EQ(top.Top(1).size(), 1u);
  EXPECT_THAT(top.Top(1)[0].tokens, IsEmpty());
  EXPECT_EQ(top.Top(1)[0].hash, TopNgrams::Hash(ngram));
}

GateSlice Slice(const std::vector<int32_t>& context, uint32_t num_tokens, uint32_t first_token) {
  GateSlice slice;
  slice.context = context;
  slice.num_tokens = num_tokens;
  slice.first_token = first_token;
  return slice;
}

TEST(GateStatisticsTest, CountsPerLayerAndStream) {
  GateStatistics statistics({}, {1, 4}, /*num_streams=*/2, /*max_order=*/3);
  const std::vector<int32_t> prompt = {10, 11, 12};
  const std::vector<int32_t> decode = {20, 21, 22};  // two earlier tokens and the slice's one
  // [layers][tokens][streams]; token 3 has memory off and belongs to no slice.
  const std::vector<float> gates = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0, 0, 0.9f, 1.0f,   // layer 1
                                    0.0f, 1.0f, 0.0f, 1.0f, 0.0f, 1.0f, 0, 0, 0.5f, 0.5f};  // layer 4
  const std::vector<GateSlice> slices = {Slice(prompt, 3, 0), Slice(decode, 1, 4)};
  statistics.Record(slices, gates.data(), 5);

  const auto report = statistics.Report({}, 10);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->tokens, 4u);
  ASSERT_EQ(report->layers.size(), 2u);
  EXPECT_EQ(report->layers[1].layer, 4u);
  const GateSummary& first = report->layers[0].streams[0];
  EXPECT_EQ(first.count, 4u);
  EXPECT_NEAR(first.mean, (0.1 + 0.3 + 0.5 + 0.9) / 4, 1e-6);
  EXPECT_NEAR(first.p50, 0.32, 0.03);
  EXPECT_NEAR(first.p99, 0.9, 0.03);
  EXPECT_EQ(report->layers[1].streams[1].histogram.back(), 3u);  // exactly 1 is in the last bucket
  EXPECT_EQ(report->layers[0].window[0].count, 4u);

  // Bigrams (10 11), (11 12), (21 22); trigrams (10 11 12), (20 21 22).
  ASSERT_EQ(report->top_by_count.size(), 5u);
  const auto& heaviest = report->layers[0].top_by_mass;
  ASSERT_EQ(heaviest.size(), 5u);
  EXPECT_NEAR(heaviest[0].entry.weight, 0.95, 1e-6);
  EXPECT_EQ(heaviest[0].entry.tokens.back(), 22);
  EXPECT_THAT(statistics.Report({}, 1)->layers[0].top_by_mass, testing::SizeIs(1));

  const auto totals = statistics.Totals();
  ASSERT_EQ(totals.size(), 4u);
  EXPECT_EQ(totals[3].layer, 4u);
  EXPECT_EQ(totals[3].stream, 1u);
  EXPECT_NEAR(totals[0].sum, 0.1 + 0.3 + 0.5 + 0.9, 1e-6);
  EXPECT_EQ(totals[3].histogram, report->layers[1].streams[1].histogram);

  statistics.Reset();
  EXPECT_EQ(statistics.Report({}, 10)->tokens, 0u);
  EXPECT_THAT(statistics.Report({}, 10)->top_by_count, IsEmpty());
}

TEST(GateStatisticsTest, GroupsAreCountedOnDemandAndBounded) {
  GateStatistics statistics({}, {1}, 1, 2);
  const GateGroup alice{GateGroup::Kind::kKey, "alice"};
  const GateGroup overlay{GateGroup::Kind::kOverlay, "tenant"};
  EXPECT_EQ(statistics.Report(alice, 1).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(statistics.Track(alice));
  ASSERT_TRUE(statistics.Track(alice));
  ASSERT_TRUE(statistics.Track(overlay));
  const std::vector<int32_t> context = {1, 2};
  GateSlice of_alice = Slice(context, 1, 0);
  of_alice.key = "alice";
  GateSlice of_bob = Slice(context, 1, 1);
  of_bob.key = "bob";
  of_bob.overlays = {"other", "tenant"};
  const std::vector<float> gates = {0.25f, 0.75f};
  statistics.Record(std::vector<GateSlice>{of_alice, of_bob}, gates.data(), 2);
  EXPECT_EQ(statistics.Report({}, 1)->tokens, 2u);
  EXPECT_NEAR(statistics.Report(alice, 1)->layers[0].streams[0].mean, 0.25, 1e-6);
  EXPECT_NEAR(statistics.Report(overlay, 1)->layers[0].streams[0].mean, 0.75, 1e-6);

  EXPECT_EQ(statistics.Untrack({}).error().code, ErrorCode::kInvalidArgument);
  ASSERT_TRUE(statistics.Untrack(alice));
  EXPECT_FALSE(statistics.Untrack(alice));
  for (size_t i = 1; i < GateStatistics::kMaxGroups; ++i)
    ASSERT_TRUE(statistics.Track({GateGroup::Kind::kKey, std::to_string(i)}));
  EXPECT_EQ(statistics.Track({GateGroup::Kind::kKey, "one too many"}).error().code, ErrorCode::kResourceExhausted);
}

TEST(GateStatisticsTest, AGateThatIsNoNumberCountsAsShut) {
  GateStatistics statistics({}, {1}, 1, 2);
  const std::vector<int32_t> context = {1, 2};
  const std::vector<float> gates = {std::numeric_limits<float>::quiet_NaN(), 0.5f};
  statistics.Record(std::vector<GateSlice>{Slice(context, 1, 0), Slice(context, 1, 1)}, gates.data(), 2);
  const auto report = statistics.Report({}, 1);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->layers[0].streams[0].count, 2u);
  EXPECT_DOUBLE_EQ(report->layers[0].streams[0].mean, 0.25);
  EXPECT_EQ(report->layers[0].streams[0].histogram[0], 1u);
  EXPECT_DOUBLE_EQ(report->layers[0].top_by_mass.at(0).entry.weight, 0.5);
}

TEST(GateStatisticsTest, FollowsAnotherModels) {
  GateStatistics old({}, {1, 2}, 4, 3);
  const GateGroup alice{GateGroup::Kind::kKey, "alice"};
  const GateGroup overlay{GateGroup::Kind::kOverlay, "tenant"};
  ASSERT_TRUE(old.Track(alice));
  ASSERT_TRUE(old.Track(overlay));
  old.SetCounting(false);
  GateStatistics fresh({}, {7}, 1, 2);
  ASSERT_TRUE(fresh.Follow(old));
  EXPECT_FALSE(fresh.counting());
  EXPECT_THAT(fresh.Groups(), ElementsAre(GateGroup{}, alice, overlay));
  const auto report = fresh.Report(alice, 1);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->tokens, 0u);
  ASSERT_EQ(report->layers.size(), 1u);
  EXPECT_EQ(report->layers[0].layer, 7u);
  // One that has groups of its own keeps them.
  for (size_t i = 2; i < GateStatistics::kMaxGroups; ++i)
    ASSERT_TRUE(fresh.Track({GateGroup::Kind::kKey, std::to_string(i)}));
  GateStatistics full({}, {1}, 1, 2);
  ASSERT_TRUE(full.Track({GateGroup::Kind::kKey, "one of its own"}));
  EXPECT_EQ(full.Follow(fresh).error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(full.Groups(), testing::SizeIs(GateStatistics::kMaxGroups + 1));
}

// What is put down step by step, with looks between at any time, is what one look at the end finds.
TEST(GateStatisticsTest, LooksAndGroupsBetweenStepsLoseNothing) {
  constexpr uint32_t kSteps = 3 * GateStatistics::kCountEvery;
  GateStatisticsOptions options;
  options.top_ngrams = 2 * kSteps;
  GateStatistics looked_at(options, {1, 4}, 2, 3), left_alone(options, {1, 4}, 2, 3);
  const GateGroup first{GateGroup::Kind::kKey, "first"}, second{GateGroup::Kind::kKey, "second"};
  std::mt19937 random(3);
  uint64_t of_second = 0;
  double mass = 0;
  for (uint32_t step = 0; step < kSteps; ++step) {
    // Groups come and go; the places of those that stay move.
    if (step == 10) {
      ASSERT_TRUE(looked_at.Track(first));
    }
    if (step == 20) {
      ASSERT_TRUE(looked_at.Track(second));
    }
    if (step == 700) {
      ASSERT_TRUE(looked_at.Untrack(first));
    }
    const std::vector<int32_t> one = {static_cast<int32_t>(random() % 4), static_cast<int32_t>(random() % 4), 9};
    const std::vector<int32_t> two = {8, static_cast<int32_t>(random() % 4)};
    std::vector<GateSlice> slices = {Slice(one, 2, 1), Slice(two, 1, 0)};
    slices[0].key = random() % 2 == 0 ? "first" : "second";
    if (step >= 20 && slices[0].key == "second") of_second += 2;
    std::vector<float> gates(2 * 3 * 2);
    for (float& gate : gates) gate = static_cast<float>(random() % 64) / 64;  // sums are exact
    for (size_t i = 0; i < 6; ++i) mass += gates[i];
    for (GateStatistics* statistics : {&looked_at, &left_alone}) statistics->Record(slices, gates.data(), 3);
    if (step % 37 == 0) {
      EXPECT_EQ(looked_at.Report({}, 1)->tokens, 3u * (step + 1));
    }
  }
  const auto a = *looked_at.Report({}, 1000), b = *left_alone.Report({}, 1000);
  EXPECT_EQ(b.tokens, 3u * kSteps);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  EXPECT_NEAR((b.layers[0].streams[0].mean + b.layers[0].streams[1].mean) * 3 * kSteps, mass, 1e-6);
  for (size_t l = 0; l < a.layers.size(); ++l) {
    for (size_t s = 0; s < 2; ++s) {
      EXPECT_EQ(a.layers[l].streams[s].histogram, b.layers[l].streams[s].histogram);
      EXPECT_EQ(b.layers[l].window[s].count, 3u * kSteps);
    }
    ASSERT_EQ(a.layers[l].top_by_mass.size(), b.layers[l].top_by_mass.size());
    for (size_t i = 0; i < a.layers[l].top_by_mass.size(); ++i) {
      EXPECT_EQ(a.layers[l].top_by_mass[i].entry.tokens, b.layers[l].top_by_mass[i].entry.tokens);
      EXPECT_EQ(a.layers[l].top_by_mass[i].entry.weight, b.layers[l].top_by_mass[i].entry.weight);
    }
  }
  EXPECT_EQ(looked_at.Report(second, 1)->tokens, of_second);
  EXPECT_FALSE(looked_at.Report(first, 1));
}

TEST(GateStatisticsTest, OthersMayLookWhileTheEngineCounts) {
  GateStatistics statistics({}, {1}, 1, 3);
  const GateGroup alice{GateGroup::Kind::kKey, "alice"};
  std::atomic<bool> done{false};
  std::thread other([&] {
    uint64_t seen = 0;
    while (!done) {
      const auto report = statistics.Report({}, 5);
      ASSERT_TRUE(report);
      EXPECT_GE(report->tokens, seen);
      seen = report->tokens;
      EXPECT_EQ(statistics.Totals().size(), 1u);
      EXPECT_TRUE(statistics.Track(alice));
      statistics.SetCounting(!statistics.counting());
      EXPECT_TRUE(statistics.Untrack(alice));
    }
  });
  const std::vector<int32_t> context = {1, 2, 3};
  std::vector<GateSlice> slices = {Slice(context, 1, 0)};
  slices[0].key = "alice";
  const float gate = 0.5f;
  for (int step = 0; step < 2000; ++step) {
    statistics.Record(slices, &gate, 1);
    statistics.RecordRows(0, std::vector<double>{1, 1}, slices[0]);
  }
  done = true;
  other.join();
  EXPECT_EQ(statistics.Report({}, 5)->tokens, 2000u);
}

TEST(GateStatisticsTest, OrderSharesAreMeansOfParts) {
  GateStatistics statistics({}, {1}, 1, 3);
  const std::vector<int32_t> context = {1, 2, 3};
  statistics.RecordRows(0, std::vector<double>{3, 1}, Slice(context, 1, 0));
  statistics.RecordRows(0, std::vector<double>{1, 3}, Slice(context, 1, 0));
  statistics.RecordRows(0, std::vector<double>{8, 0}, Slice(context, 1, 0));
  statistics.RecordRows(0, std::vector<double>{0, 0}, Slice(context, 1, 0));  // says nothing
  const auto report = statistics.Report({}, 1);
  EXPECT_EQ(report->layers[0].order_samples, 3u);
  EXPECT_NEAR(report->layers[0].orders[0].share, (0.75 + 0.25 + 1) / 3, 1e-9);
  EXPECT_NEAR(report->layers[0].orders[1].share, (0.25 + 0.75 + 0) / 3, 1e-9);
}

}  // namespace
}  // namespace engram
