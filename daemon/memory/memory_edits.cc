// SPDX-License-Identifier: Apache-2.0
#include "memory/memory_edits.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace engram {
namespace {

// 64 slots per node, addressed by 6 bits of the mixed row id: 11 levels use all of them, so that two different rows
// part at some level.
constexpr uint32_t kBits = 6;
constexpr uint32_t kLevels = (64 + kBits - 1) / kBits;
constexpr uint64_t kLineBytes = 64;

// Bijective: the finaliser of splitmix64.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

uint64_t BitAt(uint64_t hash, uint32_t level) {
  return uint64_t{1} << (hash >> (level * kBits) & 63);
}

}  // namespace

// What a slot of a node refers to: a leaf or a node, of which the parent knows.
struct RowMap::Slot {
  std::atomic<uint32_t> refs{1};
};

// Its bytes follow it.
struct RowMap::Leaf : Slot {
  uint32_t num_row_bytes;
  uint64_t row;
  uint64_t version;

  const uint8_t* bytes() const { return reinterpret_cast<const uint8_t*>(this + 1); }
  uint64_t num_bytes() const { return sizeof(Leaf) + num_row_bytes; }

  static Leaf* New(uint64_t row, uint64_t version, std::span<const uint8_t> bytes) {
    auto* leaf = new (::operator new(sizeof(Leaf) + bytes.size())) Leaf;
    leaf->num_row_bytes = static_cast<uint32_t>(bytes.size());
    leaf->row = row;
    leaf->version = version;
    if (!bytes.empty()) std::memcpy(reinterpret_cast<uint8_t*>(leaf + 1), bytes.data(), bytes.size());
    return leaf;
  }
  static void Drop(Leaf* leaf) {
    if (leaf->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    leaf->~Leaf();
    ::operator delete(leaf);
  }
};

// Its slots follow it, in the order of their bits, then unused ones.
struct RowMap::Node : Slot {
  uint32_t capacity;
  uint64_t present = 0;
  uint64_t leaves = 0;  // which of those present are leaves

  Slot** slots() { return reinterpret_cast<Slot**>(this + 1); }
  Slot* const* slots() const { return reinterpret_cast<Slot* const*>(this + 1); }
  uint32_t count() const { return static_cast<uint32_t>(std::popcount(present)); }
  uint32_t PlaceOf(uint64_t bit) const { return static_cast<uint32_t>(std::popcount(present & (bit - 1))); }
  uint64_t num_bytes() const { return BytesFor(capacity); }

  static uint64_t BytesFor(uint32_t capacity) { return sizeof(Node) + capacity * sizeof(Slot*); }
  static Node* New(uint32_t capacity) {
    auto* node = new (::operator new(BytesFor(capacity))) Node;
    node->capacity = capacity;
    return node;
  }
  // The node alone; what its slots refer to has another owner.
  static void Free(Node* node) {
    node->~Node();
    ::operator delete(node);
  }
  // At most kLevels deep.
  static void Drop(Node* node) {
    if (node->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    node->ForEachSlot([](Slot* slot, bool is_leaf) {
      if (is_leaf) {
        Leaf::Drop(static_cast<Leaf*>(slot));
      } else {
        Drop(static_cast<Node*>(slot));
      }
    });
    Free(node);
  }

  template <typename Visit>
  void ForEachSlot(Visit visit) const {
    Slot* const* slot = slots();
    for (uint64_t left = present; left != 0; left &= left - 1) visit(*slot++, (leaves & left & (~left + 1)) != 0);
  }

  // A node like this with room for `room` slots that shares what its slots refer to.
  Node* Copy(uint32_t room) const {
    Node* copy = New(room);
    copy->present = present;
    copy->leaves = leaves;
    const uint32_t num_slots = count();
    // The counters lie anywhere in memory, and counting up waits for each: asked for all at once, they come together.
    for (uint32_t i = 0; i < num_slots; ++i) __builtin_prefetch(slots()[i], 1);
    uint32_t i = 0;
    ForEachSlot([&](Slot* slot, bool) {
      slot->refs.fetch_add(1, std::memory_order_relaxed);
      copy->slots()[i++] = slot;
    });
    return copy;
  }

  void Insert(uint64_t bit, Slot* slot, bool is_leaf) {
    const uint32_t place = PlaceOf(bit);
    std::memmove(slots() + place + 1, slots() + place, (count() - place) * sizeof(Slot*));
    slots()[place] = slot;
    present |= bit;
    if (is_leaf) leaves |= bit;
  }
  void Remove(uint64_t bit) {
    const uint32_t place = PlaceOf(bit);
    std::memmove(slots() + place, slots() + place + 1, (count() - place - 1) * sizeof(Slot*));
    present &= ~bit;
    leaves &= ~bit;
  }

  // Makes *place, a node whose way from the root is this map's alone, this map's alone too, with room for `extra` more
  // slots. Nobody else can come to hold a node of which there is one reference: it is in a node only this map holds.
  static Node* Own(Slot** place, uint32_t extra, uint64_t& num_bytes) {
    auto* node = static_cast<Node*>(*place);
    const uint32_t needed = node->count() + extra;
    const bool own = node->refs.load(std::memory_order_acquire) == 1;
    if (own && needed <= node->capacity) return node;
    // A node that grows in place is likely to grow again; a copy, of a version that is to stay, is as small as can be.
    const uint32_t room = own ? std::min(64u, needed + needed / 4) : needed;
    Node* fresh = nullptr;
    if (own) {
      fresh = New(room);
      fresh->present = node->present;
      fresh->leaves = node->leaves;
      std::memcpy(fresh->slots(), node->slots(), node->count() * sizeof(Slot*));
    } else {
      fresh = node->Copy(room);
    }
    num_bytes += fresh->num_bytes();
    num_bytes -= node->num_bytes();
    if (own) {
      Free(node);
    } else {
      Drop(node);
    }
    *place = fresh;
    return fresh;
  }

  // A node of `level` that holds both, which differ from there on. Takes both references, unless it throws.
  static Node* Pair(Leaf* a, uint64_t a_hash, Leaf* b, uint64_t b_hash, uint32_t level, uint64_t& num_bytes) {
    const uint64_t a_bit = BitAt(a_hash, level);
    const uint64_t b_bit = BitAt(b_hash, level);
    Node* node = New(a_bit == b_bit ? 1 : 2);
    if (a_bit == b_bit) {
      try {
        node->Insert(a_bit, Pair(a, a_hash, b, b_hash, level + 1, num_bytes), false);
      } catch (...) {
        Free(node);
        throw;
      }
    } else {
      node->Insert(a_bit, a, true);
      node->Insert(b_bit, b, true);
    }
    num_bytes += node->num_bytes();
    return node;
  }
};

RowMap::~RowMap() {
  if (root_ != nullptr) Node::Drop(static_cast<Node*>(root_));
}

RowMap::RowMap(const RowMap& other)
    : root_(other.root_),
      filter_(other.filter_),
      size_(other.size_),
      num_bytes_(other.num_bytes_),
      row_bytes_(other.row_bytes_) {
  if (root_ != nullptr) root_->refs.fetch_add(1, std::memory_order_relaxed);
}

RowMap::RowMap(RowMap&& other) noexcept
    : root_(std::exchange(other.root_, nullptr)),
      filter_(std::move(other.filter_)),
      size_(std::exchange(other.size_, 0)),
      num_bytes_(std::exchange(other.num_bytes_, 0)),
      row_bytes_(std::exchange(other.row_bytes_, 0)) {}

RowMap& RowMap::operator=(const RowMap& other) {
  return *this = RowMap(other);
}

RowMap& RowMap::operator=(RowMap&& other) noexcept {
  std::swap(root_, other.root_);
  filter_.swap(other.filter_);
  std::swap(size_, other.size_);
  std::swap(num_bytes_, other.num_bytes_);
  std::swap(row_bytes_, other.row_bytes_);
  return *this;
}

RowMap::Entry RowMap::Find(uint64_t row) const {
  const uint64_t hash = Mix(row);
  if (root_ == nullptr || !filter_->MayHave(hash)) return {};
  const auto* node = static_cast<const Node*>(root_);
  for (uint32_t level = 0; node != nullptr; ++level) {
    const uint64_t bit = BitAt(hash, level);
    if ((node->present & bit) == 0) return {};
    const Slot* slot = node->slots()[node->PlaceOf(bit)];
    if ((node->leaves & bit) != 0) {
      const auto* leaf = static_cast<const Leaf*>(slot);
      return leaf->row == row ? Entry{leaf->version, leaf->bytes()} : Entry{};
    }
    node = static_cast<const Node*>(slot);
  }
  return {};
}

void RowMap::FindEach(std::span<const uint64_t> rows, Entry* found) const {
  std::fill_n(found, rows.size(), Entry{});
  if (root_ == nullptr) return;
  std::array<uint64_t, kFindRows> hashes;
  for (size_t i = 0; i < rows.size(); ++i) {
    hashes[i] = Mix(rows[i]);
    filter_->Prefetch(hashes[i]);
  }
  struct Way {
    uint64_t hash;
    const Node* node;
    Slot* const* slot;
    uint32_t row;  // index in `rows`
    bool is_leaf;
  };
  struct End {
    const Leaf* leaf;
    uint32_t row;
  };
  std::array<Way, kFindRows> ways;
  std::array<End, kFindRows> ends;
  const uint64_t leaf_bytes = sizeof(Leaf) + row_bytes_;
  uint32_t num_ways = 0;
  uint32_t num_ends = 0;
  for (uint32_t i = 0; i < rows.size(); ++i)
    if (filter_->MayHave(hashes[i])) ways[num_ways++] = {hashes[i], static_cast<const Node*>(root_), nullptr, i, false};
  // A node's head, then one of its slots, then what that refers to: three lines of memory, each asked for in one turn
  // and used in the next. Ways that go on move to the front.
  for (uint32_t level = 0; num_ways > 0; ++level) {
    uint32_t going = 0;
    for (uint32_t i = 0; i < num_ways; ++i) {
      Way way = ways[i];
      const uint64_t bit = BitAt(way.hash, level);
      if ((way.node->present & bit) == 0) continue;
      way.slot = way.node->slots() + way.node->PlaceOf(bit);
      way.is_leaf = (way.node->leaves & bit) != 0;
      __builtin_prefetch(way.slot);
      ways[going++] = way;
    }
    num_ways = std::exchange(going, 0);
    for (uint32_t i = 0; i < num_ways; ++i) {
      const Way way = ways[i];
      const Slot* const next = *way.slot;
      __builtin_prefetch(next);
      if (way.is_leaf) {
        const auto* leaf = static_cast<const Leaf*>(next);
        // Who asks for a row copies it: its lines come while others are looked for.
        for (uint64_t at = kLineBytes; at < leaf_bytes; at += kLineBytes)
          __builtin_prefetch(reinterpret_cast<const uint8_t*>(leaf) + at);
        ends[num_ends++] = {leaf, way.row};
      } else {
        ways[going] = way;
        ways[going++].node = static_cast<const Node*>(next);
      }
    }
    num_ways = going;
  }
  for (uint32_t i = 0; i < num_ends; ++i) {
    const auto [leaf, row] = ends[i];
    if (leaf->row == rows[row]) found[row] = {leaf->version, leaf->bytes()};
  }
}

void RowMap::ReserveFilter() {
  if (filter_ != nullptr && !filter_->full()) return;
  auto filter = std::make_shared<RowFilter>(size_ + 1);
  ForEach([&](uint64_t row, const Entry&) { filter->Add(Mix(row)); });
  filter_ = std::move(filter);
}

void RowMap::Set(uint64_t row, uint64_t version, std::span<const uint8_t> bytes) {
  const uint64_t hash = Mix(row);
  ReserveFilter();
  row_bytes_ = std::max<uint64_t>(row_bytes_, bytes.size());
  struct LeafDrop {
    void operator()(Leaf* leaf) const { Leaf::Drop(leaf); }
  };
  std::unique_ptr<Leaf, LeafDrop> leaf(Leaf::New(row, version, bytes));
  if (root_ == nullptr) {
    Node* root = Node::New(4);
    num_bytes_ += root->num_bytes();
    root_ = root;
  }
  Slot** place = &root_;
  for (uint32_t level = 0;; ++level) {
    const uint64_t bit = BitAt(hash, level);
    const bool present = (static_cast<Node*>(*place)->present & bit) != 0;
    Node* node = Node::Own(place, present ? 0 : 1, num_bytes_);
    if (!present) {
      num_bytes_ += leaf->num_bytes();
      ++size_;
      node->Insert(bit, leaf.release(), true);
      filter_->Add(hash);
      return;
    }
    Slot*& slot = node->slots()[node->PlaceOf(bit)];
    if ((node->leaves & bit) == 0) {
      place = &slot;
      continue;
    }
    auto* other = static_cast<Leaf*>(slot);
    if (other->row == row) {
      num_bytes_ += leaf->num_bytes();
      num_bytes_ -= other->num_bytes();
      slot = leaf.release();
      Leaf::Drop(other);
      return;
    }
    slot = Node::Pair(other, Mix(other->row), leaf.get(), hash, level + 1, num_bytes_);
    node->leaves &= ~bit;
    num_bytes_ += leaf.release()->num_bytes();
    ++size_;
    filter_->Add(hash);
    return;
  }
}

void RowMap::Erase(uint64_t row) {
  if (Find(row).bytes == nullptr) return;
  const uint64_t hash = Mix(row);
  std::array<Slot**, kLevels> way{};
  uint32_t level = 0;
  for (Slot** place = &root_;; ++level) {
    way[level] = place;
    Node* node = Node::Own(place, 0, num_bytes_);
    const uint64_t bit = BitAt(hash, level);
    Slot*& slot = node->slots()[node->PlaceOf(bit)];
    if ((node->leaves & bit) == 0) {
      place = &slot;
      continue;
    }
    auto* leaf = static_cast<Leaf*>(slot);
    num_bytes_ -= leaf->num_bytes();
    node->Remove(bit);
    Leaf::Drop(leaf);
    break;
  }
  --size_;
  // A node below the root that is left with one leaf gives it to the node above, so that maps with the same rows have
  // the same shape, however they came about.
  for (; level > 0; --level) {
    auto* node = static_cast<Node*>(*way[level]);
    if (node->count() != 1 || node->leaves != node->present) return;
    *way[level] = node->slots()[0];
    static_cast<Node*>(*way[level - 1])->leaves |= BitAt(hash, level - 1);
    num_bytes_ -= node->num_bytes();
    Node::Free(node);
  }
  auto* root = static_cast<Node*>(root_);
  if (root->present != 0) return;
  num_bytes_ -= root->num_bytes();
  Node::Free(root);
  root_ = nullptr;
  filter_ = nullptr;
}

void RowMap::ForEach(const std::function<void(uint64_t row, const Entry&)>& visit) const {
  const std::function<void(const Node&)> walk = [&](const Node& node) {
    for (uint32_t i = 0; i < node.count(); ++i) __builtin_prefetch(node.slots()[i]);
    node.ForEachSlot([&](Slot* slot, bool is_leaf) {
      if (!is_leaf) return walk(*static_cast<const Node*>(slot));
      const auto& leaf = *static_cast<const Leaf*>(slot);
      visit(leaf.row, {leaf.version, leaf.bytes()});
    });
  };
  if (root_ != nullptr) walk(*static_cast<const Node*>(root_));
}

}  // namespace engram
