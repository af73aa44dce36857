// SPDX-License-Identifier: Apache-2.0
// Opening, and the catalogue of models and their base tables.
#include "journal/journal.h"

#include <algorithm>

#include "journal/columns.h"
#include "journal/schema.h"

namespace engram {

Sha256Digest ModelRecord::origin_digest() const {
  std::vector<OriginTable> origins;
  for (const BaseTableRecord& table : tables) origins.push_back({table.layer, table.origin});
  return OriginDigest(name, origins);
}

Result<std::unique_ptr<Journal>> Journal::Open(JournalOptions options) {
  std::unique_ptr<Journal> journal(new Journal(std::move(options)));
  const JournalOptions& chosen = journal->options_;
  ENGRAM_TRY(journal->database_, Database::Open({chosen.path, chosen.read_only, chosen.vfs}));
  if (chosen.read_only) {
    ENGRAM_CHECK_OK(CheckJournalSchema(*journal->database_));
  } else {
    ENGRAM_CHECK_OK(MigrateJournal(*journal->database_, chosen.fault_point));
  }
  return journal;
}

Result<std::vector<ModelRecord>> Journal::ListModels() const {
  std::vector<ModelRecord> models;
  ENGRAM_TRY(Statement query, database_->Prepare("SELECT id, name, row_format, row_bytes, base_version, floor_version "
                                                 "FROM models ORDER BY name, id"));
  ENGRAM_TRY(Statement tables, database_->Prepare("SELECT layer, origin, path, digest FROM base_tables WHERE model=?1 "
                                                  "ORDER BY layer"));
  for (;;) {
    ENGRAM_TRY(const bool found, query.Step());
    if (!found) return models;
    ModelRecord model;
    model.id = query.Int(0);
    model.name = query.Text(1);
    model.row_format = static_cast<uint32_t>(query.Int(2));
    model.row_bytes = static_cast<uint32_t>(query.Int(3));
    model.base_version = NumberColumn(query, 4);
    model.floor_version = NumberColumn(query, 5);
    tables.Bind(1, model.id);
    for (;;) {
      ENGRAM_TRY(const bool more, tables.Step());
      if (!more) break;
      BaseTableRecord table;
      table.layer = static_cast<uint32_t>(tables.Int(0));
      ENGRAM_TRY(table.origin, DigestColumn(*database_, tables, 1));
      if (!tables.IsNull(2)) table.path = tables.Text(2);
      ENGRAM_TRY(table.digest, DigestColumn(*database_, tables, 3));
      model.tables.push_back(std::move(table));
    }
    tables.Reset();
    models.push_back(std::move(model));
  }
}

Result<std::optional<ModelRecord>> Journal::FindModel(std::string_view name, const Sha256Digest& origin_digest) const {
  // There are a few.
  ENGRAM_TRY(std::vector<ModelRecord> models, ListModels());
  for (ModelRecord& model : models)
    if (model.name == name && model.origin_digest() == origin_digest)
      return std::optional<ModelRecord>(std::move(model));
  return std::optional<ModelRecord>();
}

Result<ModelRecord> Journal::AddModel(ModelRecord model, int64_t unix_ms) {
  ENGRAM_TRY(Transaction transaction, Transaction::Begin(*database_));
  ENGRAM_TRY(Statement insert, database_->Prepare("INSERT INTO models (name, origin, row_format, row_bytes, "
                                                  "created_ms) VALUES (?1, ?2, ?3, ?4, ?5)"));
  const Sha256Digest origin = model.origin_digest();
  insert.Bind(1, model.name).BindBlob(2, origin).Bind(3, model.row_format).Bind(4, model.row_bytes).Bind(5, unix_ms);
  ENGRAM_CHECK_OK(insert.Run());
  ENGRAM_TRY(model.id, database_->QueryInt("SELECT last_insert_rowid()"));
  for (const BaseTableRecord& table : model.tables) ENGRAM_CHECK_OK(PutTable(model, table));
  ENGRAM_CHECK_OK(transaction.Commit());
  return model;
}

Status Journal::PutTable(const ModelRecord& model, const BaseTableRecord& table) {
  ENGRAM_TRY(Statement put, database_->Prepare("INSERT OR REPLACE INTO base_tables (model, layer, origin, path, "
                                               "digest) VALUES (?1, ?2, ?3, ?4, ?5)"));
  put.Bind(1, model.id).Bind(2, table.layer).BindBlob(3, table.origin).BindBlob(5, table.digest);
  const std::string path = table.path ? table.path->string() : std::string();
  if (table.path) {
    put.Bind(4, path);
  } else {
    put.BindNull(4);
  }
  return put.Run();
}

Status Journal::SetBase(const ModelRecord& model, uint64_t base_version, std::span<const BaseTableRecord> tables,
                        const AuditRecord& audit) {
  Fault("base.begin");
  ENGRAM_TRY(Transaction transaction, Transaction::Begin(*database_));
  ENGRAM_TRY(Statement update, database_->Prepare("UPDATE models SET base_version=?2 WHERE id=?1"));
  ENGRAM_CHECK_OK(update.Bind(1, model.id).Bind(2, base_version).Run());
  for (const BaseTableRecord& table : tables) ENGRAM_CHECK_OK(PutTable(model, table));
  ENGRAM_CHECK_OK(InsertAudit(audit));
  Fault("base.written");
  ENGRAM_CHECK_OK(transaction.Commit());
  Fault("base.durable");
  return {};
}

}  // namespace engram
