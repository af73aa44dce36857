// SPDX-License-Identifier: Apache-2.0
// The JSON bodies that change memory: commits, rollbacks, overlays.
#include <cmath>

#include "fuzz/fuzz_target.h"
#include "http/commit_body.h"
#include "http/json_body.h"
#include "http/overlay_body.h"

namespace engram {
namespace {

constexpr int32_t kNumTokens = 4096;
constexpr size_t kMaxEdits = 50;

void CheckEdit(const RowEdit& edit) {
  FUZZ_CHECK(edit.row.has_value() != edit.ngram.has_value());
  for (const float value : edit.values) FUZZ_CHECK(std::isfinite(value));
  if (edit.ngram)
    for (const int32_t id : edit.ngram->tokens) FUZZ_CHECK(id >= 0 && id < kNumTokens);
}

template <typename T>
void CheckError(const Result<T>& result) {
  if (!result) FUZZ_CHECK(!result.error().message.empty());
}

}  // namespace

ENGRAM_FUZZ_TARGET(edit_body, bytes) {
  static const auto tokenizer =
      Tokenizer::Load(std::string(ENGRAM_TEST_SOURCE_DIR) + "/tests/vectors/tokenizer.json").value();
  const TokenReader tokens{tokenizer.get(), kNumTokens};
  const auto body = ParseJsonObject(bytes);
  if (!body) {
    CheckError(body);
    return;
  }
  JsonFields commit_fields(*body);
  const auto commit = ReadCommitFields(commit_fields, tokens, kMaxEdits);
  CheckError(commit);
  if (commit) {
    FUZZ_CHECK(commit->request.edits.size() <= kMaxEdits);
    for (const RowEdit& edit : commit->request.edits) CheckEdit(edit);
  }
  JsonFields rollback_fields(*body);
  CheckError(ReadRollbackFields(rollback_fields));
  JsonFields overlay_fields(*body);
  CheckError(ReadOverlayFields(overlay_fields, tokens, kMaxEdits));
}

}  // namespace engram
