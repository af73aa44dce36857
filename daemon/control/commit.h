// SPDX-License-Identifier: Apache-2.0
// What is asked of and answered by LiveMemory about commits and rows. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/sha256.h"

namespace engram {

// One change: of one row by its id, or of the rows an n-gram maps to.
struct RowEdit {
  enum class Mode { kSet, kAdd };
  // The rows of the n-gram's last `order` tokens, one per head.
  struct Ngram {
    std::vector<int32_t> tokens;  // token ids of the model, oldest first; at least `order`
    uint32_t order = 0;           // 2 to max_ngram_size; 0: the number of tokens
    std::vector<uint32_t> heads;  // distinct; empty: all
  };

  uint32_t layer = 0;           // model layer number
  std::optional<uint64_t> row;  // exactly one of row and ngram
  std::optional<Ngram> ngram;
  Mode mode = Mode::kSet;
  // Exactly one of values and data. [head_dim]: the same for every head; or [heads * head_dim].
  std::vector<float> values;
  // Stored bytes, taken bit for bit; kSet only. [row_bytes] or [heads * row_bytes].
  std::vector<uint8_t> data;
};

// The same key with the same body is answered as the first time, without a second commit; with another body it is
// refused (kFailedPrecondition). Keys are remembered for a day and 10,000 commits, whichever ends first.
struct IdempotencyKey {
  std::string key;  // 1 to 255 bytes
  Sha256Digest body{};
};

struct CommitRequest {
  std::string author;
  std::string note;
  std::string actor;                   // for the audit log: the API key's name
  std::optional<uint64_t> if_version;  // kFailedPrecondition when the current version is another
  std::optional<IdempotencyKey> idempotency;
  // One edit per row: two that meet in a row are refused, also two of mode add, with both indexes.
  std::vector<RowEdit> edits;
};

struct CommitAnswer {
  uint64_t version = 0;
  uint64_t parent = 0;
  uint64_t rows = 0;
  Sha256Digest digest{};
  int64_t unix_ms = 0;
  bool repeated = false;  // the answer of an earlier request with this idempotency key
};

struct RollbackRequest {
  uint64_t to = 0;  // 0: the base as it was first served
  std::string author;
  std::string note;
  std::string actor;
  std::optional<uint64_t> if_version;
  std::optional<IdempotencyKey> idempotency;
};

enum class CommitKind { kCommit, kRollback, kTableSwap };
const char* CommitKindName(CommitKind kind);  // "commit", "rollback", "table_swap"

struct CommitInfo {
  uint64_t version = 0;
  uint64_t parent = 0;
  CommitKind kind = CommitKind::kCommit;
  std::string author;
  std::string note;
  std::string actor;
  int64_t unix_ms = 0;
  uint64_t rows = 0;
  Sha256Digest digest{};
  std::optional<uint64_t> restores;  // kRollback: the version whose rows it brought back
  bool edits_kept = true;            // false: compaction folded its rows away; the chain still holds its digest
};

// One row as some version shows it.
struct RowState {
  std::vector<float> values;  // [head_dim]
  double norm = 0;            // Euclidean
  bool edited = false;        // false: the row comes from the base tables
  uint64_t version = 0;       // the commit that wrote it; for a base row the version folded into the base, 0 at first
};

struct DiffRequest {
  uint64_t from = 0;
  uint64_t to = 0;
  // Of the differing rows, in order of layer and row, `limit` (1 to 10,000) from `offset` on.
  uint64_t offset = 0;
  uint64_t limit = 1000;
};

struct DiffReport {
  struct Row {
    uint32_t layer = 0;
    uint64_t row = 0;
    RowState before;  // at `from`
    RowState after;   // at `to`
  };
  uint64_t total = 0;  // rows touched between the two versions, also where the later change undid the earlier
  std::vector<Row> rows;
};

struct RowsReport {
  struct Row {
    uint64_t row = 0;
    RowState state;
  };
  uint64_t version = 0;  // the version these rows are of
  std::vector<Row> rows;
};

// What a commit would do.
struct PlanReport {
  struct Row {
    uint32_t edit = 0;  // index into the request
    uint32_t layer = 0;
    uint64_t row = 0;
    RowState before;
    double norm_after = 0;
    bool changes = false;               // false: the bytes stay as they are
    std::vector<std::string> overlays;  // that replace the same row, so hide this edit from their users
  };
  // A known n-gram, other than those the request names, which reads one of the rows.
  struct SharedNgram {
    std::vector<int32_t> tokens;  // as first seen in the text
    uint64_t count = 0;           // times seen
    uint64_t rows = 0;            // how many of the edited rows it reads, over layers and heads
  };
  uint64_t version = 0;  // what it was planned on
  uint64_t rows_changed = 0;
  std::vector<Row> rows;  // in order of edits, then heads
  // From the n-gram index, most frequent first, at most 100; empty without one.
  std::vector<SharedNgram> ngrams;
  uint64_t ngrams_found = 0;  // all of them, in the sample
  double ngram_sample = 0;    // the part of the text's distinct n-grams the index holds, 0 to 1; 0: no index
};

}  // namespace engram
