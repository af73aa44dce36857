// SPDX-License-Identifier: Apache-2.0
// What a journal's edits make of the rows of a model: its versions over the base in use, a rollback, a difference. All
// on thread "journal".
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "control/commit.h"
#include "core/result.h"
#include "journal/journal.h"
#include "memory/memory_edits.h"
#include "memory/model_memory.h"

namespace engram {

// Applies a commit's chunk to the edits over a base that holds `base_version`.
Status ApplyChunk(const ModelMemory& memory, uint64_t base_version, const CommitRecord& commit, const EditChunk& chunk,
                  MemoryEdits& edits);

// Versions `first` to `last`, ascending, each as edits over the base in use (model.base_version): later ones by what
// the commits wrote, earlier ones by what was there before them. All commits after `first` must have their edits.
Result<std::vector<std::shared_ptr<const MemoryEdits>>> RestoreVersions(const Journal& journal,
                                                                        const ModelRecord& model,
                                                                        const ModelMemory& memory, uint64_t first,
                                                                        uint64_t last);

// kNotFound for a version above `head`, the current one. `field` is the one at fault, here and below.
Status CheckExists(uint64_t version, uint64_t head, const char* field);
// Whether what lies between two versions is known: kFailedPrecondition where a table swap or folded edits do.
Status CheckSpan(const Journal& journal, const ModelRecord& model, uint64_t low, uint64_t high, const char* field);

// The edits that turn what `view` (the current version) shows into version `to`. kResourceExhausted above `max_rows`.
Result<std::vector<EditChunk>> BuildRollback(const Journal& journal, const ModelRecord& model,
                                             const ModelMemory& memory, const MemoryView& view, uint64_t to,
                                             uint64_t max_rows);

// After CheckSpan().
Result<DiffReport> BuildDiff(const Journal& journal, const ModelRecord& model, const ModelMemory& memory,
                             const DiffRequest& request);

}  // namespace engram
