// SPDX-License-Identifier: Apache-2.0
#include "serve/top_ngrams.h"

#include <algorithm>
#include <cassert>
#include <numeric>

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

void TopNgrams::SiftUp() {
  size_t place = heap_.size() - 1;
  const Slot slot = heap_[place];
  while (place > 0 && heap_[(place - 1) / 2].weight > slot.weight) {
    heap_[place] = heap_[(place - 1) / 2];
    place = (place - 1) / 2;
  }
  heap_[place] = slot;
}

void TopNgrams::SiftDown() {
  size_t place = 0;
  const Slot slot = heap_[place];
  while (2 * place + 1 < heap_.size()) {
    size_t child = 2 * place + 1;
    if (child + 1 < heap_.size() && heap_[child + 1].weight < heap_[child].weight) ++child;
    if (heap_[child].weight >= slot.weight) break;
    heap_[place] = heap_[child];
    place = child;
  }
  heap_[place] = slot;
}

// The cell of the least weight, which is then the heap's first. One that has grown since it got its place is put where
// it belongs; each addition makes that happen once at most.
uint32_t TopNgrams::Lightest() {
  for (;;) {
    Slot& first = heap_.front();
    const double weight = cells_[first.cell].weight;
    if (!(first.weight < weight)) return first.cell;  // also if it is not a number
    first.weight = weight;
    SiftDown();
  }
}

TopNgrams::Cell TopNgrams::Fresh(uint64_t hash, std::span<const int32_t> tokens, double weight, double error) const {
  Cell cell{hash, weight, 1, error, 0, {}};
  if (keep_tokens_) {
    cell.num_tokens = static_cast<uint32_t>(tokens.size());
    std::copy(tokens.begin(), tokens.end(), cell.tokens.begin());
  }
  return cell;
}

void TopNgrams::Add(uint64_t hash, std::span<const int32_t> tokens, double weight) {
  assert(tokens.size() <= kMaxTrackedOrder && hash == Hash(tokens));
  if (const auto found = by_hash_.find(hash); found != by_hash_.end()) {
    Cell& cell = cells_[found->second];
    ++cell.count;
    cell.weight += weight;
    return;
  }
  if (cells_.size() < capacity_) {
    const auto cell = static_cast<uint32_t>(cells_.size());
    cells_.push_back(Fresh(hash, tokens, weight, 0));
    heap_.push_back({weight, cell});
    by_hash_.emplace(hash, cell);
    SiftUp();
    return;
  }
  const uint32_t lightest = Lightest();
  Cell& cell = cells_[lightest];
  by_hash_.erase(cell.hash);
  by_hash_.emplace(hash, lightest);
  cell = Fresh(hash, tokens, cell.weight + weight, cell.weight);
  heap_.front().weight = cell.weight;
  SiftDown();
}

std::vector<TopNgrams::Entry> TopNgrams::Top(size_t limit) const {
  std::vector<uint32_t> order(cells_.size());
  std::iota(order.begin(), order.end(), 0u);
  limit = std::min(limit, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(limit), order.end(),
                    [this](uint32_t a, uint32_t b) {
                      return cells_[a].weight != cells_[b].weight ? cells_[a].weight > cells_[b].weight
                                                                  : cells_[a].hash < cells_[b].hash;
                    });
  std::vector<Entry> top;
  for (size_t i = 0; i < limit; ++i) {
    const Cell& cell = cells_[order[i]];
    top.push_back(
        {cell.hash, {cell.tokens.begin(), cell.tokens.begin() + cell.num_tokens}, cell.count, cell.weight, cell.error});
  }
  return top;
}

void TopNgrams::Clear() {
  cells_.clear();
  heap_.clear();
  by_hash_.clear();
}

}  // namespace engram
