// SPDX-License-Identifier: Apache-2.0
#include "row_cache.h"

#include <engram/plugin_error.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <string>

namespace engram::tier_dram {
namespace {

using sdk::PluginError;

constexpr uint64_t kHugePageBytes = 2u << 20;
constexpr uint32_t kLineBytes = 64;
constexpr uint32_t kLineEntries = kLineBytes / sizeof(uint64_t);
constexpr RowKey kNoKey = UINT64_MAX;
constexpr uint32_t kNone = UINT32_MAX;
// With 256 shards, 32 threads that do nothing but read meet in one less than every eighth time.
constexpr uint32_t kMaxShards = 256;
constexpr uint64_t kMinSlotsOfAShard = 1024;
constexpr uint64_t kMinSlots = 16;
constexpr uint16_t kMaxUses = 3;
// Rows asked for this often while in the small queue go on to the main one. Hit rates in percent, of batches of
// distinct keys, with room for a tenth of them: word pairs and triples of 350,000 words of prose 47.3 (two uses: 47.2,
// SIEVE 45.4, LRU 44.4), Zipf with scans in between 47.5 (46.1, 45.9, 42.5); a hundredth of the former 32.2
// (32.1, 16.3, 29.3).
constexpr uint16_t kUsesToStay = 1;
// Bounds the time an insertion holds the lock when every row of the main queue is hot.
constexpr int kMaxSecondChances = 64;
// Index lines of this many rows are under way at once, and the rows themselves this far ahead, as in row_gather.cc.
constexpr uint32_t kBlockRows = 32;
constexpr uint32_t kPrefetchDistance = 6;

uint64_t RoundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// The finalizer of MurmurHash3: row ids differ in few low bits, and all bits of the result are used.
uint64_t Mix(uint64_t key) {
  key ^= key >> 33;
  key *= 0xff51afd7ed558ccdu;
  key ^= key >> 33;
  key *= 0xc4ceb9fe1a85ec53u;
  return key ^ key >> 33;
}

uint64_t LoadEntry(uint64_t& entry) {
  return std::atomic_ref<uint64_t>(entry).load(std::memory_order_relaxed);
}

void StoreEntry(uint64_t& entry, uint64_t value) {
  std::atomic_ref<uint64_t>(entry).store(value, std::memory_order_relaxed);
}

uint32_t HashOf(uint64_t entry) {
  return static_cast<uint32_t>(entry >> 32);
}

}  // namespace

RowCache::RowCache(uint64_t capacity_bytes, uint32_t row_bytes, const MemoryOptions& memory)
    : row_bytes_(row_bytes),
      slot_bytes_(static_cast<uint32_t>(RoundUp(sizeof(Slot) + row_bytes, alignof(Slot)))),
      read_(ReadFor(row_bytes)) {
  const uint64_t own_bytes = sizeof(RowCache) + kMaxShards * sizeof(Shard) + kMaxTables * sizeof(CachedTableCounters);
  const uint64_t mapped_bytes = (capacity_bytes - own_bytes) / kHugePageBytes * kHugePageBytes;
  // A row's share: its slot, 1.6 index entries (probes of two lines at most, nearly always), 1.25 ghosts.
  const uint64_t share_bytes = slot_bytes_ + sizeof(uint64_t) * 57 / 20;
  const uint64_t most_slots = mapped_bytes / share_bytes;
  while (num_shards_ < kMaxShards && most_slots / (num_shards_ * 2) >= kMinSlotsOfAShard) num_shards_ *= 2;
  const uint64_t shard_bytes = mapped_bytes / num_shards_ / kLineBytes * kLineBytes;
  uint64_t slots = std::min<uint64_t>(shard_bytes / share_bytes, UINT32_MAX / 2);
  const auto lay_out = [&] {
    index_size_ = static_cast<uint32_t>(RoundUp(slots + slots * 3 / 5, kLineEntries));
    num_ghosts_ = static_cast<uint32_t>(RoundUp(slots + slots / 4, kLineEntries));
    return (uint64_t{index_size_} + num_ghosts_) * sizeof(uint64_t) + slots * slot_bytes_;
  };
  while (slots > 0 && lay_out() > shard_bytes) --slots;
  if (slots < kMinSlots)
    throw PluginError(ENGRAM_INVALID_ARGUMENT, "a cache of " + std::to_string(capacity_bytes) + " bytes has room for " +
                                                   std::to_string(slots) + " rows of " + std::to_string(row_bytes) +
                                                   " bytes; it needs room for " + std::to_string(kMinSlots));
  slots_per_shard_ = static_cast<uint32_t>(slots);
  small_length_ = std::max(1u, slots_per_shard_ / 10);
  ghost_life_ = slots_per_shard_ - small_length_;
  shard_shift_ = 64 - static_cast<uint32_t>(__builtin_ctz(num_shards_));
  memory_bytes_ = mapped_bytes + own_bytes;

  memory_ = std::make_unique<TableMemory>(mapped_bytes, memory);
  shards_ = std::make_unique<Shard[]>(num_shards_);
  counters_ = std::make_unique<CachedTableCounters[]>(kMaxTables);
  for (uint32_t i = 0; i < num_shards_; ++i) {
    uint8_t* at = memory_->data() + i * shard_bytes;
    shards_[i].index = reinterpret_cast<uint64_t*>(at);
    shards_[i].ghosts = shards_[i].index + index_size_;
    shards_[i].slots = reinterpret_cast<uint8_t*>(shards_[i].ghosts + num_ghosts_);
  }
}

inline RowCache::Place RowCache::PlaceOf(RowKey key) const {
  const uint64_t hash = Mix(key);
  // One shard only: a shift by 64 would be undefined.
  const uint64_t shard = num_shards_ == 1 ? 0 : hash >> shard_shift_;
  return {&shards_[shard], static_cast<uint32_t>(hash), 0};
}

inline uint32_t RowCache::Hint(const Shard& shard, uint32_t hash) const {
  uint32_t at = Home(hash);
  // Bounded, since entries may move along while this looks.
  for (uint32_t probes = 0; probes < index_size_; ++probes) {
    const uint64_t entry = LoadEntry(shard.index[at]);
    if (entry == 0) return 0;
    if (HashOf(entry) == hash) return static_cast<uint32_t>(entry);
    if (++at == index_size_) at = 0;
  }
  return 0;
}

uint32_t RowCache::Find(const Shard& shard, uint32_t hash, RowKey key) const {
  for (uint32_t at = Home(hash);;) {
    const uint64_t entry = shard.index[at];
    if (entry == 0) return 0;
    const auto slot_plus_one = static_cast<uint32_t>(entry);
    if (HashOf(entry) == hash && SlotAt(shard, slot_plus_one - 1).key == key) return slot_plus_one;
    if (++at == index_size_) at = 0;
  }
}

void RowCache::Insert(Shard& shard, uint32_t hash, uint32_t slot) {
  uint32_t at = Home(hash);
  while (shard.index[at] != 0) {
    if (++at == index_size_) at = 0;
  }
  StoreEntry(shard.index[at], uint64_t{hash} << 32 | (slot + 1));
}

void RowCache::Remove(Shard& shard, uint32_t hash, uint32_t slot) {
  const uint64_t wanted = uint64_t{hash} << 32 | (slot + 1);
  uint32_t gap = Home(hash);
  while (shard.index[gap] != wanted) {
    if (++gap == index_size_) gap = 0;
  }
  // Moves back what could not be found any more behind a gap, so that no tombstones pile up.
  for (uint32_t at = gap;;) {
    if (++at == index_size_) at = 0;
    const uint64_t entry = shard.index[at];
    if (entry == 0) break;
    const uint32_t home = Home(HashOf(entry));
    const bool reaches_over_gap = gap <= at ? home <= gap || home > at : home <= gap && home > at;
    if (!reaches_over_gap) continue;
    StoreEntry(shard.index[gap], entry);
    gap = at;
  }
  StoreEntry(shard.index[gap], 0);
}

void RowCache::Append(Shard& shard, Queue& queue, uint32_t slot) {
  SlotAt(shard, slot).next = kNone;
  SlotAt(shard, slot).in_main = &queue == &shard.main ? 1 : 0;
  if (queue.length == 0)
    queue.oldest = slot;
  else
    SlotAt(shard, queue.newest).next = slot;
  queue.newest = slot;
  ++queue.length;
}

uint32_t RowCache::TakeOldest(Shard& shard, Queue& queue) {
  const uint32_t slot = queue.oldest;
  queue.oldest = SlotAt(shard, slot).next;
  --queue.length;
  return slot;
}

bool RowCache::TakeGhost(Shard& shard, uint32_t hash) {
  uint64_t* line = shard.ghosts + (uint64_t{hash} * (num_ghosts_ / kLineEntries) >> 32) * kLineEntries;
  for (uint32_t i = 0; i < kLineEntries; ++i) {
    if (line[i] == 0 || HashOf(line[i]) != hash) continue;
    const bool alive = shard.ghost_clock - static_cast<uint32_t>(line[i]) < ghost_life_;
    line[i] = 0;
    return alive;
  }
  return false;
}

void RowCache::AddGhost(Shard& shard, uint32_t hash) {
  uint64_t* line = shard.ghosts + (uint64_t{hash} * (num_ghosts_ / kLineEntries) >> 32) * kLineEntries;
  // 0 stays free to mean an empty place.
  if (++shard.ghost_clock == 0) shard.ghost_clock = 1;
  uint32_t place = 0;
  uint32_t oldest_age = 0;
  for (uint32_t i = 0; i < kLineEntries; ++i) {
    const uint32_t age = line[i] == 0 ? UINT32_MAX : shard.ghost_clock - static_cast<uint32_t>(line[i]);
    if (age < oldest_age) continue;
    oldest_age = age;
    place = i;
  }
  line[place] = uint64_t{hash} << 32 | shard.ghost_clock;
}

void RowCache::ForgetSlot(Shard& shard, uint32_t hash, uint32_t slot) {
  Slot& entry = SlotAt(shard, slot);
  Remove(shard, hash, slot);
  counters_[entry.key >> kRowBits].resident_rows.fetch_sub(1, std::memory_order_relaxed);
  entry.key = kNoKey;
}

uint32_t RowCache::Evict(Shard& shard) {
  for (int second_chances = 0;;) {
    const bool from_small = shard.small.length > small_length_ || shard.main.length == 0;
    const uint32_t slot = TakeOldest(shard, from_small ? shard.small : shard.main);
    Slot& entry = SlotAt(shard, slot);
    if (entry.key == kNoKey) return slot;
    if (from_small && entry.uses >= kUsesToStay) {
      entry.uses = 0;
      Append(shard, shard.main, slot);
      continue;
    }
    if (!from_small && entry.uses > 0 && second_chances < kMaxSecondChances) {
      ++second_chances;
      --entry.uses;
      Append(shard, shard.main, slot);
      continue;
    }
    const uint32_t hash = PlaceOf(entry.key).hash;
    if (from_small) AddGhost(shard, hash);
    counters_[entry.key >> kRowBits].evictions.fetch_add(1, std::memory_order_relaxed);
    ForgetSlot(shard, hash, slot);
    return slot;
  }
}

uint32_t RowCache::TakeSlot(Shard& shard) {
  return shard.num_fresh < slots_per_shard_ ? shard.num_fresh++ : Evict(shard);
}

template <uint32_t kRowBytes>
uint32_t RowCache::ReadRows(uint32_t table, const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride,
                            uint8_t* found) {
  const uint32_t row_bytes = kRowBytes == 0 ? row_bytes_ : kRowBytes;
  Place places[2 * kBlockRows];  // of row i at i modulo its length
  const auto place_of = [&](uint32_t i) -> Place& { return places[i % (2 * kBlockRows)]; };
  const auto look_up = [&](uint32_t i) {
    Place& place = place_of(i);
    place = PlaceOf(KeyOf(table, ids[i]));
    __builtin_prefetch(&place.shard->index[Home(place.hash)]);
  };
  const auto look_ahead = [&](uint32_t i) {
    Place& place = place_of(i);
    place.slot_plus_one = Hint(*place.shard, place.hash);
    if (place.slot_plus_one == 0) return;
    const uint8_t* slot = place.shard->slots + uint64_t{place.slot_plus_one - 1} * slot_bytes_;
    const uint32_t num_bytes = std::min<uint32_t>(slot_bytes_, 16 * kLineBytes);
    for (uint32_t at = 0; at < num_bytes; at += kLineBytes) __builtin_prefetch(slot + at);
    __builtin_prefetch(slot + num_bytes - 1);
  };
  for (uint32_t i = 0; i < std::min(num_ids, kBlockRows); ++i) look_up(i);
  for (uint32_t i = 0; i < std::min(num_ids, kPrefetchDistance); ++i) look_ahead(i);
  uint32_t num_found = 0;
  for (uint32_t i = 0; i < num_ids; ++i) {
    if (i + kBlockRows < num_ids) look_up(i + kBlockRows);
    if (i + kPrefetchDistance < num_ids) look_ahead(i + kPrefetchDistance);
    const Place& place = place_of(i);
    found[i] = 0;
    if (place.slot_plus_one == 0) continue;
    Shard& shard = *place.shard;
    const RowKey key = KeyOf(table, ids[i]);
    const std::lock_guard lock(shard.lock);
    Slot* slot = &SlotAt(shard, place.slot_plus_one - 1);
    if (slot->key != key) {
      // Another row with the same 32 bits, or the slot got another row since.
      const uint32_t slot_plus_one = Find(shard, place.hash, key);
      if (slot_plus_one == 0) continue;
      slot = &SlotAt(shard, slot_plus_one - 1);
    }
    std::memcpy(dst + i * dst_stride, slot + 1, row_bytes);
    if (slot->uses < kMaxUses) ++slot->uses;
    found[i] = 1;
    ++num_found;
  }
  return num_found;
}

RowCache::ReadFunction RowCache::ReadFor(uint32_t row_bytes) {
  switch (row_bytes) {
    case 64:
      return &RowCache::ReadRows<64>;
    case 128:
      return &RowCache::ReadRows<128>;
    case 160:
      return &RowCache::ReadRows<160>;
    case 256:
      return &RowCache::ReadRows<256>;
    case 264:
      return &RowCache::ReadRows<264>;
    case 512:
      return &RowCache::ReadRows<512>;
    default:
      return &RowCache::ReadRows<0>;
  }
}

void RowCache::Write(uint32_t table, const uint64_t* ids, uint32_t num_ids, const uint8_t* src, uint64_t src_stride) {
  Place places[kBlockRows];
  for (uint32_t first = 0; first < num_ids; first += kBlockRows) {
    const uint32_t block = std::min(kBlockRows, num_ids - first);
    for (uint32_t i = 0; i < block; ++i) {
      places[i] = PlaceOf(KeyOf(table, ids[first + i]));
      __builtin_prefetch(&places[i].shard->index[Home(places[i].hash)]);
    }
    for (uint32_t i = 0; i < block; ++i) {
      Shard& shard = *places[i].shard;
      const uint32_t hash = places[i].hash;
      const RowKey key = KeyOf(table, ids[first + i]);
      const uint8_t* row = src + (first + i) * src_stride;
      const std::lock_guard lock(shard.lock);
      if (const uint32_t slot_plus_one = Find(shard, hash, key); slot_plus_one != 0) {
        std::memcpy(&SlotAt(shard, slot_plus_one - 1) + 1, row, row_bytes_);
        continue;
      }
      const bool was_here = TakeGhost(shard, hash);
      const uint32_t slot = TakeSlot(shard);
      Slot& entry = SlotAt(shard, slot);
      entry.key = key;
      entry.uses = 0;
      std::memcpy(&entry + 1, row, row_bytes_);
      Append(shard, was_here ? shard.main : shard.small, slot);
      Insert(shard, hash, slot);
      counters_[table].resident_rows.fetch_add(1, std::memory_order_relaxed);
      counters_[table].fills.fetch_add(1, std::memory_order_relaxed);
    }
  }
}

void RowCache::Forget(uint32_t table, const uint64_t* ids, uint32_t num_ids) {
  for (uint32_t i = 0; i < num_ids; ++i) {
    const RowKey key = KeyOf(table, ids[i]);
    const Place place = PlaceOf(key);
    const std::lock_guard lock(place.shard->lock);
    const uint32_t slot_plus_one = Find(*place.shard, place.hash, key);
    if (slot_plus_one != 0) ForgetSlot(*place.shard, place.hash, slot_plus_one - 1);
  }
}

void RowCache::ForgetTable(uint32_t table) {
  for (uint32_t s = 0; s < num_shards_; ++s) {
    Shard& shard = shards_[s];
    const std::lock_guard lock(shard.lock);
    for (uint32_t slot = 0; slot < shard.num_fresh; ++slot) {
      const RowKey key = SlotAt(shard, slot).key;
      if (key != kNoKey && key >> kRowBits == table) ForgetSlot(shard, PlaceOf(key).hash, slot);
    }
  }
}

template <typename Visit>
void RowCache::ForEachRow(uint32_t table, Visit&& visit) const {
  // Few enough that a reader who meets this waits about as long as for another reader's row.
  constexpr uint32_t kSlotsAtOnce = 64;
  for (uint32_t s = 0; s < num_shards_; ++s) {
    Shard& shard = shards_[s];
    for (uint32_t first = 0;; first += kSlotsAtOnce) {
      const std::lock_guard lock(shard.lock);
      if (first >= shard.num_fresh) break;
      for (uint32_t slot = first; slot < std::min(first + kSlotsAtOnce, shard.num_fresh); ++slot) {
        const Slot& entry = SlotAt(shard, slot);
        if (entry.key == kNoKey || entry.key >> kRowBits != table) continue;
        visit(entry.in_main != 0 ? kMaxRank - kMaxUses + entry.uses : entry.uses,
              entry.key & ((uint64_t{1} << kRowBits) - 1));
      }
    }
  }
}

uint64_t RowCache::HotRows(uint32_t table, uint64_t* ids, uint64_t capacity) const {
  struct Span {
    uint64_t begin, next, end;
  };
  Span spans[kMaxRank + 1] = {};
  ForEachRow(table, [&](uint32_t rank, uint64_t) { ++spans[rank].end; });
  uint64_t at = 0;
  for (uint32_t rank = kMaxRank; rank > 0; --rank) {
    const uint64_t count = std::min(spans[rank].end, capacity - at);
    spans[rank] = {at, at, at + count};
    at += count;
  }
  spans[0] = {};
  ForEachRow(table, [&](uint32_t rank, uint64_t row) {
    if (spans[rank].next < spans[rank].end) ids[spans[rank].next++] = row;
  });
  // Rows that went or changed their rank between the two walks left room.
  uint64_t kept = 0;
  for (uint32_t rank = kMaxRank; rank > 0; --rank) {
    std::copy(ids + spans[rank].begin, ids + spans[rank].next, ids + kept);
    kept += spans[rank].next - spans[rank].begin;
  }
  return kept;
}

uint32_t RowCache::AddTable() {
  if (num_tables_ == kMaxTables)
    throw PluginError(ENGRAM_RESOURCE_EXHAUSTED,
                      "the cache serves " + std::to_string(kMaxTables) + " tables, which is the most it can");
  uint32_t table = 0;
  while (table_used_[table]) ++table;
  table_used_.set(table);
  ++num_tables_;
  counters_[table].fills.store(0, std::memory_order_relaxed);
  counters_[table].evictions.store(0, std::memory_order_relaxed);
  return table;
}

void RowCache::RemoveTable(uint32_t table) {
  ForgetTable(table);
  table_used_.reset(table);
  --num_tables_;
}

}  // namespace engram::tier_dram
