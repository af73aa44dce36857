// SPDX-License-Identifier: Apache-2.0
// Edited rows over a base table, as persistent (structure-sharing) maps: a version costs what differs from its parent,
// any number of versions live side by side, and reading needs no lock.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "memory/row_filter.h"

namespace engram {

// Row id -> the row's bytes and the version that wrote it. A value: copying shares everything, in constant time; a copy
// is never changed by changes of another. Reading or copying a map that no thread changes: any threads at once, without
// locks. A hash array mapped trie: a lookup follows one pointer per level, about log64(rows) levels; most rows that are
// not there a filter rules out before. Changes copy the nodes on the way to the row that another map shares, and work
// in place on those that this map alone holds. Changes may throw std::bad_alloc; the map is then as before. Dropping
// the last map of a version takes time for each of its rows.
class RowMap {
 public:
  struct Entry {
    uint64_t version = 0;            // the commit that wrote it
    const uint8_t* bytes = nullptr;  // [row_bytes]; valid as long as some map holds the entry
  };

  RowMap() = default;
  ~RowMap();
  RowMap(const RowMap&);
  RowMap(RowMap&&) noexcept;
  RowMap& operator=(const RowMap&);
  RowMap& operator=(RowMap&&) noexcept;

  bool empty() const { return size_ == 0; }
  uint64_t size() const { return size_; }
  // Bytes this map holds alone or together with others: nodes, rows, filter.
  uint64_t resident_bytes() const { return num_bytes_ + (filter_ == nullptr ? 0 : filter_->num_bytes()); }

  // Nothing found: bytes is nullptr.
  Entry Find(uint64_t row) const;
  // found[i] = Find(rows[i]), all at once: their waits for memory overlap. At most kFindRows rows.
  void FindEach(std::span<const uint64_t> rows, Entry* found) const;
  static constexpr size_t kFindRows = 32;
  void Set(uint64_t row, uint64_t version, std::span<const uint8_t> bytes);
  void Erase(uint64_t row);  // the base row shows again
  // Every entry, in no order.
  void ForEach(const std::function<void(uint64_t row, const Entry&)>& visit) const;

 private:
  struct Slot;
  struct Leaf;
  struct Node;
  // A filter that has all rows of this map and room for one more.
  void ReserveFilter();
  Slot* root_ = nullptr;               // a node with slots, or nullptr
  std::shared_ptr<RowFilter> filter_;  // shared with maps of other versions; nullptr: empty
  uint64_t size_ = 0;
  uint64_t num_bytes_ = 0;
  uint64_t row_bytes_ = 0;  // of the longest row so far
};

// All edits of one memory version. Immutable once shared.
struct MemoryEdits {
  uint64_t version = 0;        // what responses carry as memory_version; 0: the base as shipped
  std::vector<RowMap> layers;  // [engram layers], ascending by model layer number
};

}  // namespace engram
