// SPDX-License-Identifier: Apache-2.0
#include "journal/commit_record.h"

#include "journal/number_list.h"

namespace engram {

Sha256Digest ContentDigest(std::span<const EditChunk> chunks) {
  Sha256 sha;
  sha.UpdateText("engram edits 1");
  for (const EditChunk& chunk : chunks) {
    sha.UpdateNumber(chunk.layer);
    sha.UpdateNumber(chunk.rows.size());
    sha.Update(PackNumbers(chunk.rows));
    sha.Update(chunk.flags);
    sha.Update(PackNumbers(chunk.before_versions));
    sha.UpdateNumber(chunk.after.size());
    sha.Update(chunk.after);
    sha.Update(chunk.before);
  }
  return sha.Finish();
}

Sha256Digest ChainDigest(const Sha256Digest& parent, const CommitRecord& commit) {
  Sha256 sha;
  sha.UpdateText("engram commit 1");
  sha.Update(parent);
  sha.UpdateNumber(commit.version);
  sha.UpdateNumber(commit.parent);
  sha.UpdateText(commit.kind);
  sha.UpdateText(commit.author);
  sha.UpdateText(commit.note);
  sha.UpdateText(commit.actor);
  sha.UpdateNumber(static_cast<uint64_t>(commit.unix_ms));
  sha.UpdateNumber(commit.num_rows);
  sha.UpdateNumber(commit.restores ? *commit.restores + 1 : 0);
  sha.UpdateNumber(commit.base_version);
  sha.UpdateText(commit.detail);
  sha.Update(commit.content);
  return sha.Finish();
}

Sha256Digest OriginDigest(std::string_view model, std::span<const OriginTable> tables) {
  Sha256 sha;
  sha.UpdateText("engram origin 1");
  sha.UpdateText(model);
  sha.UpdateNumber(tables.size());
  for (const OriginTable& table : tables) {
    sha.UpdateNumber(table.layer);
    sha.Update(table.digest);
  }
  return sha.Finish();
}

}  // namespace engram
