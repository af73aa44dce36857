// SPDX-License-Identifier: Apache-2.0
#include "http/key_limiter.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const KeyLimiter::Clock::time_point kStart{std::chrono::hours(1)};

TEST(KeyLimiter, RequestsComeBackAtTheirRate) {
  KeyLimiter limiter({.requests_per_s = 2}, kStart);
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(limiter.TakeRequest(kStart)) << i;
  const auto refused = limiter.TakeRequest(kStart);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 429);
  EXPECT_EQ(refused->code, "requests_exceeded");
  EXPECT_EQ(refused->headers.at(0), (std::pair<std::string, std::string>("Retry-After", "1")));
  EXPECT_TRUE(limiter.TakeRequest(kStart + milliseconds(400)));
  EXPECT_FALSE(limiter.TakeRequest(kStart + milliseconds(600)));
  // No more than ten seconds' worth are saved up.
  int taken = 0;
  while (!limiter.TakeRequest(kStart + std::chrono::hours(1))) ++taken;
  EXPECT_EQ(taken, 20);
}

TEST(KeyLimiter, SlowRatesAllowOneRequest) {
  KeyLimiter limiter({.requests_per_s = 0.01}, kStart);
  EXPECT_FALSE(limiter.TakeRequest(kStart));
  EXPECT_EQ(limiter.TakeRequest(kStart)->headers.at(0).second, "100");
}

TEST(KeyLimiter, TokensAreCountedWhenTheyWereUsed) {
  KeyLimiter limiter({.tokens_per_s = 10}, kStart);
  EXPECT_FALSE(limiter.CheckTokens(kStart));
  limiter.CountTokens(250, kStart);
  const auto refused = limiter.CheckTokens(kStart);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->code, "tokens_exceeded");
  EXPECT_EQ(refused->headers.at(0).second, "16");  // 150 too many, and one to take
  EXPECT_TRUE(limiter.CheckTokens(kStart + seconds(15)));
  EXPECT_FALSE(limiter.CheckTokens(kStart + seconds(16)));
  EXPECT_FALSE(limiter.TakeRequest(kStart));
}

TEST(KeyLimiter, TellsWhatIsLeft) {
  EXPECT_TRUE(KeyLimiter({}, kStart).Headers(kStart).empty());
  KeyLimiter limiter({.requests_per_s = 1, .tokens_per_s = 100}, kStart);
  limiter.TakeRequest(kStart);
  limiter.CountTokens(1500, kStart);
  EXPECT_EQ(limiter.Headers(kStart), (HeaderList{{"x-ratelimit-limit-requests", "10"},
                                                 {"x-ratelimit-remaining-requests", "9"},
                                                 {"x-ratelimit-reset-requests", "1s"},
                                                 {"x-ratelimit-limit-tokens", "1000"},
                                                 {"x-ratelimit-remaining-tokens", "0"},
                                                 {"x-ratelimit-reset-tokens", "15s"}}));
}

}  // namespace
}  // namespace engram
