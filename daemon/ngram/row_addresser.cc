// SPDX-License-Identifier: Apache-2.0
#include "ngram/row_addresser.h"

#include <algorithm>
#include <cassert>

#include "ngram/int128.h"

namespace engram {
namespace {

// value mod prime. 2^64 / prime exceeds the reciprocal by at most 1, so the quotient's estimate is below the true one
// by at most value / 2^64 < 1 before rounding: at most one too small after it.
inline uint64_t Remainder(uint64_t value, uint64_t prime, uint64_t reciprocal) {
  const auto quotient = static_cast<uint64_t>((static_cast<Uint128>(value) * reciprocal) >> 64);
  const uint64_t remainder = value - quotient * prime;
  return remainder >= prime ? remainder - prime : remainder;
}

}  // namespace

RowAddresser::RowAddresser(const Geometry& geometry)
    : geometry_(&geometry), window_(geometry.max_ngram_size, geometry.pad_compressed_id) {}

void RowAddresser::Append(int32_t compressed_id, bool masked, std::span<uint64_t> rows) {
  assert(rows.size() >= geometry_->layers.size() * geometry_->num_columns);
  if (masked) {
    std::fill(window_.begin(), window_.end(), geometry_->pad_compressed_id);
  } else {
    std::move_backward(window_.begin(), window_.end() - 1, window_.end());
    window_[0] = compressed_id;
  }
  uint64_t* out = rows.data();
  const uint32_t num_heads = geometry_->num_heads;
  for (const LayerGeometry& layer : geometry_->layers) {
    const int64_t* primes = layer.primes.data();
    const int64_t* offsets = layer.offsets.data();
    const uint64_t* reciprocals = layer.reciprocals.data();
    // Unsigned products wrap as the definition's int64 ones do.
    uint64_t mix = static_cast<uint64_t>(window_[0]) * static_cast<uint64_t>(layer.multipliers[0]);
    for (uint32_t lookback = 1; lookback < geometry_->max_ngram_size; ++lookback) {
      mix ^= static_cast<uint64_t>(window_[lookback]) * static_cast<uint64_t>(layer.multipliers[lookback]);
      for (uint32_t head = 0; head < num_heads; ++head) {
        *out++ = Remainder(mix, static_cast<uint64_t>(*primes++), *reciprocals++) + static_cast<uint64_t>(*offsets++);
      }
    }
  }
}

}  // namespace engram
