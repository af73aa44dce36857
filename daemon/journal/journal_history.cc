// SPDX-License-Identifier: Apache-2.0
// Commits, their edits, and the answers that are not given twice.
#include <algorithm>

#include "journal/columns.h"
#include "journal/journal.h"
#include "journal/number_list.h"

namespace engram {
namespace {

constexpr int64_t kIdempotencyMs = 24 * 3600 * 1000;
constexpr uint64_t kIdempotencyCommits = 10'000;

#define ENGRAM_COMMIT_COLUMNS                                                                                \
  "version, parent, kind, author, note, actor, unix_ms, num_rows, restores, base_version, detail, content, " \
  "digest, edits_kept"

Result<CommitRecord> ReadCommit(const Database& database, const Statement& row) {
  CommitRecord commit;
  commit.version = NumberColumn(row, 0);
  commit.parent = NumberColumn(row, 1);
  commit.kind = row.Text(2);
  commit.author = row.Text(3);
  commit.note = row.Text(4);
  commit.actor = row.Text(5);
  commit.unix_ms = row.Int(6);
  commit.num_rows = NumberColumn(row, 7);
  if (!row.IsNull(8)) commit.restores = NumberColumn(row, 8);
  commit.base_version = NumberColumn(row, 9);
  commit.detail = row.Text(10);
  ENGRAM_TRY(commit.content, DigestColumn(database, row, 11));
  ENGRAM_TRY(commit.digest, DigestColumn(database, row, 12));
  commit.edits_kept = row.Int(13) != 0;
  return commit;
}

std::vector<uint8_t> Bytes(std::span<const uint8_t> bytes) {
  return {bytes.begin(), bytes.end()};
}

}  // namespace

Result<JournalHead> Journal::Head(const ModelRecord& model) const {
  ENGRAM_TRY(Statement query, database_->Prepare("SELECT version, digest FROM commits WHERE model=?1 ORDER BY version "
                                                 "DESC LIMIT 1"));
  ENGRAM_TRY(const bool found, query.Bind(1, model.id).Step());
  JournalHead head;
  if (!found) {
    head.digest = model.origin_digest();
    return head;
  }
  head.version = NumberColumn(query, 0);
  ENGRAM_TRY(head.digest, DigestColumn(*database_, query, 1));
  return head;
}

Result<JournalHead> Journal::Append(const ModelRecord& model, const JournalHead& head, NewCommit commit) {
  CommitRecord& record = commit.record;
  record.content = ContentDigest(commit.chunks);
  record.digest = ChainDigest(head.digest, record);
  Fault("commit.begin");
  ENGRAM_TRY(Transaction transaction, Transaction::Begin(*database_));
  ENGRAM_TRY(Statement insert,
             database_->Prepare("INSERT INTO commits (model, " ENGRAM_COMMIT_COLUMNS
                                ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 1)"));
  insert.Bind(1, model.id).Bind(2, record.version).Bind(3, record.parent).Bind(4, record.kind).Bind(5, record.author);
  insert.Bind(6, record.note).Bind(7, record.actor).Bind(8, record.unix_ms).Bind(9, record.num_rows);
  insert.Bind(10, record.restores).Bind(11, record.base_version).Bind(12, record.detail);
  ENGRAM_CHECK_OK(insert.BindBlob(13, record.content).BindBlob(14, record.digest).Run());
  ENGRAM_CHECK_OK(InsertChunks(model, commit));
  if (commit.idempotency) {
    ENGRAM_TRY(Statement answer, database_->Prepare("INSERT INTO idempotency (model, key, body, version, unix_ms) "
                                                    "VALUES (?1, ?2, ?3, ?4, ?5)"));
    answer.Bind(1, model.id).Bind(2, commit.idempotency->key).BindBlob(3, commit.idempotency->body);
    ENGRAM_CHECK_OK(answer.Bind(4, record.version).Bind(5, record.unix_ms).Run());
    ENGRAM_TRY(Statement forget,
               database_->Prepare("DELETE FROM idempotency WHERE model=?1 AND (unix_ms<?2 OR version<?3)"));
    const uint64_t oldest = record.version > kIdempotencyCommits ? record.version - kIdempotencyCommits : 0;
    ENGRAM_CHECK_OK(forget.Bind(1, model.id).Bind(2, record.unix_ms - kIdempotencyMs).Bind(3, oldest).Run());
  }
  if (commit.table) {
    ENGRAM_CHECK_OK(PutTable(model, *commit.table));
    ENGRAM_TRY(Statement floor, database_->Prepare("UPDATE models SET floor_version=?2 WHERE id=?1"));
    ENGRAM_CHECK_OK(floor.Bind(1, model.id).Bind(2, record.version).Run());
  }
  ENGRAM_CHECK_OK(
      InsertAudit({0, record.unix_ms, record.actor, record.kind, "version " + std::to_string(record.version)}));
  Fault("commit.written");
  ENGRAM_CHECK_OK(transaction.Commit());
  Fault("commit.durable");
  return JournalHead{record.version, record.digest};
}

Status Journal::InsertChunks(const ModelRecord& model, const NewCommit& commit) {
  ENGRAM_TRY(Statement insert, database_->Prepare("INSERT INTO edits (model, version, chunk, layer, row_ids, flags, "
                                                  "before_versions, after_rows, before_rows) VALUES (?1, ?2, ?3, ?4, "
                                                  "?5, ?6, ?7, ?8, ?9)"));
  for (size_t i = 0; i < commit.chunks.size(); ++i) {
    const EditChunk& chunk = commit.chunks[i];
    insert.Bind(1, model.id).Bind(2, commit.record.version).Bind(3, i).Bind(4, chunk.layer);
    insert.BindBlob(5, PackNumbers(chunk.rows))
        .BindBlob(6, chunk.flags)
        .BindBlob(7, PackNumbers(chunk.before_versions));
    ENGRAM_CHECK_OK(insert.BindBlob(8, chunk.after).BindBlob(9, chunk.before).Run());
    Fault("commit.chunk");
  }
  return {};
}

Result<std::optional<CommitRecord>> Journal::FindCommit(const ModelRecord& model, uint64_t version) const {
  ENGRAM_TRY(Statement query,
             database_->Prepare("SELECT " ENGRAM_COMMIT_COLUMNS " FROM commits WHERE model=?1 AND version=?2"));
  ENGRAM_TRY(const bool found, query.Bind(1, model.id).Bind(2, version).Step());
  if (!found) return std::optional<CommitRecord>();
  ENGRAM_TRY(CommitRecord commit, ReadCommit(*database_, query));
  return std::optional<CommitRecord>(std::move(commit));
}

Result<std::vector<CommitRecord>> Journal::ListCommits(const ModelRecord& model, uint64_t limit,
                                                       uint64_t before) const {
  ENGRAM_TRY(Statement query, database_->Prepare("SELECT " ENGRAM_COMMIT_COLUMNS
                                                 " FROM commits WHERE model=?1 AND version<?2 ORDER BY version DESC "
                                                 "LIMIT ?3"));
  query.Bind(1, model.id).Bind(2, std::min<uint64_t>(before, INT64_MAX)).Bind(3, limit);
  std::vector<CommitRecord> commits;
  for (;;) {
    ENGRAM_TRY(const bool row, query.Step());
    if (!row) return commits;
    ENGRAM_TRY(CommitRecord commit, ReadCommit(*database_, query));
    commits.push_back(std::move(commit));
  }
}

Result<std::optional<IdempotencyRecord>> Journal::FindAnswer(const ModelRecord& model, std::string_view key) const {
  ENGRAM_TRY(Statement query, database_->Prepare("SELECT body, version FROM idempotency WHERE model=?1 AND key=?2"));
  ENGRAM_TRY(const bool found, query.Bind(1, model.id).Bind(2, key).Step());
  if (!found) return std::optional<IdempotencyRecord>();
  IdempotencyRecord record;
  record.key = key;
  ENGRAM_TRY(record.body, DigestColumn(*database_, query, 0));
  record.version = NumberColumn(query, 1);
  return std::optional<IdempotencyRecord>(std::move(record));
}

Status Journal::ForEachChunk(const ModelRecord& model, uint64_t after, uint64_t up_to, Order order, unsigned parts,
                             const VisitChunk& visit) const {
  const bool newest_first = order == Order::kNewestFirst;
  ENGRAM_TRY(Statement commits,
             database_->Prepare(std::string("SELECT " ENGRAM_COMMIT_COLUMNS
                                            " FROM commits WHERE model=?1 AND version>?2 AND version<=?3 "
                                            "ORDER BY version ") +
                                (newest_first ? "DESC" : "ASC")));
  ENGRAM_TRY(Statement chunks, database_->Prepare("SELECT layer, row_ids, flags, before_versions, after_rows, "
                                                  "before_rows FROM edits WHERE model=?1 AND version=?2 ORDER BY "
                                                  "chunk"));
  commits.Bind(1, model.id).Bind(2, after).Bind(3, up_to);
  for (;;) {
    ENGRAM_TRY(const bool found, commits.Step());
    if (!found) return {};
    ENGRAM_TRY(const CommitRecord commit, ReadCommit(*database_, commits));
    chunks.Bind(1, model.id).Bind(2, commit.version);
    for (;;) {
      ENGRAM_TRY(const bool more, chunks.Step());
      if (!more) break;
      EditChunk chunk;
      chunk.layer = static_cast<uint32_t>(chunks.Int(0));
      chunk.rows = UnpackNumbers(chunks.Blob(1));
      chunk.flags = Bytes(chunks.Blob(2));
      chunk.before_versions = UnpackNumbers(chunks.Blob(3));
      // A column that is not asked for is not read from the disk.
      if ((parts & kAfter) != 0) chunk.after = Bytes(chunks.Blob(4));
      if ((parts & kBefore) != 0) chunk.before = Bytes(chunks.Blob(5));
      const size_t n = chunk.rows.size();
      const size_t bytes = n * model.row_bytes;
      if (chunk.flags.size() != n || chunk.before_versions.size() != n ||
          ((parts & kAfter) != 0 && chunk.after.size() != bytes) ||
          ((parts & kBefore) != 0 && chunk.before.size() != bytes))
        return DataLoss(database_->place() + ": version " + std::to_string(commit.version) +
                        ": an edit's rows, flags and bytes have different lengths");
      ENGRAM_CHECK_OK(visit(commit, std::move(chunk)));
    }
    chunks.Reset();
  }
}

Result<uint64_t> Journal::EditsKeptAfter(const ModelRecord& model) const {
  ENGRAM_TRY(Statement query, database_->Prepare("SELECT coalesce(max(version), 0) FROM commits WHERE model=?1 AND "
                                                 "edits_kept=0"));
  ENGRAM_CHECK_OK(query.Bind(1, model.id).Step());
  return NumberColumn(query, 0);
}

Result<uint64_t> Journal::DropEdits(const ModelRecord& model, uint64_t up_to, uint64_t max_commits) {
  ENGRAM_TRY(const uint64_t kept_after, EditsKeptAfter(model));
  if (kept_after >= up_to) return uint64_t{0};
  const uint64_t last = std::min(up_to, kept_after + max_commits);
  ENGRAM_TRY(Transaction transaction, Transaction::Begin(*database_));
  ENGRAM_TRY(Statement drop, database_->Prepare("DELETE FROM edits WHERE model=?1 AND version<=?2"));
  ENGRAM_CHECK_OK(drop.Bind(1, model.id).Bind(2, last).Run());
  ENGRAM_TRY(Statement mark, database_->Prepare("UPDATE commits SET edits_kept=0 WHERE model=?1 AND version<=?2 AND "
                                                "edits_kept=1"));
  ENGRAM_CHECK_OK(mark.Bind(1, model.id).Bind(2, last).Run());
  Fault("drop.written");
  ENGRAM_CHECK_OK(transaction.Commit());
  return last - kept_after;
}

}  // namespace engram
