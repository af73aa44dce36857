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

void TopNgrams::Place(size_t place, const Cell& cell) {
  heap_[place] = cell;
  places_[cell.hash] = static_cast<uint32_t>(place);
}

void TopNgrams::SiftUp(size_t place) {
  const Cell cell = heap_[place];
  while (place > 0 && heap_[(place - 1) / 2].weight > cell.weight) {
    Place(place, heap_[(place - 1) / 2]);
    place = (place - 1) / 2;
  }
  Place(place, cell);
}

void TopNgrams::SiftDown(size_t place) {
  const Cell cell = heap_[place];
  while (2 * place + 1 < heap_.size()) {
    size_t child = 2 * place + 1;
    if (child + 1 < heap_.size() && heap_[child + 1].weight < heap_[child].weight) ++child;
    if (heap_[child].weight >= cell.weight) break;
    Place(place, heap_[child]);
    place = child;
  }
  Place(place, cell);
}

void TopNgrams::Add(std::span<const int32_t> tokens, double weight) {
  assert(tokens.size() <= kMaxTrackedOrder);
  const uint64_t hash = Hash(tokens);
  if (const auto found = places_.find(hash); found != places_.end()) {
    Cell& cell = heap_[found->second];
    ++cell.count;
    cell.weight += weight;
    SiftDown(found->second);
    return;
  }
  Cell fresh{hash, 1, weight, 0, 0, {}};
  if (keep_tokens_) {
    fresh.num_tokens = static_cast<uint32_t>(tokens.size());
    std::copy(tokens.begin(), tokens.end(), fresh.tokens.begin());
  }
  if (heap_.size() < capacity_) {
    heap_.push_back(fresh);
    SiftUp(heap_.size() - 1);
    return;
  }
  fresh.error = heap_.front().weight;
  fresh.weight += fresh.error;
  places_.erase(heap_.front().hash);
  heap_.front() = fresh;
  SiftDown(0);
}

std::vector<TopNgrams::Entry> TopNgrams::Top(size_t limit) const {
  std::vector<const Cell*> cells;
  cells.reserve(heap_.size());
  for (const Cell& cell : heap_) cells.push_back(&cell);
  limit = std::min(limit, cells.size());
  std::partial_sort(
      cells.begin(), cells.begin() + static_cast<ptrdiff_t>(limit), cells.end(),
      [](const Cell* a, const Cell* b) { return a->weight != b->weight ? a->weight > b->weight : a->hash < b->hash; });
  std::vector<Entry> top;
  for (size_t i = 0; i < limit; ++i) {
    const Cell& cell = *cells[i];
    top.push_back(
        {cell.hash, {cell.tokens.begin(), cell.tokens.begin() + cell.num_tokens}, cell.count, cell.weight, cell.error});
  }
  return top;
}

void TopNgrams::Clear() {
  heap_.clear();
  places_.clear();
}

}  // namespace engram
