// SPDX-License-Identifier: Apache-2.0
// RowFilter: rules most rows out that a map does not hold, with one load of memory each: a blocked Bloom filter over
// hashes. Bits are only ever added, so one filter serves any number of versions of a map: rows that only another
// version has, or had, are false alarms.
//
// Any threads may call everything at once; what a thread added is seen by those it hands a map to.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace engram {

class RowFilter {
 public:
  // For twice `num_rows` rows. Throws std::bad_alloc.
  explicit RowFilter(uint64_t num_rows);
  RowFilter(const RowFilter&) = delete;
  RowFilter& operator=(const RowFilter&) = delete;

  // The hash of a row must use its bits evenly.
  void Add(uint64_t hash);
  bool MayHave(uint64_t hash) const {
    const uint64_t bits = BitsOf(hash);
    return (words_.get()[hash >> shift_].value.load(std::memory_order_relaxed) & bits) == bits;
  }
  void Prefetch(uint64_t hash) const { __builtin_prefetch(&words_.get()[hash >> shift_]); }
  // More was added than it is made for: false alarms become frequent.
  bool full() const { return num_added_.load(std::memory_order_relaxed) > capacity_; }
  uint64_t num_bytes() const;

 private:
  struct Word {
    std::atomic<uint64_t> value{0};
  };
  struct Release {
    void operator()(Word* words) const;
  };
  // Four of a word's 64 bits, of the hash's low 24; which word, its highest bits say.
  static uint64_t BitsOf(uint64_t hash) {
    return uint64_t{1} << (hash & 63) | uint64_t{1} << (hash >> 6 & 63) | uint64_t{1} << (hash >> 12 & 63) |
           uint64_t{1} << (hash >> 18 & 63);
  }
  uint64_t capacity_ = 0;
  uint32_t shift_ = 0;
  std::unique_ptr<Word[], Release> words_;
  std::atomic<uint64_t> num_added_{0};
};

}  // namespace engram
