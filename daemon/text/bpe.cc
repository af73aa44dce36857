// SPDX-License-Identifier: Apache-2.0
#include "text/bpe.h"

#include <algorithm>
#include <cstring>
#include <queue>

namespace engram {
namespace {

// Up to here scanning all pairs for the lowest rank beats a heap; words of English have 5 bytes.
constexpr size_t kMaxShortWord = 64;

uint64_t HashOf(const char* bytes, size_t num_bytes) {
  uint64_t hash = num_bytes * 0x9E3779B97F4A7C15u;
  for (size_t i = 0; i < num_bytes; i += 8) {
    uint64_t part = 0;
    std::memcpy(&part, bytes + i, std::min<size_t>(8, num_bytes - i));
    hash = (hash ^ part) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace

void Bpe::Encode(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const {
  BpeScratch::CachedWord* cached = nullptr;
  if (word.size() <= sizeof(cached->bytes)) {
    cached = &scratch.cache_[HashOf(word.data(), word.size()) % BpeScratch::kNumCached];
    if (cached->num_bytes == word.size() && std::memcmp(cached->bytes, word.data(), word.size()) == 0) {
      ids.insert(ids.end(), cached->ids, cached->ids + cached->num_ids);
      return;
    }
  }
  if (!whole_words_.empty()) {
    if (const auto whole = whole_words_.find(std::string(word)); whole != whole_words_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  Symbols(word, scratch.symbols_);
  if (scratch.symbols_.size() <= kMaxShortWord) {
    MergeShort(scratch);
    ids.insert(ids.end(), scratch.symbols_.begin(), scratch.symbols_.end());
  } else {
    MergeLong(scratch.symbols_);
    ids.insert(ids.end(), scratch.symbols_.begin(), scratch.symbols_.end());
    scratch.symbols_ = {};  // one long word must not keep its memory
  }
  if (cached != nullptr && !word.empty() && scratch.symbols_.size() <= std::size(cached->ids)) {
    cached->num_bytes = static_cast<uint8_t>(word.size());
    cached->num_ids = static_cast<uint8_t>(scratch.symbols_.size());
    std::memcpy(cached->bytes, word.data(), word.size());
    std::copy(scratch.symbols_.begin(), scratch.symbols_.end(), cached->ids);
  }
}

void Bpe::Symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  symbols.clear();
  bool after_unknown = false;
  for (const char c : word) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id >= 0) {
      symbols.push_back(id);
    } else if (unknown_id_ >= 0 && !(after_unknown && fuse_unknown_)) {
      symbols.push_back(unknown_id_);
    }
    after_unknown = id < 0;
  }
}

void Bpe::MergeShort(BpeScratch& scratch) const {
  std::vector<int32_t>& symbols = scratch.symbols_;
  size_t size = symbols.size();
  if (size < 2) return;
  scratch.ranks_.resize(size);
  scratch.merged_.resize(size);
  uint32_t* ranks = scratch.ranks_.data();
  int32_t* merged = scratch.merged_.data();
  const auto look_up = [&](size_t i) {
    const Merge* merge = merges_.Find(PairKey(symbols[i], symbols[i + 1]));
    ranks[i] = merge == nullptr ? kNoRank : merge->rank;
    merged[i] = merge == nullptr ? -1 : merge->id;
  };
  for (size_t i = 0; i + 1 < size; ++i) look_up(i);
  while (size > 1) {
    const size_t best = static_cast<size_t>(std::min_element(ranks, ranks + size - 1) - ranks);
    if (ranks[best] == kNoRank) break;
    symbols[best] = merged[best];
    std::copy(symbols.begin() + best + 2, symbols.begin() + size, symbols.begin() + best + 1);
    std::copy(ranks + best + 2, ranks + size, ranks + best + 1);
    std::copy(merged + best + 2, merged + size, merged + best + 1);
    --size;
    if (best + 1 < size) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  symbols.resize(size);
}

void Bpe::MergeLong(std::vector<int32_t>& symbols) const {
  constexpr uint32_t kEnd = ~uint32_t{0};
  struct Links {
    uint32_t previous, next;
  };
  struct Candidate {
    uint32_t rank, position;
    int32_t left, right, merged;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  const auto size = static_cast<uint32_t>(symbols.size());
  std::vector<Links> links(size);
  for (uint32_t i = 0; i < size; ++i) links[i] = {i == 0 ? kEnd : i - 1, i + 1 == size ? kEnd : i + 1};
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](uint32_t left, uint32_t right) {
    if (const Merge* merge = merges_.Find(PairKey(symbols[left], symbols[right]))) {
      queue.push({merge->rank, left, symbols[left], symbols[right], merge->id});
    }
  };
  for (uint32_t i = 0; i + 1 < size; ++i) consider(i, i + 1);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const uint32_t left = top.position, right = links[left].next;
    // An entry is stale when either half has been merged since; a removed symbol is -1.
    if (right == kEnd || symbols[left] != top.left || symbols[right] != top.right) continue;
    symbols[left] = top.merged;
    symbols[right] = -1;
    links[left].next = links[right].next;
    if (links[left].next != kEnd) links[links[left].next].previous = left;
    links[right] = {kEnd, kEnd};
    if (links[left].previous != kEnd) consider(links[left].previous, left);
    if (links[left].next != kEnd) consider(left, links[left].next);
  }
  symbols.erase(std::remove(symbols.begin(), symbols.end(), -1), symbols.end());
}

}  // namespace engram
