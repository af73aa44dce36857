// SPDX-License-Identifier: Apache-2.0
#include "ngram/primes.h"

#include <cassert>

#include "ngram/int128.h"

namespace engram {
namespace {

// As Miller-Rabin bases these twelve decide every n < 3.3e24 (Sorenson and Webster, arXiv 1509.00864); as divisors they
// dispose of most composites at once.
constexpr uint64_t kSmallPrimes[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};

uint64_t MultiplyMod(uint64_t a, uint64_t b, uint64_t n) {
  return static_cast<uint64_t>(static_cast<Uint128>(a) * b % n);
}

uint64_t PowerMod(uint64_t base, uint64_t exponent, uint64_t n) {
  uint64_t result = 1;
  for (base %= n; exponent != 0; exponent >>= 1) {
    if (exponent & 1) result = MultiplyMod(result, base, n);
    base = MultiplyMod(base, base, n);
  }
  return result;
}

// Whether `base` proves the odd number `n` composite; n - 1 = odd_part * 2^twos.
bool IsWitness(uint64_t base, uint64_t n, uint64_t odd_part, int twos) {
  uint64_t x = PowerMod(base, odd_part, n);
  if (x == 1 || x == n - 1) return false;
  for (int i = 1; i < twos; ++i) {
    x = MultiplyMod(x, x, n);
    if (x == n - 1) return false;
  }
  return true;
}

}  // namespace

bool IsPrime(uint64_t n) {
  if (n < 2) return false;
  for (uint64_t p : kSmallPrimes) {
    if (n % p == 0) return n == p;
  }
  const int twos = __builtin_ctzll(n - 1);
  const uint64_t odd_part = (n - 1) >> twos;
  for (uint64_t base : kSmallPrimes) {
    if (IsWitness(base, n, odd_part, twos)) return false;
  }
  return true;
}

uint64_t NextPrime(uint64_t n) {
  assert(n < uint64_t{1} << 63);
  if (n < 2) return 2;
  uint64_t candidate = n + 1 + (n & 1);  // the next odd number
  while (!IsPrime(candidate)) candidate += 2;
  return candidate;
}

}  // namespace engram
