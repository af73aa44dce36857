// SPDX-License-Identifier: Apache-2.0
// A commit as the journal keeps it, and the rule of its digests (docs/formats.md). Plain values and pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/sha256.h"

namespace engram {

// EditChunk::flags, one byte per row.
inline constexpr uint8_t kBeforeIsBase = 1;  // before the commit the row came from the base tables
inline constexpr uint8_t kAfterIsBase = 2;   // afterwards it does; the base is that of CommitRecord::base_version

// Up to kRows edited rows of one layer. A commit's chunks ascend by layer, then row; all but a layer's last are full.
struct EditChunk {
  static constexpr size_t kRows = 1024;

  uint32_t layer = 0;                     // model layer number
  std::vector<uint64_t> rows;             // [n] ascending
  std::vector<uint8_t> flags;             // [n]
  std::vector<uint64_t> before_versions;  // [n] the commit that had written the row; 0: the base
  std::vector<uint8_t> after;             // [n][row_bytes], also of rows that are base again
  std::vector<uint8_t> before;            // [n][row_bytes]
};

struct CommitRecord {
  uint64_t version = 0;
  uint64_t parent = 0;
  std::string kind;
  std::string author;
  std::string note;
  std::string actor;
  int64_t unix_ms = 0;
  uint64_t num_rows = 0;
  std::optional<uint64_t> restores;
  uint64_t base_version = 0;  // the version the base tables held when it was made
  std::string detail;         // of a table swap: what was swapped, as JSON; else empty
  Sha256Digest content{};     // ContentDigest()
  Sha256Digest digest{};      // ChainDigest() over the parent's
  bool edits_kept = true;
};

// Of all chunks in order.
Sha256Digest ContentDigest(std::span<const EditChunk> chunks);

// Everything in `commit` but digest and edits_kept, bound to its parent.
Sha256Digest ChainDigest(const Sha256Digest& parent, const CommitRecord& commit);

// The chain's start: what version 0 is.
struct OriginTable {
  uint32_t layer = 0;
  Sha256Digest digest{};
};
Sha256Digest OriginDigest(std::string_view model, std::span<const OriginTable> tables);

}  // namespace engram
