// SPDX-License-Identifier: Apache-2.0
// A commit as a safetensors file. Choice: 0 the file as it is; 1 its header, before zeros.
#include <string>

#include "fuzz/fuzz_target.h"
#include "http/commit_body.h"

namespace engram {

ENGRAM_FUZZ_TARGET(commit_tensors, bytes) {
  constexpr size_t kMaxEdits = 100;
  FuzzInput input(bytes);
  std::string file;
  if (input.Choice(2) == 1) {
    for (int i = 0; i < 8; ++i) file += static_cast<char>(input.Rest().size() >> (8 * i));
    file.append(input.Rest()).append(2048, '\0');
  } else {
    file = input.Rest();
  }
  const auto commit = ReadCommitTensors(file, kMaxEdits);
  if (!commit) {
    FUZZ_CHECK(!commit.error().message.empty());
    return;
  }
  const std::vector<RowEdit>& edits = commit->body.request.edits;
  FUZZ_CHECK(edits.size() <= kMaxEdits);
  for (size_t i = 0; i < edits.size(); ++i) {
    FUZZ_CHECK(edits[i].row && !edits[i].ngram);
    const Error error =
        InTensorTerms(InvalidArgument("wrong", "edits[" + std::to_string(i) + "].values[3]"), commit->places);
    FUZZ_CHECK(error.field.starts_with("layer."));
  }
}

}  // namespace engram
