// SPDX-License-Identifier: Apache-2.0
// Primes of 64 bits. Pure functions; exact, not probabilistic.
#pragma once

#include <cstdint>

namespace engram {

bool IsPrime(uint64_t n);

// The smallest prime greater than `n`; `n` must be below 2^63 (no gap between primes there reaches 2^63).
uint64_t NextPrime(uint64_t n);

}  // namespace engram
