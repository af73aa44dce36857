// SPDX-License-Identifier: Apache-2.0
// FlatMap: 64-bit keys to values by open addressing; built once, then read by any thread. The all-ones key is reserved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace engram {

template <typename Value>
class FlatMap {
 public:
  // Replaces the value of a key that is there.
  void Insert(uint64_t key, Value value) {
    if ((size_ + 1) * 2 > slots_.size()) Grow();
    Slot& slot = slots_[IndexOf(key)];
    if (slot.key == kEmpty) ++size_;
    slot = {key, value};
  }
  const Value* Find(uint64_t key) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[IndexOf(key)];
    return slot.key == key ? &slot.value : nullptr;
  }
  size_t size() const { return size_; }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    Value value{};
  };

  // The key's slot, or the empty one where it would go: at most half the slots are taken.
  size_t IndexOf(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t index = static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> 20) & mask;
    while (slots_[index].key != key && slots_[index].key != kEmpty) index = (index + 1) & mask;
    return index;
  }
  void Grow() {
    std::vector<Slot> old(slots_.empty() ? 16 : slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.key != kEmpty) slots_[IndexOf(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;  // a power of two
  size_t size_ = 0;
};

}  // namespace engram
