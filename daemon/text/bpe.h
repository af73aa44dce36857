// SPDX-License-Identifier: Apache-2.0
// Bpe: merges the bytes of one word into tokens, the pair of lowest rank first, the leftmost of equal ranks. Built
// once, then read by any thread, each with its own BpeScratch.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/flat_map.h"

namespace engram {

// Remembers the tokens of recent words (1 MiB), and working space. One thread at a time; belongs to one Bpe.
class BpeScratch {
 public:
  BpeScratch() : cache_(kNumCached) {}

 private:
  friend class Bpe;
  static constexpr size_t kNumCached = 1 << 14;
  struct CachedWord {
    uint8_t num_bytes = 0;  // 0: empty entry
    uint8_t num_ids = 0;
    char bytes[22];
    int32_t ids[10];
  };
  static_assert(sizeof(CachedWord) == 64);

  std::vector<CachedWord> cache_;  // direct-mapped by the word's hash
  std::vector<int32_t> symbols_;   // the word in work
  std::vector<uint32_t> ranks_;    // [symbols] rank of the pair that starts there
  std::vector<int32_t> merged_;    // [symbols] token of that pair
};

class Bpe {
 public:
  struct Merge {
    uint32_t rank;
    int32_t id;  // the token that the pair becomes
  };

  // Building. A later AddMerge() of the same pair replaces the earlier.
  void SetByte(uint8_t byte, int32_t id) { byte_ids_[byte] = id; }
  void AddMerge(int32_t left, int32_t right, Merge merge) { merges_.Insert(PairKey(left, right), merge); }
  // A word that is one token whatever the merges say (ignore_merges).
  void AddWholeWord(std::string bytes, int32_t id) { whole_words_.insert_or_assign(std::move(bytes), id); }
  // The token of bytes without one; a run of them becomes one token if `fuse`. Without it such bytes are left out.
  void SetUnknown(int32_t id, bool fuse) { unknown_id_ = id, fuse_unknown_ = fuse; }

  // Appends the tokens of `word`. O(n log n) in its length.
  void Encode(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const;

 private:
  static constexpr uint32_t kNoRank = ~uint32_t{0};
  static uint64_t PairKey(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  void Symbols(std::string_view word, std::vector<int32_t>& symbols) const;
  void MergeShort(BpeScratch& scratch) const;
  void MergeLong(std::vector<int32_t>& symbols) const;

  std::array<int32_t, 256> byte_ids_ = [] {
    std::array<int32_t, 256> none;
    none.fill(-1);
    return none;
  }();
  FlatMap<Merge> merges_;
  std::unordered_map<std::string, int32_t> whole_words_;
  int32_t unknown_id_ = -1;
  bool fuse_unknown_ = false;
};

}  // namespace engram
