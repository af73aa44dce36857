// SPDX-License-Identifier: Apache-2.0
#include "ngram/numpy_rng.h"

#include <gtest/gtest.h>

#include <vector>

#include "ngram/int128.h"
#include "ngram/primes.h"

namespace engram {
namespace {

struct DrawCase {
  uint64_t seed_high;
  uint64_t seed_low;
  int64_t bound;
  std::vector<int64_t> draws;
};

// numpy.random.default_rng(seed).integers(0, bound, size=n, dtype=numpy.int64) of NumPy 1.24.2: bounds of one value,
// below, at and just above 2^32, with many rejections (3 * 2^30, 3 * 2^61), and seeds of more than 64 bits.
const DrawCase kDrawCases[] = {
    {0x0, 0x0, 1, {0, 0, 0}},
    {0x0, 0x0, 2, {1, 1, 1, 0, 0}},
    {0x0, 0x1, 10, {4, 5, 7, 9, 0, 1, 8}},
    {0x0, 0x2a, 3, {0, 2, 1, 1, 1, 2, 0, 2, 0}},
    {0x0, 0x3039, 4294967295, {3003105692, 976400780, 3387213021, 1360466708, 876933080}},
    {0x0, 0x7, 4294967296, {4058335883, 2684764585, 2938530453, 3853503932, 2483747170}},
    {0x0, 0x7, 4294967297, {2684764586, 3853503933, 3331544672, 967257516, 1289204377}},
    {0x0,
     0x22342,
     46539803711,
     {33858671225, 25755605631, 15460794998, 41309937605, 25184076722, 18758732024, 37146788486, 37083594233}},
    {0x1,
     0x99ea8,
     4611686018427387904,
     {2506338802673325497, 551632401789895116, 2787664039055749623, 2459333091888467267, 397797920716638839,
      4119241977735949153}},
    {0x1,
     0x0,
     9223372036854775807,
     {4143496759297204775, 3606722512269175107, 5321597760669151120, 2670156745896059305, 1501856742253772081,
      1693448647414997477}},
    {0x0,
     0x63,
     6917529027641081856,
     {3500481880065316089, 3909037766146263662, 3541193510882511171, 6725127449529328718, 3931117592615139549,
      3835849074008683142, 3234107559103465097, 6436362986249961071, 2140548689831615489}},
    {0x0,
     0x5,
     3221225472,
     {2593095922, 72971127, 2602559451, 1659979823, 2030125912, 3155266737, 173722951, 895255019, 1234917603}},
    {0x100000000, 0x5, 1000000000000, {575732271429, 259036836582, 52361925624, 538533866212}},
    {0x0, 0x3, 2147483648, {1742692732, 183930185, 385346042, 508546690, 389477915}},
};

TEST(NumpyRng, DrawsWhatNumpyDraws) {
  for (const DrawCase& test : kDrawCases) {
    NumpyRng rng((static_cast<Uint128>(test.seed_high) << 64) | test.seed_low);
    std::vector<int64_t> draws;
    for (size_t i = 0; i < test.draws.size(); ++i) draws.push_back(rng.Integer(test.bound));
    EXPECT_EQ(draws, test.draws) << "seed " << test.seed_low << " bound " << test.bound;
  }
}

TEST(Primes, AgreeWithASieve) {
  constexpr uint64_t kLimit = 200000;
  std::vector<bool> composite(kLimit + 1);
  composite[0] = composite[1] = true;
  for (uint64_t i = 2; i * i <= kLimit; ++i) {
    for (uint64_t j = i * i; !composite[i] && j <= kLimit; j += i) composite[j] = true;
  }
  uint64_t last = 0;
  for (uint64_t n = 0; n <= kLimit; ++n) {
    ASSERT_EQ(IsPrime(n), !composite[n]) << n;
    if (composite[n]) continue;
    for (uint64_t below = last; below < n; ++below) ASSERT_EQ(NextPrime(below), n) << below;
    last = n;
  }
}

TEST(Primes, DecidesLargeNumbers) {
  // Strong pseudoprimes to the first 1, 4, 9 and 11 prime bases (OEIS A014233), and squares of primes.
  for (uint64_t n : {uint64_t{2047}, uint64_t{3215031751}, uint64_t{3825123056546413051},
                     uint64_t{4294967291} * 4294967291, uint64_t{2147483647} * 2147483647}) {
    EXPECT_FALSE(IsPrime(n)) << n;
  }
  EXPECT_TRUE(IsPrime(18446744073709551557U));  // the largest below 2^64
  EXPECT_TRUE(IsPrime(9223372036854775783U));   // the largest below 2^63
  EXPECT_EQ(NextPrime(9223372036854775807U), 9223372036854775837U);
  EXPECT_EQ(NextPrime(9223372036854775782U), 9223372036854775783U);
}

}  // namespace
}  // namespace engram
