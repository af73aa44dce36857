// SPDX-License-Identifier: Apache-2.0
// ChainVerifier: walks one model's hash chain commit by commit and finds the first that is not what it was. The thread
// of its journal, which must outlive it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/result.h"
#include "journal/journal.h"

namespace engram {

class ChainVerifier {
 public:
  struct Findings {
    uint64_t commits_checked = 0;
    uint64_t commits_folded = 0;  // of these: without edits, by the digest of their content alone
    std::optional<uint64_t> bad_version;
    std::string problem;  // of bad_version
  };

  ChainVerifier(const Journal& journal, ModelRecord model);

  // Checks the next commit. True when there is no more to do: the end, or the first bad commit.
  Result<bool> Step();
  const Findings& findings() const { return findings_; }

 private:
  Result<bool> Bad(uint64_t version, std::string problem);
  const Journal* journal_;
  const ModelRecord model_;
  JournalHead last_;
  Findings findings_;
};

}  // namespace engram
