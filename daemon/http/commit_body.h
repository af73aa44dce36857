// SPDX-License-Identifier: Apache-2.0
// The body of POST /admin/v1/commits as JSON or as safetensors, and of POST /admin/v1/rollback. Pure functions; any
// thread. Errors are kInvalidArgument with the field.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/commit.h"
#include "core/result.h"
#include "http/edit_fields.h"
#include "http/json_fields.h"

namespace engram {

struct CommitBody {
  CommitRequest request;  // all but actor, idempotency and, where the body has none, author
  bool plan = false;
};

// The fields of a JSON body but "model", which the caller has taken. At most `max_edits` edits.
Result<CommitBody> ReadCommitFields(JsonFields& fields, const TokenReader& tokens, size_t max_edits);

// A safetensors file: tensors layer.L.rows (I64 [n]) and layer.L.values (F32, F16 or BF16 [n, head_dim]) or
// layer.L.data (U8 [n, row_bytes]), in `__metadata__` the strings note, author, mode, if_version, plan. `places` says
// where each edit came from.
struct TensorCommit {
  CommitBody body;
  struct Place {
    uint32_t layer = 0;
    size_t first_edit = 0;
  };
  std::vector<Place> places;  // ascending by first_edit
};
Result<TensorCommit> ReadCommitTensors(std::string_view file, size_t max_edits);
// An error about "edits[17].values" in terms of the tensors: "layer.1.values[3]".
Error InTensorTerms(Error error, const std::vector<TensorCommit::Place>& places);

// The fields of a rollback but "model".
Result<RollbackRequest> ReadRollbackFields(JsonFields& fields);

}  // namespace engram
