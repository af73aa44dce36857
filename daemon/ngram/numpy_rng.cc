// SPDX-License-Identifier: Apache-2.0
#include "ngram/numpy_rng.h"

#include <array>
#include <cassert>
#include <cstddef>

namespace engram {
namespace {

constexpr size_t kPoolWords = 4;
constexpr Uint128 kPcgMultiplier = (Uint128{0x2360ED051FC65DA4} << 64) | 0x4385DF649FCCF645;

// One pass of SeedSequence's hash; its running constant changes with every word.
class WordHash {
 public:
  WordHash(uint32_t initial, uint32_t multiplier) : constant_(initial), multiplier_(multiplier) {}
  uint32_t operator()(uint32_t value) {
    value ^= constant_;
    constant_ *= multiplier_;
    value *= constant_;
    return value ^ (value >> 16);
  }

 private:
  uint32_t constant_;
  uint32_t multiplier_;
};

uint32_t MixWords(uint32_t x, uint32_t y) {
  const uint32_t mixed = 0xca01f9ddU * x - 0x4973f715U * y;
  return mixed ^ (mixed >> 16);
}

// SeedSequence(seed).generate_state(4, uint64). A seed of at most 128 bits fills the pool without a second round.
std::array<uint64_t, 4> SeedState(Uint128 seed) {
  std::array<uint32_t, kPoolWords> pool;
  WordHash absorb(0x43b0d7e5U, 0x931e8875U);
  for (size_t i = 0; i < kPoolWords; ++i) pool[i] = absorb(static_cast<uint32_t>(seed >> (32 * i)));
  for (size_t from = 0; from < kPoolWords; ++from) {
    for (size_t to = 0; to < kPoolWords; ++to) {
      if (from != to) pool[to] = MixWords(pool[to], absorb(pool[from]));
    }
  }
  WordHash squeeze(0x8b51f9ddU, 0x58f38dedU);
  std::array<uint64_t, 4> words;
  for (size_t i = 0; i < words.size(); ++i) {
    const uint64_t low = squeeze(pool[(2 * i) % kPoolWords]);
    const uint64_t high = squeeze(pool[(2 * i + 1) % kPoolWords]);
    words[i] = low | (high << 32);
  }
  return words;
}

}  // namespace

NumpyRng::NumpyRng(Uint128 seed) {
  const std::array<uint64_t, 4> words = SeedState(seed);
  increment_ = (((Uint128{words[2]} << 64) | words[3]) << 1) | 1;
  state_ = increment_;  // one step from state 0
  state_ += (Uint128{words[0]} << 64) | words[1];
  state_ = state_ * kPcgMultiplier + increment_;
}

uint64_t NumpyRng::Next64() {
  state_ = state_ * kPcgMultiplier + increment_;
  const uint64_t folded = static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_);
  const unsigned rotation = static_cast<unsigned>(state_ >> 122);
  return (folded >> rotation) | (folded << ((64 - rotation) & 63));
}

uint32_t NumpyRng::Next32() {
  if (has_half_) {
    has_half_ = false;
    return half_;
  }
  const uint64_t word = Next64();
  has_half_ = true;
  half_ = static_cast<uint32_t>(word >> 32);
  return static_cast<uint32_t>(word);
}

int64_t NumpyRng::Integer(int64_t bound) {
  assert(bound >= 1);
  constexpr uint64_t kTwo32 = uint64_t{1} << 32;
  const uint64_t range = static_cast<uint64_t>(bound);
  if (range == 1) return 0;  // NumPy draws nothing here
  if (range == kTwo32) return Next32();
  if (range < kTwo32) {
    uint64_t product = Next32() * range;
    const uint64_t threshold = (kTwo32 - range) % range;
    while (static_cast<uint32_t>(product) < threshold) product = Next32() * range;
    return static_cast<int64_t>(product >> 32);
  }
  Uint128 product = Uint128{Next64()} * range;
  const uint64_t threshold = (uint64_t{0} - range) % range;
  while (static_cast<uint64_t>(product) < threshold) product = Uint128{Next64()} * range;
  return static_cast<int64_t>(product >> 64);
}

}  // namespace engram
