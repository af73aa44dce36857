// SPDX-License-Identifier: Apache-2.0
// MemoryView: the memory one sequence sees from its first token to its last: a base, the edits of one version,
// overlays. A value of shared, immutable parts; any thread. What it holds stays alive with it, whatever is committed,
// rolled back, deleted or swapped meanwhile.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "memory/memory_edits.h"
#include "memory/overlay.h"

namespace engram {

class BaseTables;  // memory/base_tables.h
class TokenRows;   // memory/token_rows.h

struct MemoryView {
  std::shared_ptr<BaseTables> base;
  std::shared_ptr<const MemoryEdits> edits;
  std::vector<std::shared_ptr<const Overlay>> overlays;  // later ones win

  uint64_t version() const { return edits == nullptr ? 0 : edits->version; }
  bool has_guarded() const;
  // The guarded entry that holds after `tail` (compressed ids, oldest first), or nullptr. Of several overlays the
  // longest suffix wins, among equals the later overlay.
  const OverlayContent::Guarded* FindGuarded(std::span<const int32_t> tail) const;
  // Whether FindRows() of the layer finds anything at all.
  bool patches(uint32_t layer) const;
  // What the view has in place of the base's rows ids[i] of a layer: found[i] is [row_bytes], valid as long as the
  // view, or nullptr: the base's row. An overlay's row wins over an edited one, a later overlay's over an earlier
  // one's.
  void FindRows(uint32_t layer, std::span<const uint64_t> ids, const uint8_t** found) const;
};

// A guarded entry that holds at one token.
struct GuardedMatch {
  uint32_t token = 0;                              // which: an index that the holder of the match defines
  const OverlayContent::Guarded* entry = nullptr;  // an overlay's of the view it was found with
};

// The last compressed ids of a sequence: what guarded entries are looked up by. A value: a fork copies it.
class SuffixTail {
 public:
  void Push(int32_t compressed_id);
  std::span<const int32_t> ids() const { return std::span(ids_).last(size_); }  // oldest first

 private:
  std::array<int32_t, kMaxSuffixTokens> ids_{};
  uint32_t size_ = 0;
};

// The rows one run of consecutive tokens of a batch needs. What it refers to is valid until EndBatch().
struct BatchRowIds {
  uint32_t first_token = 0;  // index in the batch
  uint32_t num_tokens = 0;
  const uint64_t* ids = nullptr;  // [num_tokens][num_layers][num_columns]
  const MemoryView* view = nullptr;
  // Ascending; each replaces the whole memory vector of its layers at token `match.token - guarded_from` of the run.
  std::span<const GuardedMatch> guarded;
  uint32_t guarded_from = 0;
  TokenRows* asked = nullptr;  // the rows of its one token, if they were asked for before
};

}  // namespace engram
