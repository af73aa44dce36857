// SPDX-License-Identifier: Apache-2.0
#include "memory/memory_view.h"

#include <algorithm>

namespace engram {

bool MemoryView::has_guarded() const {
  return std::any_of(overlays.begin(), overlays.end(), [](const auto& overlay) { return overlay->has_guarded(); });
}

const OverlayContent::Guarded* MemoryView::FindGuarded(std::span<const int32_t> tail) const {
  const OverlayContent::Guarded* best = nullptr;
  for (const auto& overlay : overlays) {
    const OverlayContent::Guarded* entry = overlay->FindGuarded(tail);
    if (entry != nullptr && (best == nullptr || entry->suffix.size() >= best->suffix.size())) best = entry;
  }
  return best;
}

bool MemoryView::patches(uint32_t layer) const {
  if (edits != nullptr && !edits->layers[layer].empty()) return true;
  return std::any_of(overlays.begin(), overlays.end(),
                     [layer](const auto& overlay) { return overlay->has_rows(layer); });
}

void MemoryView::FindRows(uint32_t layer, std::span<const uint64_t> ids, const uint8_t** found) const {
  std::fill_n(found, ids.size(), nullptr);
  if (edits != nullptr && !edits->layers[layer].empty()) {
    std::array<RowMap::Entry, RowMap::kFindRows> entries;
    for (size_t first = 0; first < ids.size(); first += entries.size()) {
      const std::span<const uint64_t> some = ids.subspan(first, std::min(entries.size(), ids.size() - first));
      edits->layers[layer].FindEach(some, entries.data());
      for (size_t i = 0; i < some.size(); ++i) found[first + i] = entries[i].bytes;
    }
  }
  for (const auto& overlay : overlays) {
    if (!overlay->has_rows(layer)) continue;
    for (size_t i = 0; i < ids.size(); ++i)
      if (const uint8_t* bytes = overlay->FindRow(layer, ids[i])) found[i] = bytes;
  }
}

void SuffixTail::Push(int32_t compressed_id) {
  std::copy(ids_.begin() + 1, ids_.end(), ids_.begin());
  ids_.back() = compressed_id;
  size_ = std::min(size_ + 1, kMaxSuffixTokens);
}

}  // namespace engram
