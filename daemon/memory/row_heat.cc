// SPDX-License-Identifier: Apache-2.0
#include "memory/row_heat.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

namespace engram {
namespace {

// The finalizer of SplitMix64. Its upper bits choose the sample, its lower ones the slot.
uint64_t Hash(uint64_t row) {
  row += 0x9e3779b97f4a7c15u;
  row = (row ^ (row >> 30)) * 0xbf58476d1ce4e5b9u;
  row = (row ^ (row >> 27)) * 0x94d049bb133111ebu;
  return row ^ (row >> 31);
}

}  // namespace

void RowHeat::Look(std::span<const uint64_t> ids) {
  const std::lock_guard lock(mutex_);
  if (slots_ == nullptr) slots_ = std::make_unique<Slots>();
  looked_at_ += ids.size();
  for (const uint64_t row : ids) {
    ++ranges_[RangeOf(row)];
    const uint64_t hash = Hash(row);
    if (static_cast<uint32_t>(std::countl_zero(hash)) >= limit_shift_) Count(row, hash, 1);
  }
}

void RowHeat::Count(uint64_t row, uint64_t hash, uint64_t count) {
  auto at = static_cast<uint32_t>(hash % Slots::kSize);
  while (slots_->slot[at].count != 0 && slots_->slot[at].row != row) at = (at + 1) % Slots::kSize;
  Slots::Slot& slot = slots_->slot[at];
  if (slot.count == 0) ++num_sampled_rows_;
  slot.row = row;
  slot.count += count;
  if (num_sampled_rows_ > kMaxRows) HalveLimit();
}

void RowHeat::HalveLimit() {
  const std::unique_ptr<Slots> before = std::exchange(slots_, std::make_unique<Slots>());
  num_sampled_rows_ = 0;
  ++limit_shift_;
  for (const Slots::Slot& slot : before->slot) {
    if (slot.count == 0) continue;
    const uint64_t hash = Hash(slot.row);
    if (static_cast<uint32_t>(std::countl_zero(hash)) >= limit_shift_) Count(slot.row, hash, slot.count);
  }
}

RowHeat::Report RowHeat::report() const {
  Report report;
  report.num_rows = num_rows_;
  std::vector<uint64_t> counts;
  uint32_t limit_shift = 0;
  {
    const std::lock_guard lock(mutex_);
    report.sampled_reads = looked_at_;
    report.ranges = ranges_;
    limit_shift = limit_shift_;
    if (slots_ != nullptr)
      for (const Slots::Slot& slot : slots_->slot)
        if (slot.count != 0) counts.push_back(slot.count);
  }
  if (report.sampled_reads == 0) return report;
  uint64_t gathers = 0;
  uint64_t looks = 0;
  for (const Counter& lane : gathers_) {
    const uint64_t count = lane.value.load(std::memory_order_relaxed);
    gathers += count;
    looks += (count + kEvery - 1) / kEvery;
  }
  report.sample_rate = static_cast<double>(looks) / static_cast<double>(gathers);
  std::sort(counts.begin(), counts.end(), std::greater<>());
  std::vector<uint64_t> up_to(counts.size() + 1, 0);  // reads of the first i sampled rows
  for (size_t i = 0; i < counts.size(); ++i) up_to[i + 1] = up_to[i] + counts[i];

  // One sampled row stands for 2^limit_shift of the table's.
  const double rows_each = std::ldexp(1.0, static_cast<int>(limit_shift));
  const double expected = static_cast<double>(report.sampled_reads) / rows_each;
  const auto all = static_cast<double>(num_rows_);
  const double smallest = std::min(1.0, rows_each / all);
  double last_rows = 0, last_reads = 0;
  for (uint32_t i = 0; i < kCurvePoints; ++i) {
    double rows_share = smallest * std::pow(1 / smallest, static_cast<double>(i) / (kCurvePoints - 1));
    if (i + 1 == kCurvePoints) rows_share = 1;
    const auto sampled = std::min<uint64_t>(counts.size(), static_cast<uint64_t>(rows_share * all / rows_each + 1e-9));
    // Whole rows of the sample only, so that a point says what it has counted.
    if (i + 1 < kCurvePoints) rows_share = static_cast<double>(sampled) * rows_each / all;
    // From the far end: what the rows beyond have is many small counts, and so is well known, while whether the few
    // hottest rows of the table are in the sample is chance.
    const double beyond = static_cast<double>(up_to.back() - up_to[sampled]);
    const double reads_share = std::clamp(1 - beyond / expected, last_reads, 1.0);
    if (rows_share <= last_rows) continue;
    report.curve.emplace_back(rows_share, reads_share);
    last_rows = rows_share;
    last_reads = reads_share;
  }
  return report;
}

}  // namespace engram
