// SPDX-License-Identifier: Apache-2.0
#include "serve/top_ngrams.h"

#include <algorithm>
#include <cassert>

namespace engram {

uint64_t TopNgrams::Hash(std::span<const int32_t> tokens) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const int32_t token : tokens) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash ^= (static_cast<uint32_t>(token) >> shift) & 0xffu;
      hash *= 0x100000001b3u;
    }
  }
  return hash;
}

void TopNgrams::Place(uint32_t place, Slot slot) {
  heap_[place] = slot;
  places_[slot.cell] = place;
}

void TopNgrams::SiftUp(uint32_t place) {
  const Slot slot = heap_[place];
  while (place > 0 && heap_[(place - 1) / 2].weight > slot.weight) {
    Place(place, heap_[(place - 1) / 2]);
    place = (place - 1) / 2;
  }
  Place(place, slot);
}

void TopNgrams::SiftDown(uint32_t place) {
  const Slot slot = heap_[place];
  const auto size = static_cast<uint32_t>(heap_.size());
  while (2 * place + 1 < size) {
    uint32_t child = 2 * place + 1;
    if (child + 1 < size && heap_[child + 1].weight < heap_[child].weight) ++child;
    if (heap_[child].weight >= slot.weight) break;
    Place(place, heap_[child]);
    place = child;
  }
  Place(place, slot);
}

TopNgrams::Cell TopNgrams::Fresh(uint64_t hash, std::span<const int32_t> tokens, double error) const {
  Cell cell{hash, 1, error, 0, {}};
  if (keep_tokens_) {
    cell.num_tokens = static_cast<uint32_t>(tokens.size());
    std::copy(tokens.begin(), tokens.end(), cell.tokens.begin());
  }
  return cell;
}

void TopNgrams::Add(uint64_t hash, std::span<const int32_t> tokens, double weight) {
  assert(tokens.size() <= kMaxTrackedOrder && hash == Hash(tokens));
  if (const auto found = by_hash_.find(hash); found != by_hash_.end()) {
    ++cells_[found->second].count;
    const uint32_t place = places_[found->second];
    heap_[place].weight += weight;
    SiftDown(place);
    return;
  }
  if (cells_.size() < capacity_) {
    const auto cell = static_cast<uint32_t>(cells_.size());
    cells_.push_back(Fresh(hash, tokens, 0));
    places_.push_back(cell);
    heap_.push_back({weight, cell});
    by_hash_.emplace(hash, cell);
    SiftUp(cell);
    return;
  }
  Slot& lightest = heap_.front();
  Cell& cell = cells_[lightest.cell];
  by_hash_.erase(cell.hash);
  by_hash_.emplace(hash, lightest.cell);
  cell = Fresh(hash, tokens, lightest.weight);
  lightest.weight += weight;
  SiftDown(0);
}

std::vector<TopNgrams::Entry> TopNgrams::Top(size_t limit) const {
  std::vector<Slot> slots = heap_;
  limit = std::min(limit, slots.size());
  std::partial_sort(slots.begin(), slots.begin() + static_cast<ptrdiff_t>(limit), slots.end(),
                    [this](const Slot& a, const Slot& b) {
                      return a.weight != b.weight ? a.weight > b.weight : cells_[a.cell].hash < cells_[b.cell].hash;
                    });
  std::vector<Entry> top;
  for (size_t i = 0; i < limit; ++i) {
    const Cell& cell = cells_[slots[i].cell];
    top.push_back({cell.hash,
                   {cell.tokens.begin(), cell.tokens.begin() + cell.num_tokens},
                   cell.count,
                   slots[i].weight,
                   cell.error});
  }
  return top;
}

void TopNgrams::Clear() {
  cells_.clear();
  places_.clear();
  heap_.clear();
  by_hash_.clear();
}

}  // namespace engram
