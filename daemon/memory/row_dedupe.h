// SPDX-License-Identifier: Apache-2.0
// RowDedupe: the distinct row ids of a batch. One thread at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace engram {

class RowDedupe {
 public:
  // Writes the distinct ids in order of first appearance to unique[..] and returns their number; index[i] is the place
  // of ids[i] in it. So index[i] <= i. Both arrays have room for ids.size() elements, at most 2^31. Throws
  // std::bad_alloc; memory grows to 32 to 64 bytes per id of the largest call.
  uint32_t Run(std::span<const uint64_t> ids, uint64_t* unique, uint32_t* index);

 private:
  struct Slot {
    uint64_t id = 0;
    uint32_t round = 0;  // the call that wrote it; others are empty
    uint32_t place = 0;
  };
  std::vector<Slot> slots_;  // open addressing, a power of two
  uint32_t round_ = 0;
};

}  // namespace engram
