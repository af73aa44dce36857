// SPDX-License-Identifier: Apache-2.0
// TopNgrams: the heaviest n-grams of an endless stream in bounded memory: the weighted Space-Saving sketch (Metwally,
// Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005). One thread at a
// time.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <span>
#include <vector>

namespace engram {

inline constexpr uint32_t kMaxTrackedOrder = 8;

class TopNgrams {
 public:
  struct Entry {
    uint64_t hash = 0;
    std::vector<int32_t> tokens;  // token ids, oldest first; empty when texts are not kept
    uint64_t count = 0;           // times seen since it entered the sketch
    double weight = 0;            // at most `error` more than its true weight, never less
    double error = 0;
  };

  // At most `capacity` (>= 1) n-grams are held. Without `keep_tokens` nothing but their hashes is.
  TopNgrams(uint32_t capacity, bool keep_tokens) : capacity_(capacity), keep_tokens_(keep_tokens) {}

  // What n-grams are told apart by: FNV-1a over the ids' bytes. At most kMaxTrackedOrder tokens.
  static uint64_t Hash(std::span<const int32_t> tokens);

  // Adds `weight` (>= 0) to the n-gram, whose `hash` is Hash(tokens): several sketches may share the work. One more
  // than `capacity` takes the place of the lightest. Some tens of nanoseconds.
  void Add(uint64_t hash, std::span<const int32_t> tokens, double weight);
  // Heaviest first, at most `limit`.
  std::vector<Entry> Top(size_t limit) const;
  void Clear();

 private:
  struct Cell {
    uint64_t hash = 0;
    double weight = 0;
    uint64_t count = 0;
    double error = 0;
    uint32_t num_tokens = 0;
    std::array<int32_t, kMaxTrackedOrder> tokens{};
  };
  // What the heap is ordered by. A weight only grows, and most n-grams that are seen again are not about to be
  // replaced: the heap learns of it when they come to its top.
  struct Slot {
    double weight = 0;  // at most the cell's
    uint32_t cell = 0;
  };
  void SiftUp();    // the last
  void SiftDown();  // the first
  uint32_t Lightest();
  Cell Fresh(uint64_t hash, std::span<const int32_t> tokens, double weight, double error) const;

  uint32_t capacity_;
  bool keep_tokens_;
  std::vector<Cell> cells_;
  std::vector<Slot> heap_;  // the lightest first
  boost::unordered_flat_map<uint64_t, uint32_t> by_hash_;
};

}  // namespace engram
