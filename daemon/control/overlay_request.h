// SPDX-License-Identifier: Apache-2.0
// What is asked of and answered by LiveMemory about overlays. Plain values.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/commit.h"
#include "core/sha256.h"

namespace engram {

struct OverlayRequest {
  // Holds for positions whose last tokens, compressed, equal the compressed suffix.
  struct Guarded {
    std::vector<int32_t> suffix;                    // token ids of the model, oldest first; 2 to 8
    std::map<uint32_t, std::vector<float>> memory;  // by model layer number: [columns * head_dim]; not empty
  };
  std::string name;           // 1 to 200 bytes of [A-Za-z0-9._-], not starting with a dot
  std::string actor;          // for the audit log
  std::vector<RowEdit> rows;  // mode set only; the overlay's rows, absolute
  std::vector<Guarded> guarded;
  std::vector<uint32_t> row_entries;      // [rows] each one's index in the client's list, for messages; empty: its own
  std::vector<uint32_t> guarded_entries;  // [guarded] likewise
  std::optional<std::chrono::milliseconds> ttl;  // from now; none: until deleted
};

struct OverlayInfo {
  std::string name;
  uint64_t rows = 0;
  uint64_t guarded = 0;
  uint64_t bytes = 0;     // what counts against the quotas
  Sha256Digest digest{};  // of its stored payload
  int64_t created_unix_ms = 0;
  std::optional<int64_t> expires_unix_ms;
};

// What a deletion did. The name is unknown to new requests from here on.
struct OverlayReceipt {
  OverlayInfo overlay;
  int64_t deleted_unix_ms = 0;
  // The payload's pages in the journal were overwritten with zeros, and the write-ahead log emptied.
  bool journal_erased = false;
  // Running sequences that attached it before; they keep it to their end, then its memory is freed.
  uint64_t still_attached = 0;
};

}  // namespace engram
