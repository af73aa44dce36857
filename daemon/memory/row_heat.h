// SPDX-License-Identifier: Apache-2.0
// RowHeat: which rows of a table are read how often, from a sample of bounded size.
//
// Two samples in one. In time: of each lane's gathers one in kEvery is looked at, the first among them. In space, for
// the curve: of the rows those whose hash is below a limit, which is halved whenever kMaxRows of them have been read.
// The counts of the rows that stay are therefore whole, and what share of the rows they are is known, so the curve has
// the right shape for tables of any size; what the sample has too much or too little of the few hottest rows is known
// as well, from the number of all reads looked at, and put where it belongs.
//
// Any threads, one at a time in a lane: that spares a gather that is not looked at the locked instruction, so that it
// costs a nanosecond. One that is costs a lock and a few nanoseconds a row. 0.5 MiB from the first gather on.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace engram {

class RowHeat {
 public:
  static constexpr uint32_t kEvery = 256;
  static constexpr uint32_t kMaxRows = 1u << 14;
  static constexpr uint32_t kRanges = 256;
  static constexpr uint32_t kCurvePoints = 32;

  // Who counts: the gathers of batches, and those of sampled tokens.
  enum class Lane : uint8_t { kBatches, kTokens };

  explicit RowHeat(uint64_t num_rows) : num_rows_(num_rows) {}
  RowHeat(const RowHeat&) = delete;
  RowHeat& operator=(const RowHeat&) = delete;

  // Rows asked of the table together; each below num_rows.
  void Record(Lane lane, std::span<const uint64_t> ids) {
    std::atomic<uint64_t>& gathers = gathers_[static_cast<size_t>(lane)].value;
    const uint64_t before = gathers.load(std::memory_order_relaxed);
    gathers.store(before + 1, std::memory_order_relaxed);
    if (before % kEvery == 0) Look(ids);
  }

  // Where range `range` of a table begins, or ends for the next one: those of equal size, as near as may be.
  static uint64_t FirstRow(uint32_t range, uint64_t num_rows) {
    return static_cast<uint64_t>((Wide{range} * num_rows + kRanges - 1) / kRanges);
  }

  struct Report {
    uint64_t num_rows = 0;
    uint64_t sampled_reads = 0;  // that were looked at: the sum of `ranges`
    double sample_rate = 0;      // the share of all gathers that was looked at; 0 before the first
    // Reads of rows from FirstRow(i) to before FirstRow(i + 1).
    std::array<uint64_t, kRanges> ranges{};
    // {rows_share, reads_share}, both ascending: this share of the rows, the most read ones, has that share of the
    // reads. About kCurvePoints, evenly spread in the logarithm, from the smallest share that the sample can tell to
    // all rows; none before the first read.
    std::vector<std::pair<double, double>> curve;
  };
  // Sorts up to kMaxRows counts: about a millisecond.
  Report report() const;

 private:
  __extension__ using Wide = unsigned __int128;
  uint32_t RangeOf(uint64_t row) const {
    // A division of 128 bits takes longer than all else that a row costs.
    if (num_rows_ <= UINT64_MAX / kRanges) return static_cast<uint32_t>(row * kRanges / num_rows_);
    return static_cast<uint32_t>(Wide{row} * kRanges / num_rows_);
  }

  // Open addressing with linear probing; a count of 0 is an empty slot.
  struct Slots {
    static constexpr uint32_t kSize = 2 * kMaxRows;
    struct Slot {
      uint64_t row = 0;
      uint64_t count = 0;
    };
    std::array<Slot, kSize> slot{};
  };
  void Look(std::span<const uint64_t> ids);
  void Count(uint64_t row, uint64_t hash, uint64_t count);
  void HalveLimit();

  const uint64_t num_rows_;
  struct alignas(64) Counter {
    std::atomic<uint64_t> value{0};
  };
  std::array<Counter, 2> gathers_;  // by Lane
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::unique_ptr<Slots> slots_;  // made with the first gather
  uint32_t num_sampled_rows_ = 0;
  uint32_t limit_shift_ = 0;  // rows with that many leading zero bits in their hash are in the sample
  uint64_t looked_at_ = 0;
  std::array<uint64_t, kRanges> ranges_{};
};

}  // namespace engram
