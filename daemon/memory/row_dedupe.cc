// SPDX-License-Identifier: Apache-2.0
#include "memory/row_dedupe.h"

#include <algorithm>
#include <bit>

namespace engram {

uint32_t RowDedupe::Run(std::span<const uint64_t> ids, uint64_t* unique, uint32_t* index) {
  if (ids.empty()) return 0;
  const size_t wanted = std::bit_ceil(ids.size() * 2);
  if (slots_.size() < wanted) {
    slots_.assign(wanted, Slot{});
    round_ = 0;
  }
  if (++round_ == 0) {  // after 2^32 calls old marks could be taken for new ones
    std::fill(slots_.begin(), slots_.end(), Slot{});
    round_ = 1;
  }
  // Only as much of the table is used as this call needs: a small batch after a large one stays in the L1 cache.
  const int shift = 64 - std::countr_zero(wanted);
  const size_t mask = wanted - 1;
  uint32_t count = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const uint64_t id = ids[i];
    size_t at = (id * 0x9E3779B97F4A7C15u) >> shift;
    while (slots_[at].round == round_ && slots_[at].id != id) at = (at + 1) & mask;
    Slot& slot = slots_[at];
    if (slot.round != round_) {
      slot = {id, round_, count};
      unique[count++] = id;
    }
    index[i] = slot.place;
  }
  return count;
}

}  // namespace engram
