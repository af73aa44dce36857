// SPDX-License-Identifier: Apache-2.0
#include "journal/chain_verifier.h"

#include <utility>
#include <vector>

namespace engram {

ChainVerifier::ChainVerifier(const Journal& journal, ModelRecord model)
    : journal_(&journal), model_(std::move(model)), last_{0, model_.origin_digest()} {}

Result<bool> ChainVerifier::Bad(uint64_t version, std::string problem) {
  findings_.bad_version = version;
  findings_.problem = std::move(problem);
  return true;
}

Result<bool> ChainVerifier::Step() {
  const uint64_t version = last_.version + 1;
  ENGRAM_TRY(const std::optional<CommitRecord> found, journal_->FindCommit(model_, version));
  if (!found) {
    ENGRAM_TRY(const JournalHead head, journal_->Head(model_));
    if (head.version > version) return Bad(version, "the commit is missing");
    return true;
  }
  const CommitRecord& commit = *found;
  if (commit.parent != last_.version) return Bad(version, "its parent is " + std::to_string(commit.parent));
  if (commit.edits_kept) {
    std::vector<EditChunk> chunks;
    uint64_t rows = 0;
    const Status read =
        journal_->ForEachChunk(model_, last_.version, version, Journal::Order::kOldestFirst,
                               Journal::kAfter | Journal::kBefore, [&](const CommitRecord&, EditChunk chunk) -> Status {
                                 rows += chunk.rows.size();
                                 chunks.push_back(std::move(chunk));
                                 return {};
                               });
    if (!read && read.error().code == ErrorCode::kDataLoss) return Bad(version, read.error().message);
    ENGRAM_CHECK_OK(read);
    if (rows != commit.num_rows)
      return Bad(version,
                 "it has " + std::to_string(rows) + " edited rows, its record says " + std::to_string(commit.num_rows));
    if (ContentDigest(chunks) != commit.content) return Bad(version, "its edits are not those it was made with");
  } else {
    ++findings_.commits_folded;
  }
  const Sha256Digest digest = ChainDigest(last_.digest, commit);
  if (digest != commit.digest)
    return Bad(version, "its record does not match its digest, or an earlier commit was replaced");
  last_ = {version, digest};
  ++findings_.commits_checked;
  return false;
}

}  // namespace engram
