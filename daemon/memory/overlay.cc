// SPDX-License-Identifier: Apache-2.0
#include "memory/overlay.h"

#include <algorithm>
#include <bit>

namespace engram {

size_t Overlay::SuffixHash::operator()(std::span<const int32_t> suffix) const {
  uint64_t hash = suffix.size();
  for (const int32_t id : suffix) {
    hash = (hash ^ static_cast<uint32_t>(id)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return hash;
}

bool Overlay::SuffixEqual::operator()(std::span<const int32_t> a, std::span<const int32_t> b) const {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

Result<std::shared_ptr<const Overlay>> Overlay::Create(std::string name, OverlayContent content, uint32_t num_layers) {
  std::shared_ptr<Overlay> overlay(new Overlay());
  overlay->name_ = std::move(name);
  overlay->content_ = std::move(content);
  overlay->rows_.resize(num_layers);
  const auto twice = [&](const std::string& what, uint32_t first, uint32_t second) {
    return InvalidArgument("overlay \"" + overlay->name_ + "\": " + what + " " + std::to_string(first) + " and " +
                           std::to_string(second) + " are for the same " + (what == "rows" ? "row" : "suffix"));
  };
  // An entry of a hash map: its node and its share of the buckets.
  constexpr uint64_t kMapEntryBytes = 48;
  uint64_t num_bytes = sizeof(Overlay) + overlay->name_.size();
  for (uint32_t i = 0; i < overlay->content_.rows.size(); ++i) {
    const OverlayContent::Row& row = overlay->content_.rows[i];
    if (row.layer >= num_layers)
      return InvalidArgument("overlay \"" + overlay->name_ + "\": row " + std::to_string(i) + " is for layer index " +
                             std::to_string(row.layer) + " of " + std::to_string(num_layers));
    const auto [at, fresh] = overlay->rows_[row.layer].emplace(row.row, i);
    if (!fresh) return twice("rows", at->second, i);
    num_bytes += sizeof(row) + row.bytes.capacity() + kMapEntryBytes;
  }
  for (uint32_t i = 0; i < overlay->content_.guarded.size(); ++i) {
    const OverlayContent::Guarded& entry = overlay->content_.guarded[i];
    if (entry.suffix.size() < kMinSuffixTokens || entry.suffix.size() > kMaxSuffixTokens)
      return InvalidArgument("overlay \"" + overlay->name_ + "\": guarded entry " + std::to_string(i) +
                             " has a suffix of " + std::to_string(entry.suffix.size()) + " tokens, must have " +
                             std::to_string(kMinSuffixTokens) + " to " + std::to_string(kMaxSuffixTokens));
    const auto [at, fresh] = overlay->guarded_.emplace(entry.suffix, i);
    if (!fresh) return twice("guarded entries", at->second, i);
    overlay->suffix_lengths_ |= 1u << entry.suffix.size();
    num_bytes += sizeof(entry) + 2 * entry.suffix.size() * sizeof(int32_t) + kMapEntryBytes;
    for (const auto& [layer, vector] : entry.memory) num_bytes += vector.capacity() + kMapEntryBytes;
  }
  overlay->num_bytes_ = num_bytes;
  return std::shared_ptr<const Overlay>(std::move(overlay));
}

const uint8_t* Overlay::FindRow(uint32_t layer, uint64_t row) const {
  const auto found = rows_[layer].find(row);
  return found == rows_[layer].end() ? nullptr : content_.rows[found->second].bytes.data();
}

const OverlayContent::Guarded* Overlay::FindGuarded(std::span<const int32_t> tail) const {
  for (uint32_t lengths = suffix_lengths_; lengths != 0;) {
    const auto length = static_cast<uint32_t>(std::bit_width(lengths) - 1);
    lengths &= ~(1u << length);
    if (length > tail.size()) continue;
    if (const auto found = guarded_.find(tail.last(length)); found != guarded_.end())
      return &content_.guarded[found->second];
  }
  return nullptr;
}

void OverlayDirectory::Put(std::shared_ptr<const Overlay> overlay) {
  if (reclaimer_ != nullptr) overlay = reclaimer_->Track(std::move(overlay));
  const std::string& name = overlay->name();
  std::lock_guard lock(mutex_);
  // The former one leaves in `overlay`, after the lock.
  overlays_[name].swap(overlay);
}

std::shared_ptr<const Overlay> OverlayDirectory::Remove(std::string_view name) {
  std::lock_guard lock(mutex_);
  const auto found = overlays_.find(name);
  if (found == overlays_.end()) return nullptr;
  std::shared_ptr<const Overlay> removed = std::move(found->second);
  overlays_.erase(found);
  return removed;
}

std::shared_ptr<const Overlay> OverlayDirectory::Find(std::string_view name) const {
  std::lock_guard lock(mutex_);
  const auto found = overlays_.find(name);
  return found == overlays_.end() ? nullptr : found->second;
}

Result<std::vector<std::shared_ptr<const Overlay>>> OverlayDirectory::FindAll(
    std::span<const std::string> names) const {
  std::vector<std::shared_ptr<const Overlay>> result;
  result.reserve(names.size());
  for (const std::string& name : names) {
    auto overlay = Find(name);
    if (overlay == nullptr)
      return NotFound("overlay \"" + name.substr(0, 200) + "\" does not exist",
                      "engram.overlays[" + std::to_string(result.size()) + "]");
    result.push_back(std::move(overlay));
  }
  return result;
}

std::vector<std::shared_ptr<const Overlay>> OverlayDirectory::List() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const Overlay>> result;
  result.reserve(overlays_.size());
  for (const auto& [name, overlay] : overlays_) result.push_back(overlay);
  return result;
}

}  // namespace engram
