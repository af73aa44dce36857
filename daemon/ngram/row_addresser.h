// SPDX-License-Identifier: Apache-2.0
// RowAddresser: the row ids of a sequence's tokens, one token after another, across chunk and prefill/decode borders.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ngram/geometry.h"

namespace engram {

// One sequence's look-back window. Copyable: a fork of the sequence copies it. One thread at a time; `geometry` must
// outlive it.
class RowAddresser {
 public:
  explicit RowAddresser(const Geometry& geometry);

  // Appends the next token's compressed id. `masked` (an image span) hides it and everything older from look-back.
  // Writes row ids uint64 rows[num_layers][num_columns], layers in geometry order, columns (order-2)*K + head.
  // `compressed_id` is one of the CompressedMap's; `rows` must have room. A masked token's own rows are those of
  // padding.
  void Append(int32_t compressed_id, bool masked, std::span<uint64_t> rows);

 private:
  const Geometry* geometry_;
  std::vector<int64_t> window_;  // [N] compressed ids, look-back 0 first
};

}  // namespace engram
