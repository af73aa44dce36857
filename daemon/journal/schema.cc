// SPDX-License-Identifier: Apache-2.0
#include "journal/schema.h"

#include <string>

namespace engram {
namespace {

// One entry per schema version, from 1. Entries never change once released; new ones are appended.
constexpr const char* kMigrations[kJournalSchemaVersion] = {
    // 1: models, their base tables, and their history
    R"sql(
CREATE TABLE models (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  origin BLOB NOT NULL,                      -- digest of the name and the tables the model came with
  row_format INTEGER NOT NULL,
  row_bytes INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  base_version INTEGER NOT NULL DEFAULT 0,   -- the version its base tables hold
  floor_version INTEGER NOT NULL DEFAULT 0,  -- of the last table swap; nothing rolls back below it
  UNIQUE (name, origin)
);
CREATE TABLE base_tables (
  model INTEGER NOT NULL REFERENCES models(id),
  layer INTEGER NOT NULL,
  origin BLOB NOT NULL,                      -- identity digest of the table the model came with
  path TEXT,                                 -- NULL: that table; relative: to the journal's directory
  digest BLOB NOT NULL,                      -- identity digest of the table in use
  PRIMARY KEY (model, layer)
) WITHOUT ROWID;
CREATE TABLE commits (
  model INTEGER NOT NULL REFERENCES models(id),
  version INTEGER NOT NULL,
  parent INTEGER NOT NULL,
  kind TEXT NOT NULL,
  author TEXT NOT NULL,
  note TEXT NOT NULL,
  actor TEXT NOT NULL,
  unix_ms INTEGER NOT NULL,
  num_rows INTEGER NOT NULL,
  restores INTEGER,
  base_version INTEGER NOT NULL,
  detail TEXT NOT NULL,
  content BLOB NOT NULL,
  digest BLOB NOT NULL,
  edits_kept INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (model, version)
) WITHOUT ROWID;
CREATE TABLE edits (
  id INTEGER PRIMARY KEY,
  model INTEGER NOT NULL,
  version INTEGER NOT NULL,
  chunk INTEGER NOT NULL,
  layer INTEGER NOT NULL,
  row_ids BLOB NOT NULL,
  flags BLOB NOT NULL,
  before_versions BLOB NOT NULL,
  after_rows BLOB NOT NULL,
  before_rows BLOB NOT NULL,
  UNIQUE (model, version, chunk),
  FOREIGN KEY (model, version) REFERENCES commits(model, version)
);
)sql",
    // 2: overlays, answers that are not given twice
    R"sql(
CREATE TABLE overlays (
  id INTEGER PRIMARY KEY,
  model INTEGER NOT NULL REFERENCES models(id),
  name TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER,
  num_rows INTEGER NOT NULL,
  num_guarded INTEGER NOT NULL,
  num_bytes INTEGER NOT NULL,
  digest BLOB NOT NULL,
  payload BLOB NOT NULL,
  UNIQUE (model, name)
);
CREATE TABLE idempotency (
  id INTEGER PRIMARY KEY,
  model INTEGER NOT NULL REFERENCES models(id),
  key TEXT NOT NULL,
  body BLOB NOT NULL,
  version INTEGER NOT NULL,
  unix_ms INTEGER NOT NULL,
  UNIQUE (model, key)
);
)sql",
    // 3: who did what, and who may
    R"sql(
CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  unix_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  detail TEXT NOT NULL
);
CREATE TABLE api_keys (
  name TEXT PRIMARY KEY NOT NULL,
  sha256 BLOB NOT NULL UNIQUE,
  scopes TEXT NOT NULL,
  limits TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  revoked_ms INTEGER
) WITHOUT ROWID;
CREATE TABLE settings (
  name TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
) WITHOUT ROWID;
)sql",
};

Result<int64_t> CheckedVersion(const Database& database) {
  ENGRAM_TRY(const int64_t version, database.QueryInt("PRAGMA user_version"));
  ENGRAM_TRY(const int64_t application, database.QueryInt("PRAGMA application_id"));
  ENGRAM_TRY(const int64_t objects, database.QueryInt("SELECT count(*) FROM sqlite_schema"));
  const bool empty = version == 0 && application == 0 && objects == 0;
  if (!empty && application != kJournalApplicationId)
    return DataLoss(database.place() + ": an SQLite database, but no journal (application_id " +
                    std::to_string(application) + ")");
  if (version > kJournalSchemaVersion)
    return FailedPrecondition(database.place() + ": the journal has schema " + std::to_string(version) +
                              ", written by a newer engramd; this one knows " + std::to_string(kJournalSchemaVersion));
  return version;
}

}  // namespace

Status MigrateJournal(Database& database, const std::function<void(std::string_view)>& fault_point, int up_to) {
  ENGRAM_TRY(int64_t version, CheckedVersion(database));
  for (; version < up_to; ++version) {
    ENGRAM_TRY(Transaction transaction, Transaction::Begin(database));
    ENGRAM_CHECK_OK(database.Execute(kMigrations[version]));
    ENGRAM_CHECK_OK(database.Execute(("PRAGMA application_id=" + std::to_string(kJournalApplicationId) +
                                      "; PRAGMA user_version=" + std::to_string(version + 1))
                                         .c_str()));
    if (fault_point) fault_point("migrate.written");
    ENGRAM_CHECK_OK(transaction.Commit());
    if (fault_point) fault_point("migrate.durable");
  }
  return {};
}

Status CheckJournalSchema(Database& database) {
  ENGRAM_TRY(const int64_t version, CheckedVersion(database));
  if (version != kJournalSchemaVersion)
    return FailedPrecondition(database.place() + ": the journal has schema " + std::to_string(version) +
                              ", this engramd needs " + std::to_string(kJournalSchemaVersion) +
                              "; it is brought up when engramd starts with it");
  return {};
}

}  // namespace engram
