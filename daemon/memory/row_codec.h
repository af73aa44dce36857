// SPDX-License-Identifier: Apache-2.0
// RowCodec: one table row between its stored bytes (engram_row_format, engram/host.h) and head_dim float values.
// Immutable; any thread.
#pragma once

#include <engram/host.h>

#include <cstdint>
#include <span>

#include "core/result.h"

namespace engram {

class RowCodec {
 public:
  // kInvalidArgument for a format it does not know.
  static Result<RowCodec> Create(engram_row_format format, uint32_t head_dim);

  engram_row_format format() const { return format_; }
  uint32_t head_dim() const { return head_dim_; }
  uint32_t row_bytes() const { return row_bytes_; }

  // float values[head_dim] of uint8 row[row_bytes].
  void Decode(const uint8_t* row, float* values) const;
  // The stored form nearest to `values` [head_dim], round to nearest even. fp8 rows get for every 32 values the
  // smallest power-of-two scale that keeps the largest of them at or below 448 (and 2^0 for zeros), as the tables'
  // exporter chooses it. So encoding what Decode() gave yields the same values, and the same bytes unless a group's
  // largest magnitude was stored as the code of 224 or less: then a smaller scale and codes of twice the value stand
  // for it. kInvalidArgument for another number of values, and with its index for one that is not finite or, in bf16
  // and f16, rounds to no finite number; then `row` is unspecified.
  Status Encode(std::span<const float> values, uint8_t* row) const;

 private:
  engram_row_format format_ = 0;
  uint32_t head_dim_ = 0;
  uint32_t row_bytes_ = 0;
};

}  // namespace engram
