// SPDX-License-Identifier: Apache-2.0
// From what a client asks (RowEdit) to the rows it changes and their stored bytes. Pure functions but for
// BuildChunks(), which reads rows. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/commit.h"
#include "core/result.h"
#include "journal/commit_record.h"
#include "memory/model_memory.h"

namespace engram {

struct ResolvedEdit {
  uint32_t edit = 0;         // index into the request
  uint32_t layer_index = 0;  // into memory.layers()
  uint64_t row = 0;
  bool add = false;
  size_t at = 0;  // set: offset into `bytes`; add: offset into `values`
};

struct ResolvedEdits {
  std::vector<ResolvedEdit> rows;  // in order of the request, then heads
  std::vector<uint8_t> bytes;      // stored rows to set
  std::vector<float> values;       // [head_dim] each, to add
};

struct EditNames {
  std::string list = "edits";
  std::vector<uint32_t> entries;  // the index a client knows each edit by; empty: its own
  std::string Of(size_t edit) const;
};

// Checks every edit and encodes what it sets. Errors carry the field, such as "edits[17].values". Two edits of one row,
// and more than `max_rows` rows, are refused.
Result<ResolvedEdits> ResolveEdits(const ModelMemory& memory, std::span<const RowEdit> edits, uint64_t max_rows,
                                   const EditNames& names);

// The index into memory.layers(); kInvalidArgument lists the layers there are.
Result<uint32_t> LayerIndex(const ModelMemory& memory, uint32_t layer, const std::string& field);

// Collects edited rows, which must come in order of layer and row, into the journal's chunks.
class ChunkBuilder {
 public:
  void Add(uint32_t layer, uint64_t row, uint8_t flags, uint64_t before_version, std::span<const uint8_t> after,
           std::span<const uint8_t> before);
  uint64_t num_rows() const { return num_rows_; }
  std::vector<EditChunk> Take() { return std::move(chunks_); }

 private:
  std::vector<EditChunk> chunks_;
  uint64_t num_rows_ = 0;
};

// A row as a view shows it, without its bytes.
struct RowOrigin {
  bool is_base = true;
  uint64_t version = 0;  // the commit that wrote it; 0: the base
};
RowOrigin OriginOf(const MemoryView& view, uint32_t layer_index, uint64_t row);

// What the edits make of the rows `view` shows. Errors of adding carry the edit's field.
Result<std::vector<EditChunk>> BuildChunks(const ModelMemory& memory, const MemoryView& view,
                                           const ResolvedEdits& resolved, const EditNames& names);

// Euclidean norm.
double Norm(std::span<const float> values);

}  // namespace engram
