// SPDX-License-Identifier: Apache-2.0
#include "serve/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "serve/sampling_math.h"

namespace engram {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Logits whose softmax is `probabilities`.
std::vector<float> LogitsOf(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 3.0));
  return logits;
}

// A smooth pseudo-random vocabulary.
std::vector<float> ManyLogits(size_t size, uint64_t seed, double spread = 6) {
  Xoshiro256 random(seed, 0);
  std::vector<float> logits(size);
  for (float& l : logits) l = static_cast<float>(spread * (random.NextUniform() + random.NextUniform() - 1));
  return logits;
}

std::vector<int> Histogram(const std::vector<float>& logits, const SamplingParams& params, int draws,
                           uint64_t seed = 7) {
  SamplerScratch scratch(static_cast<uint32_t>(logits.size()));
  Sampler sampler(params, seed, 0, {}, static_cast<uint32_t>(draws), static_cast<uint32_t>(logits.size()));
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i) ++counts[static_cast<size_t>(sampler.Sample(logits, scratch).value())];
  return counts;
}

// Pearson's statistic; with k degrees of freedom its mean is k and its deviation sqrt(2k).
void ExpectDistribution(const std::vector<int>& counts, const std::vector<double>& expected) {
  const int draws = std::accumulate(counts.begin(), counts.end(), 0);
  double chi2 = 0;
  int cells = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
      continue;
    }
    chi2 += std::pow(counts[i] - expected[i] * draws, 2) / (expected[i] * draws);
    ++cells;
  }
  const double k = cells - 1;
  EXPECT_LT(chi2, k + 5 * std::sqrt(2 * k) + 1e-9);
}

int32_t SampleOnce(std::span<const float> logits, const SamplingParams& params, uint64_t seed = 1,
                   std::span<const int32_t> prompt = {}) {
  SamplerScratch scratch(static_cast<uint32_t>(logits.size()));
  return Sampler(params, seed, 0, prompt, 4, static_cast<uint32_t>(logits.size())).Sample(logits, scratch).value();
}

TEST(SamplingMath, AllFiniteFindsEveryPlace) {
  for (size_t size = 0; size < 40; ++size) {
    std::vector<float> values(size, -3.4e38f);
    EXPECT_TRUE(AllFinite(values));
    for (size_t i = 0; i < size; ++i)
      for (const float bad : {kInfinity, -kInfinity, std::nanf(""), -std::nanf("")}) {
        std::vector<float> broken = values;
        broken[i] = bad;
        EXPECT_FALSE(AllFinite(broken)) << size << " " << i;
      }
  }
}

TEST(SamplingMath, MaxAtEverySizeAndPlace) {
  for (size_t size = 1; size < 40; ++size)
    for (size_t i = 0; i < size; ++i) {
      std::vector<float> values(size, -5);
      values[i] = -2;
      EXPECT_EQ(MaxValue(values), -2);
      EXPECT_EQ(FirstEqual(values, -2), i);
    }
}

TEST(SamplingMath, WeightsAreExponentials) {
  for (const size_t size : {1u, 7u, 511u, 512u, 513u, 5000u}) {
    std::vector<float> values = ManyLogits(size, size, 60);
    values[0] = 61;
    for (const float scale : {1.0f, 0.3f, 2.5f}) {
      std::vector<float> weights(size);
      std::vector<double> sums((size + kWeightBlock - 1) / kWeightBlock);
      const double total = ExpWeights(values, 61, scale, weights, sums);
      double expected_total = 0;
      for (size_t i = 0; i < size; ++i) {
        const double x = static_cast<double>((values[i] - 61.0f) * scale);
        const double expected = x < -87 ? 0 : std::exp(x);
        EXPECT_NEAR(weights[i], expected, 3e-7 * expected) << x;
        expected_total += expected;
      }
      EXPECT_NEAR(total, expected_total, 1e-6 * expected_total);
      EXPECT_NEAR(std::accumulate(sums.begin(), sums.end(), 0.0), total, 1e-9 * total);
      if (scale == 1.0f) {
        EXPECT_NEAR(SumExp(values, 61), total, 1e-9 * total);
      }
    }
  }
}

TEST(Xoshiro256, SeedAndChoiceMakeTheStream) {
  Xoshiro256 a(42, 0), b(42, 0), c(42, 1), d(43, 0);
  std::set<uint64_t> seen;
  for (int i = 0; i < 100; ++i) {
    const uint64_t value = a.Next();
    EXPECT_EQ(value, b.Next());
    seen.insert({value, c.Next(), d.Next()});
  }
  EXPECT_EQ(seen.size(), 300u);
}

TEST(Xoshiro256, UniformNumbersFillTheirRange) {
  Xoshiro256 random(1, 0);
  std::vector<int> counts(16);
  for (int i = 0; i < 16000; ++i) {
    const double u = random.NextUniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ++counts[static_cast<size_t>(u * 16)];
  }
  ExpectDistribution(counts, std::vector<double>(16, 1.0 / 16));
}

TEST(Sampler, GreedyTakesTheLowestIdOfTheLargest) {
  SamplingParams params;
  params.temperature = 0;
  EXPECT_EQ(SampleOnce(std::vector<float>{1, 5, 5, 2}, params), 1);
  params.top_k = 1;
  params.top_p = 0.1f;
  params.min_p = 1;
  EXPECT_EQ(SampleOnce(std::vector<float>{1, 5, 5, 2}, params), 1);
}

TEST(Sampler, DrawsFromTheSoftmax) {
  const std::vector<double> p = {0.4, 0.3, 0.2, 0.05, 0.04, 0.01};
  ExpectDistribution(Histogram(LogitsOf(p), {}, 20000), p);
}

TEST(Sampler, OnlyAllowedTokensAreDrawnAndAsOften) {
  // Of 200 tokens 5 are allowed, in all three words of the mask; the likeliest of all is not.
  std::vector<float> logits = ManyLogits(200, 3, 1);
  logits[7] = 50;
  const std::vector<size_t> ids = {3, 63, 64, 130, 199};
  std::vector<uint64_t> mask(4);
  double total = 0;
  for (const size_t id : ids) {
    mask[id / 64] |= uint64_t{1} << (id % 64);
    total += std::exp(static_cast<double>(logits[id]));
  }
  SamplingParams params[8];
  params[1].temperature = 0;
  params[2].top_k = 3;
  params[3].top_k = 100;
  params[4].top_p = 0.7f;
  params[5].min_p = 0.5f;
  params[6].logit_bias = {{7, 100.0f}};
  params[7].repetition_penalty = 1.3f;
  params[7].frequency_penalty = 0.5f;
  SamplerScratch scratch(200);
  for (const SamplingParams& p : params) {
    Sampler sampler(p, 5, 0, {}, 20000, 200);
    std::vector<int> counts(200);
    for (int i = 0; i < 20000; ++i) ++counts[static_cast<size_t>(sampler.Sample(logits, scratch, mask).value())];
    int allowed = 0;
    for (const size_t id : ids) allowed += counts[id];
    EXPECT_EQ(allowed, 20000) << &p - params;
    if (&p == params) {
      std::vector<double> expected(200);
      for (const size_t id : ids) expected[id] = std::exp(static_cast<double>(logits[id])) / total;
      ExpectDistribution(counts, expected);
    }
  }
  // One alone, whose logit is as low as floats go.
  logits[130] = -3.4e38f;
  const std::vector<uint64_t> one = {0, 0, uint64_t{1} << 2, 0};
  for (const SamplingParams& p : params)
    EXPECT_EQ(Sampler(p, 1, 0, {}, 4, 200).Sample(logits, scratch, one).value(), 130) << &p - params;
}

TEST(Sampler, DrawsFromALargeVocabulary) {
  const std::vector<float> logits = ManyLogits(3000, 5, 1.5);
  std::vector<double> p;
  for (const float l : logits) p.push_back(std::exp(static_cast<double>(l)));
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  // Cells of 100 tokens, so that each is hit often; they cross the blocks of the weights.
  const std::vector<int> counts = Histogram(logits, {}, 20000);
  std::vector<int> cells(30);
  std::vector<double> expected(30);
  for (size_t i = 0; i < logits.size(); ++i) {
    cells[i / 100] += counts[i];
    expected[i / 100] += p[i] / total;
  }
  ExpectDistribution(cells, expected);
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  const std::vector<double> p = {0.5, 0.3, 0.15, 0.05};
  for (const float temperature : {0.5f, 2.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    std::vector<double> expected;
    for (const double v : p) expected.push_back(std::pow(v, 1 / static_cast<double>(temperature)));
    const double total = std::accumulate(expected.begin(), expected.end(), 0.0);
    for (double& v : expected) v /= total;
    ExpectDistribution(Histogram(LogitsOf(p), params, 20000), expected);
  }
}

TEST(Sampler, TopKKeepsTheLargestAndLowerIdsOnTies) {
  SamplingParams params;
  params.top_k = 2;
  ExpectDistribution(Histogram(LogitsOf({0.1, 0.2, 0.3, 0.4}), params, 20000), {0, 0, 3.0 / 7, 4.0 / 7});
  ExpectDistribution(Histogram(LogitsOf({0.25, 0.25, 0.25, 0.25}), params, 20000), {0.5, 0.5, 0, 0});
  for (const int32_t off : {0, -1, 4, 9}) {
    params.top_k = off;
    ExpectDistribution(Histogram(LogitsOf({0.1, 0.2, 0.3, 0.4}), params, 20000), {0.1, 0.2, 0.3, 0.4});
  }
}

TEST(Sampler, LargeTopKEqualsAFullSort) {
  const std::vector<float> logits = ManyLogits(3000, 11, 1);
  SamplingParams params;
  params.top_k = 1500;
  std::vector<float> sorted = logits;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const std::vector<int> counts = Histogram(logits, params, 3000);
  bool near_the_border = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] < sorted[1499]) {
      EXPECT_EQ(counts[i], 0);
    } else if (logits[i] < sorted[1400]) {
      near_the_border |= counts[i] > 0;
    }
  }
  EXPECT_TRUE(near_the_border);
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  const std::vector<double> p = {0.05, 0.4, 0.3, 0.2, 0.05};
  SamplingParams params;
  params.top_p = 0.69f;
  ExpectDistribution(Histogram(LogitsOf(p), params, 20000), {0, 4.0 / 7, 3.0 / 7, 0, 0});
  params.top_p = 0.71f;
  ExpectDistribution(Histogram(LogitsOf(p), params, 20000), {0, 4.0 / 9, 3.0 / 9, 2.0 / 9, 0});
  params.top_p = 1e-6f;
  ExpectDistribution(Histogram(LogitsOf(p), params, 100), {0, 1, 0, 0, 0});
}

TEST(Sampler, TopPOfAFlatVocabularyEqualsAFullSort) {
  // So flat that the first rounds of the partial selection do not hold enough.
  const std::vector<float> logits = ManyLogits(5000, 3, 1);
  SamplingParams params;
  params.top_p = 0.5f;
  std::vector<double> sorted;
  for (const float l : logits) sorted.push_back(std::exp(static_cast<double>(l)));
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const double total = std::accumulate(sorted.begin(), sorted.end(), 0.0);
  size_t kept = 0;
  for (double sum = 0; sum < 0.5 * total; ++kept) sum += sorted[kept];
  const std::vector<int> counts = Histogram(logits, params, 2000);
  bool near_the_border = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double weight = std::exp(static_cast<double>(logits[i]));
    if (weight < 0.9999 * sorted[kept - 1]) {
      EXPECT_EQ(counts[i], 0);
    } else if (weight < sorted[kept - 100]) {
      near_the_border |= counts[i] > 0;
    }
  }
  EXPECT_TRUE(near_the_border);
}

TEST(Sampler, TopPCountsWhatTopKLeft) {
  SamplingParams params;
  params.top_k = 2;      // 4/7 and 3/7 are left
  params.top_p = 0.55f;  // so the first alone reaches it
  ExpectDistribution(Histogram(LogitsOf({0.1, 0.2, 0.3, 0.4}), params, 1000), {0, 0, 0, 1});
}

TEST(Sampler, MinPIsRelativeToTheMostLikely) {
  SamplingParams params;
  params.min_p = 0.3f;
  const std::vector<double> p = {0.1, 0.2, 0.6, 0.1};
  ExpectDistribution(Histogram(LogitsOf(p), params, 20000), {0, 0.25, 0.75, 0});
  params.top_k = 3;
  ExpectDistribution(Histogram(LogitsOf(p), params, 20000), {0, 0.25, 0.75, 0});
  params.top_k = 0;
  params.top_p = 0.99f;
  ExpectDistribution(Histogram(LogitsOf(p), params, 20000), {0, 0.25, 0.75, 0});
  params.top_p = 1;
  params.min_p = 1;
  ExpectDistribution(Histogram(LogitsOf(p), params, 100), {0, 0, 1, 0});
}

TEST(Sampler, LogitBiasComesFirst) {
  SamplingParams params;
  params.temperature = 0;
  params.logit_bias = {{0, 4.5f}, {3, -100}};
  EXPECT_EQ(SampleOnce(std::vector<float>{1, 5, 3, 9}, params), 0);
}

TEST(Sampler, RepetitionPenaltyCountsThePromptOnce) {
  SamplingParams params;
  params.temperature = 0;
  params.repetition_penalty = 2;
  const std::vector<int32_t> prompt = {0, 0, 3};
  // 8 / 2 = 4 and -1 * 2 = -2.
  EXPECT_EQ(SampleOnce(std::vector<float>{8, 3.9f, -1.9f, -1}, params, 1, prompt), 0);
  EXPECT_EQ(SampleOnce(std::vector<float>{8, 4.1f, -1.9f, -1}, params, 1, prompt), 1);
  EXPECT_EQ(SampleOnce(std::vector<float>{-3, -9, -2.1f, -1}, params, 1, prompt), 3);
  EXPECT_EQ(SampleOnce(std::vector<float>{-3, -9, -1.9f, -1}, params, 1, prompt), 2);
}

TEST(Sampler, PresenceAndFrequencyCountGeneratedTokensOnly) {
  SamplingParams params;
  params.temperature = 0;
  params.presence_penalty = 1.0f;
  params.frequency_penalty = 0.5f;
  const std::vector<float> logits = {5.0f, 3.6f, 3.2f, 0.0f};
  SamplerScratch scratch(4);
  const std::vector<int32_t> prompt = {0, 0, 0};
  Sampler sampler(params, 1, 0, prompt, 8, 4);
  std::vector<int32_t> tokens;
  // 0: 5 -> 3.5 after one; 1: 3.6 -> 2.1; 0 again: 3.0; 2: 3.2 -> 1.7; 0: 2.5; 0: 2.0 < 2.1
  for (int i = 0; i < 7; ++i) tokens.push_back(sampler.Sample(logits, scratch).value());
  EXPECT_THAT(tokens, ElementsAre(0, 1, 0, 2, 0, 0, 1));
}

TEST(Sampler, PenaltiesNeedNoMoreRoomThanPromptAndAnswer) {
  SamplingParams params;
  params.frequency_penalty = 0.1f;
  std::vector<int32_t> prompt(500);
  std::iota(prompt.begin(), prompt.end(), 0);
  const std::vector<float> logits = ManyLogits(2000, 9);
  SamplerScratch scratch(2000);
  Sampler sampler(params, 3, 0, prompt, 1500, 2000);
  for (int i = 0; i < 1500; ++i) ASSERT_TRUE(sampler.Sample(logits, scratch).has_value());
}

TEST(Sampler, SameSeedSameTokensOtherChoiceOthers) {
  const std::vector<float> logits = ManyLogits(1000, 2, 2);
  SamplerScratch scratch(1000);
  const SamplingParams params;
  const auto draw = [&](uint64_t seed, uint32_t choice) {
    Sampler sampler(params, seed, choice, {}, 32, 1000);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 32; ++i) tokens.push_back(sampler.Sample(logits, scratch).value());
    return tokens;
  };
  EXPECT_EQ(draw(5, 0), draw(5, 0));
  EXPECT_NE(draw(5, 0), draw(5, 1));
  EXPECT_NE(draw(5, 0), draw(6, 0));
}

TEST(Sampler, BrokenLogitsAreAnErrorWithTheToken) {
  SamplerScratch scratch(20);
  const SamplingParams params;
  Sampler sampler(params, 1, 0, {}, 4, 20);
  std::vector<float> logits(20, 1.0f);
  logits[17] = std::nanf("");
  const Result<int32_t> nan = sampler.Sample(logits, scratch);
  ASSERT_FALSE(nan.has_value());
  EXPECT_EQ(nan.error().code, ErrorCode::kDataLoss);
  EXPECT_THAT(nan.error().message, HasSubstr("token 17 is NaN"));
  logits[17] = -kInfinity;
  EXPECT_THAT(sampler.Sample(logits, scratch).error().message, HasSubstr("token 17 is infinite"));
}

TEST(Sampler, ExtremeLogitsStayInRange) {
  SamplingParams params;
  params.logit_bias = {{0, 100}};
  params.presence_penalty = 2;
  params.repetition_penalty = 0.01f;
  for (const float temperature : {1e-4f, 1.0f, 100.0f})
    for (const float top_p : {1.0f, 0.9f})
      for (const int32_t top_k : {0, 2}) {
        params.temperature = temperature;
        params.top_p = top_p;
        params.top_k = top_k;
        const std::vector<float> logits = {3.4e38f, -3.4e38f, 0, 3.4e38f, -3.4e38f};
        const std::vector<int32_t> prompt = {0, 1};
        const int32_t token = SampleOnce(logits, params, 3, prompt);
        EXPECT_TRUE(token == 0 || token == 3) << token;
      }
}

TEST(Logprobs, AreTheLogSoftmaxOfRawLogits) {
  const std::vector<double> p = {0.1, 0.4, 0.2, 0.1, 0.2};
  SamplerScratch scratch(5);
  const TokenLogprob result = LogprobOf(LogitsOf(p), 3, 3, scratch);
  EXPECT_EQ(result.token, 3);
  EXPECT_NEAR(result.logprob, std::log(0.1), 1e-6);
  ASSERT_EQ(result.top.size(), 3u);
  EXPECT_EQ(result.top[0].first, 1);
  EXPECT_NEAR(result.top[0].second, std::log(0.4), 1e-6);
  EXPECT_EQ(result.top[1].first, 2);
  EXPECT_EQ(result.top[2].first, 4);
  EXPECT_TRUE(LogprobOf(LogitsOf(p), 3, 0, scratch).top.empty());
  EXPECT_EQ(LogprobOf(LogitsOf(p), 3, 20, scratch).top.size(), 5u);
}

}  // namespace
}  // namespace engram
