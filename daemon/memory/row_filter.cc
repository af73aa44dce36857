// SPDX-License-Identifier: Apache-2.0
#include "memory/row_filter.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>

namespace engram {
namespace {

// 16 bits for each row it is made for: below one false alarm in a hundred when it is full, and a word of eight bytes
// may serve as a block.
constexpr uint64_t kRowsPerWord = 4;
constexpr uint64_t kMinWords = 16;
constexpr uint64_t kHugePage = uint64_t{2} << 20;

uint64_t BytesFor(uint64_t num_words) {
  return num_words * sizeof(uint64_t);
}

}  // namespace

void RowFilter::Release::operator()(Word* words) const {
  ::operator delete (words, std::align_val_t{64});
}

RowFilter::RowFilter(uint64_t num_rows) {
  const uint64_t num_words = std::bit_ceil(std::max(kMinWords, 2 * num_rows / kRowsPerWord));
  capacity_ = num_words * kRowsPerWord;
  shift_ = 64 - static_cast<uint32_t>(std::countr_zero(num_words));
  const uint64_t num_bytes = BytesFor(num_words);
  void* memory = ::operator new (num_bytes, std::align_val_t{64});
  // Looked up at random: with small pages each look would also miss the TLB.
  if (num_bytes >= kHugePage) {
    const auto start = (reinterpret_cast<uintptr_t>(memory) + kHugePage - 1) / kHugePage * kHugePage;
    const auto end = (reinterpret_cast<uintptr_t>(memory) + num_bytes) / kHugePage * kHugePage;
    if (start < end) madvise(reinterpret_cast<void*>(start), end - start, MADV_HUGEPAGE);
  }
  words_.reset(static_cast<Word*>(memory));
  std::uninitialized_value_construct_n(words_.get(), num_words);
}

void RowFilter::Add(uint64_t hash) {
  words_.get()[hash >> shift_].value.fetch_or(BitsOf(hash), std::memory_order_relaxed);
  num_added_.fetch_add(1, std::memory_order_relaxed);
}

uint64_t RowFilter::num_bytes() const {
  return BytesFor(capacity_ / kRowsPerWord);
}

}  // namespace engram
