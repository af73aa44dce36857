// SPDX-License-Identifier: Apache-2.0
#include "access/access_database.h"

#include <algorithm>
#include <sstream>
#include <string>

#include "journal/columns.h"

namespace engram {
namespace {

constexpr int kApplicationId = 0x454e4741;  // "ENGA"
constexpr int kSchemaVersion = 1;
// Pages of the write-ahead log before it is written back.
constexpr int kWalPages = 1000;

// Counting what is kept reads an index of that many entries: not at every change.
constexpr uint64_t kPruneEvery = 256;
constexpr const char* kSchema = R"sql(
CREATE TABLE keys (
  id TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL,
  sha256 BLOB NOT NULL UNIQUE,
  prefix TEXT NOT NULL,
  scopes TEXT NOT NULL,
  overlays TEXT NOT NULL,
  requests_per_s REAL NOT NULL,
  tokens_per_s REAL NOT NULL,
  created_ms INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_ms INTEGER,
  revoked_ms INTEGER,
  last_used_ms INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE UNIQUE INDEX names_in_use ON keys (name) WHERE revoked_ms IS NULL;
CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  unix_ms INTEGER NOT NULL,
  key_id TEXT NOT NULL,
  key_name TEXT NOT NULL,
  address TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  status INTEGER NOT NULL,
  detail TEXT NOT NULL
);
CREATE INDEX audit_failures ON audit (id) WHERE status IN (401, 403);
)sql";

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::vector<std::string> Words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::optional<int64_t> MaybeInt(const Statement& row, int column) {
  if (row.IsNull(column)) return std::nullopt;
  return row.Int(column);
}

}  // namespace

Result<std::unique_ptr<AccessDatabase>> AccessDatabase::Open(const std::filesystem::path& path) {
  ENGRAM_TRY(auto database, Database::Open({.path = path}));
  std::unique_ptr<AccessDatabase> opened(new AccessDatabase(std::move(database)));
  ENGRAM_CHECK_OK(opened->Migrate());
  return opened;
}

Status AccessDatabase::Migrate() {
  ENGRAM_TRY(const int64_t version, database_->QueryInt("PRAGMA user_version"));
  ENGRAM_TRY(const int64_t application, database_->QueryInt("PRAGMA application_id"));
  ENGRAM_TRY(const int64_t objects, database_->QueryInt("SELECT count(*) FROM sqlite_schema"));
  const bool empty = version == 0 && application == 0 && objects == 0;
  if (!empty && application != kApplicationId)
    return DataLoss(database_->place() + ": an SQLite database, but not of keys (application_id " +
                    std::to_string(application) + ")");
  if (version > kSchemaVersion)
    return FailedPrecondition(database_->place() + ": the keys have schema " + std::to_string(version) +
                              ", written by a newer engramd; this one knows " + std::to_string(kSchemaVersion));
  if (version == kSchemaVersion) return {};
  ENGRAM_TRY(Transaction transaction, Transaction::Begin(*database_));
  ENGRAM_CHECK_OK(database_->Execute(kSchema));
  ENGRAM_CHECK_OK(database_->Execute(("PRAGMA application_id=" + std::to_string(kApplicationId) +
                                      "; PRAGMA user_version=" + std::to_string(kSchemaVersion))
                                         .c_str()));
  return transaction.Commit();
}

Result<std::vector<AccessKey>> AccessDatabase::ListKeys() const {
  ENGRAM_TRY(Statement query,
             database_->Prepare("SELECT id, name, sha256, prefix, scopes, overlays, requests_per_s, tokens_per_s, "
                                "created_ms, created_by, expires_ms, revoked_ms, last_used_ms FROM keys ORDER BY "
                                "created_ms, id"));
  std::vector<AccessKey> keys;
  for (;;) {
    ENGRAM_TRY(const bool row, query.Step());
    if (!row) return keys;
    AccessKey key;
    key.source = AccessKey::Source::kJournal;
    key.id = query.Text(0);
    key.name = query.Text(1);
    ENGRAM_TRY(key.sha256, DigestColumn(*database_, query, 2));
    key.prefix = query.Text(3);
    auto scopes = ParseScopes(Words(query.Text(4)));
    if (!scopes) return DataLoss(database_->place() + ": key " + key.id + ": " + scopes.error().message);
    key.scopes = *scopes;
    key.overlays = Words(query.Text(5));
    key.requests_per_s = query.Real(6);
    key.tokens_per_s = query.Real(7);
    key.created_ms = query.Int(8);
    key.created_by = query.Text(9);
    key.expires_ms = MaybeInt(query, 10);
    key.revoked_ms = MaybeInt(query, 11);
    key.last_used_ms->store(query.Int(12));
    keys.push_back(std::move(key));
  }
}

Status AccessDatabase::AddKey(const AccessKey& key) {
  ENGRAM_TRY(Statement insert,
             database_->Prepare("INSERT INTO keys (id, name, sha256, prefix, scopes, overlays, requests_per_s, "
                                "tokens_per_s, created_ms, created_by, expires_ms, revoked_ms) VALUES (?1, ?2, ?3, ?4, "
                                "?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"));
  const std::string scopes = Joined(ScopeNames(key.scopes)), overlays = Joined(key.overlays);
  insert.Bind(1, key.id).Bind(2, key.name).BindBlob(3, key.sha256).Bind(4, key.prefix).Bind(5, scopes);
  insert.Bind(6, overlays).BindReal(7, key.requests_per_s).BindReal(8, key.tokens_per_s).Bind(9, key.created_ms);
  return insert.Bind(10, key.created_by).Bind(11, key.expires_ms).Bind(12, key.revoked_ms).Run();
}

Status AccessDatabase::RevokeKey(std::string_view id, int64_t unix_ms, uint64_t keep_revoked) {
  ENGRAM_TRY(Transaction transaction, Transaction::Begin(*database_));
  ENGRAM_TRY(Statement revoke, database_->Prepare("UPDATE keys SET revoked_ms=coalesce(revoked_ms, ?2) WHERE id=?1"));
  ENGRAM_CHECK_OK(revoke.Bind(1, id).Bind(2, unix_ms).Run());
  ENGRAM_TRY(Statement forget,
             database_->Prepare("DELETE FROM keys WHERE id IN (SELECT id FROM keys WHERE revoked_ms IS NOT NULL ORDER "
                                "BY revoked_ms DESC, id LIMIT -1 OFFSET ?1)"));
  ENGRAM_CHECK_OK(forget.Bind(1, keep_revoked).Run());
  return transaction.Commit();
}

Status AccessDatabase::SetLastUsed(std::span<const std::pair<std::string, int64_t>> uses) {
  ENGRAM_TRY(Transaction transaction, Transaction::Begin(*database_));
  ENGRAM_TRY(Statement update, database_->Prepare("UPDATE keys SET last_used_ms=max(last_used_ms, ?2) WHERE id=?1"));
  for (const auto& [id, unix_ms] : uses) ENGRAM_CHECK_OK(update.Bind(1, id).Bind(2, unix_ms).Run());
  return transaction.Commit();
}

Status AccessDatabase::AddAudit(std::span<const AuditEntry> entries, const AuditRetention& retention, int64_t now_ms) {
  ENGRAM_TRY(Transaction transaction, Transaction::Begin(*database_));
  ENGRAM_TRY(Statement insert,
             database_->Prepare("INSERT INTO audit (unix_ms, key_id, key_name, address, action, target, status, "
                                "detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"));
  for (const AuditEntry& entry : entries) {
    insert.Bind(1, entry.unix_ms).Bind(2, entry.key_id).Bind(3, entry.key_name).Bind(4, entry.address);
    insert.Bind(5, entry.action).Bind(6, entry.target).Bind(7, entry.status).Bind(8, entry.detail);
    ENGRAM_CHECK_OK(insert.Run());
  }
  added_since_prune_ += entries.size();
  if (added_since_prune_ >= std::min(kPruneEvery, retention.max_entries / 10)) {
    ENGRAM_CHECK_OK(PruneAudit(retention, now_ms));
    added_since_prune_ = 0;
  }
  ENGRAM_CHECK_OK(transaction.Commit());
  if (database_->wal_pages() > kWalPages) {
    ENGRAM_TRY([[maybe_unused]] const bool emptied, database_->Checkpoint(/*truncate=*/false));
  }
  return {};
}

Status AccessDatabase::PruneAudit(const AuditRetention& retention, int64_t now_ms) {
  ENGRAM_TRY(Statement failures,
             database_->Prepare("DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE status IN (401, 403) ORDER "
                                "BY id DESC LIMIT -1 OFFSET ?1)"));
  ENGRAM_CHECK_OK(failures.Bind(1, retention.max_entries / 10).Run());
  ENGRAM_TRY(Statement oldest,
             database_->Prepare("DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id DESC LIMIT -1 OFFSET "
                                "?1)"));
  ENGRAM_CHECK_OK(oldest.Bind(1, retention.max_entries).Run());
  if (retention.max_age_ms == 0) return {};
  // Times ascend with ids, but for clocks that were set.
  ENGRAM_TRY(Statement aged,
             database_->Prepare("DELETE FROM audit WHERE id < coalesce((SELECT id FROM audit WHERE unix_ms >= ?1 ORDER "
                                "BY id LIMIT 1), (SELECT max(id) + 1 FROM audit))"));
  return aged.Bind(1, now_ms - retention.max_age_ms).Run();
}

Result<AuditPage> AccessDatabase::ListAudit(const AuditQuery& query) const {
  ENGRAM_TRY(Statement select,
             database_->Prepare("SELECT id, unix_ms, key_id, key_name, address, action, target, status, detail FROM "
                                "audit WHERE id<?1 AND (?2='' OR key_id=?2 OR key_name=?2) AND (?3='' OR "
                                "instr(lower(action), lower(?3))>0) ORDER BY id DESC LIMIT ?4"));
  select.Bind(1, query.before.value_or(INT64_MAX)).Bind(2, query.key).Bind(3, query.action).Bind(4, query.limit + 1);
  AuditPage page;
  for (;;) {
    ENGRAM_TRY(const bool row, select.Step());
    if (!row) return page;
    if (page.entries.size() == query.limit) {
      page.next_before = page.entries.back().id;
      return page;
    }
    AuditEntry& entry = page.entries.emplace_back();
    entry.id = select.Int(0);
    entry.unix_ms = select.Int(1);
    entry.key_id = select.Text(2);
    entry.key_name = select.Text(3);
    entry.address = select.Text(4);
    entry.action = select.Text(5);
    entry.target = select.Text(6);
    entry.status = static_cast<int>(select.Int(7));
    entry.detail = select.Text(8);
  }
}

}  // namespace engram
