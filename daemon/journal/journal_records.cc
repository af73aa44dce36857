// SPDX-License-Identifier: Apache-2.0
// Overlays, the audit log, settings.
#include "journal/columns.h"
#include "journal/journal.h"

namespace engram {
namespace {

constexpr int64_t kAuditEntries = 100'000;

std::optional<int64_t> MaybeInt(const Statement& row, int column) {
  if (row.IsNull(column)) return std::nullopt;
  return row.Int(column);
}

}  // namespace

Status Journal::PutOverlay(const ModelRecord& model, const OverlayRecord& overlay, std::span<const uint8_t> payload,
                           const AuditRecord& audit) {
  Fault("overlay.begin");
  ENGRAM_TRY(Transaction transaction, Transaction::Begin(*database_));
  ENGRAM_TRY(Statement put, database_->Prepare("INSERT OR REPLACE INTO overlays (model, name, created_ms, expires_ms, "
                                               "num_rows, num_guarded, num_bytes, digest, payload) VALUES (?1, ?2, "
                                               "?3, ?4, ?5, ?6, ?7, ?8, ?9)"));
  put.Bind(1, model.id).Bind(2, overlay.name).Bind(3, overlay.created_ms).Bind(4, overlay.expires_ms);
  put.Bind(5, overlay.num_rows).Bind(6, overlay.num_guarded).Bind(7, overlay.num_bytes);
  ENGRAM_CHECK_OK(put.BindBlob(8, overlay.digest).BindBlob(9, payload).Run());
  ENGRAM_CHECK_OK(InsertAudit(audit));
  Fault("overlay.written");
  ENGRAM_CHECK_OK(transaction.Commit());
  Fault("overlay.durable");
  return {};
}

Status Journal::DeleteOverlays(const ModelRecord& model, std::span<const std::string> names, const AuditRecord& audit) {
  Fault("overlay.begin");
  ENGRAM_TRY(Transaction transaction, Transaction::Begin(*database_));
  ENGRAM_TRY(Statement remove, database_->Prepare("DELETE FROM overlays WHERE model=?1 AND name=?2"));
  for (const std::string& name : names) ENGRAM_CHECK_OK(remove.Bind(1, model.id).Bind(2, name).Run());
  ENGRAM_CHECK_OK(InsertAudit(audit));
  Fault("overlay.written");
  ENGRAM_CHECK_OK(transaction.Commit());
  Fault("overlay.durable");
  return {};
}

Status Journal::ForEachOverlay(
    const ModelRecord& model,
    const std::function<Status(OverlayRecord, std::span<const uint8_t> payload)>& visit) const {
  ENGRAM_TRY(Statement query, database_->Prepare("SELECT name, created_ms, expires_ms, num_rows, num_guarded, "
                                                 "num_bytes, digest, payload FROM overlays WHERE model=?1 ORDER BY "
                                                 "name"));
  query.Bind(1, model.id);
  for (;;) {
    ENGRAM_TRY(const bool row, query.Step());
    if (!row) return {};
    OverlayRecord overlay;
    overlay.name = query.Text(0);
    overlay.created_ms = query.Int(1);
    overlay.expires_ms = MaybeInt(query, 2);
    overlay.num_rows = NumberColumn(query, 3);
    overlay.num_guarded = NumberColumn(query, 4);
    overlay.num_bytes = NumberColumn(query, 5);
    ENGRAM_TRY(overlay.digest, DigestColumn(*database_, query, 6));
    ENGRAM_CHECK_OK(visit(std::move(overlay), query.Blob(7)));
  }
}

Result<bool> Journal::EraseLog() {
  Fault("erase.begin");
  ENGRAM_TRY(const bool emptied, database_->Checkpoint(/*truncate=*/true));
  Fault("erase.end");
  return emptied;
}

Status Journal::InsertAudit(const AuditRecord& record) {
  ENGRAM_TRY(Statement insert,
             database_->Prepare("INSERT INTO audit (unix_ms, actor, action, detail) VALUES (?1, ?2, ?3, ?4)"));
  ENGRAM_CHECK_OK(
      insert.Bind(1, record.unix_ms).Bind(2, record.actor).Bind(3, record.action).Bind(4, record.detail).Run());
  ENGRAM_TRY(Statement forget, database_->Prepare("DELETE FROM audit WHERE id<=last_insert_rowid()-?1"));
  return forget.Bind(1, kAuditEntries).Run();
}

Status Journal::AddAudit(const AuditRecord& record) {
  ENGRAM_TRY(Transaction transaction, Transaction::Begin(*database_));
  ENGRAM_CHECK_OK(InsertAudit(record));
  return transaction.Commit();
}

Result<std::vector<AuditRecord>> Journal::ListAudit(uint64_t limit, std::optional<int64_t> before) const {
  ENGRAM_TRY(Statement query, database_->Prepare("SELECT id, unix_ms, actor, action, detail FROM audit WHERE id<?1 "
                                                 "ORDER BY id DESC LIMIT ?2"));
  query.Bind(1, before.value_or(INT64_MAX)).Bind(2, limit);
  std::vector<AuditRecord> records;
  for (;;) {
    ENGRAM_TRY(const bool row, query.Step());
    if (!row) return records;
    records.push_back({query.Int(0), query.Int(1), query.Text(2), query.Text(3), query.Text(4)});
  }
}

Status Journal::PutSetting(std::string_view name, std::string_view value) {
  ENGRAM_TRY(Statement put, database_->Prepare("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)"));
  return put.Bind(1, name).Bind(2, value).Run();
}

Result<std::optional<std::string>> Journal::FindSetting(std::string_view name) const {
  ENGRAM_TRY(Statement query, database_->Prepare("SELECT value FROM settings WHERE name=?1"));
  ENGRAM_TRY(const bool found, query.Bind(1, name).Step());
  if (!found) return std::optional<std::string>();
  return std::optional<std::string>(query.Text(0));
}

}  // namespace engram
