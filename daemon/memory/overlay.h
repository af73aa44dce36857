// SPDX-License-Identifier: Apache-2.0
// Overlay: named edits over the memory that only the requests see which attach it. Two kinds of entry: a row replaces
// a table row; a guarded entry replaces the whole memory vector at every position whose last tokens, compressed, equal
// its suffix, and so can touch no other n-gram.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/result.h"
#include "memory/reclaimer.h"

namespace engram {

inline constexpr uint32_t kMinSuffixTokens = 2;
inline constexpr uint32_t kMaxSuffixTokens = 8;

// What an overlay holds, in stored bytes. Layers are indexes into the Engram layers, ascending by model layer number.
struct OverlayContent {
  struct Row {
    uint32_t layer = 0;
    uint64_t row = 0;
    std::vector<uint8_t> bytes;  // [row_bytes]
  };
  struct Guarded {
    std::vector<int32_t> suffix;                      // compressed ids, oldest first; kMin to kMaxSuffixTokens
    std::map<uint32_t, std::vector<uint8_t>> memory;  // by layer: [columns][row_bytes]; other layers are untouched
  };
  std::vector<Row> rows;
  std::vector<Guarded> guarded;
};

// Immutable; any thread.
class Overlay {
 public:
  // kInvalidArgument, with the indexes, for a row or suffix given twice, a row of a layer index from num_layers on, or
  // a suffix of another length. That rows and vectors have the table's sizes must have been checked.
  static Result<std::shared_ptr<const Overlay>> Create(std::string name, OverlayContent content, uint32_t num_layers);

  const std::string& name() const { return name_; }
  const OverlayContent& content() const { return content_; }
  uint64_t num_bytes() const { return num_bytes_; }  // what it holds in memory
  bool has_guarded() const { return !content_.guarded.empty(); }
  bool has_rows(uint32_t layer) const { return !rows_[layer].empty(); }

  // The row's bytes, or nullptr.
  const uint8_t* FindRow(uint32_t layer, uint64_t row) const;
  // The guarded entry with the longest suffix that `tail` (compressed ids, oldest first) ends with, or nullptr.
  const OverlayContent::Guarded* FindGuarded(std::span<const int32_t> tail) const;

 private:
  Overlay() = default;
  struct SuffixHash {
    using is_transparent = void;
    size_t operator()(std::span<const int32_t> suffix) const;
  };
  struct SuffixEqual {
    using is_transparent = void;
    bool operator()(std::span<const int32_t> a, std::span<const int32_t> b) const;
  };
  std::string name_;
  OverlayContent content_;
  uint64_t num_bytes_ = 0;
  std::vector<std::unordered_map<uint64_t, uint32_t>> rows_;  // by layer: row id -> index in content_.rows
  uint32_t suffix_lengths_ = 0;                               // bit n: some suffix has n tokens
  // Suffix -> index in content_.guarded.
  std::unordered_map<std::vector<int32_t>, uint32_t, SuffixHash, SuffixEqual> guarded_;
};

// The overlays of one model's memory; shared by whatever serves it. Any thread; every call is short.
class OverlayDirectory {
 public:
  // Overlays are freed through `reclaimer`, if there is one.
  explicit OverlayDirectory(std::shared_ptr<Reclaimer> reclaimer = nullptr) : reclaimer_(std::move(reclaimer)) {}

  // Replaces one of that name; sequences that hold the former keep it.
  void Put(std::shared_ptr<const Overlay> overlay);
  // The removed overlay, or nullptr. Its memory is freed when the last sequence that attached it ends.
  std::shared_ptr<const Overlay> Remove(std::string_view name);
  std::shared_ptr<const Overlay> Find(std::string_view name) const;
  // kNotFound names the overlay and the field "engram.overlays[i]". In order.
  Result<std::vector<std::shared_ptr<const Overlay>>> FindAll(std::span<const std::string> names) const;
  std::vector<std::shared_ptr<const Overlay>> List() const;  // by name

 private:
  const std::shared_ptr<Reclaimer> reclaimer_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Overlay>, std::less<>> overlays_;  // guarded by mutex_
};

}  // namespace engram
