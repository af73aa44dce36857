// SPDX-License-Identifier: Apache-2.0
#include "journal/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>

#include "core/file.h"
#include "journal/chain_verifier.h"
#include "journal/schema.h"
#include "support/fault_vfs.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint32_t kRowBytes = 16;

std::unique_ptr<Journal> OpenJournal(const fs::path& path, const std::string& vfs = {}) {
  auto journal = Journal::Open({path, false, vfs, {}});
  EXPECT_TRUE(journal) << journal.error().message;
  return journal ? *std::move(journal) : nullptr;
}

ModelRecord AddModel(Journal& journal) {
  ModelRecord model;
  model.name = "small";
  model.row_bytes = kRowBytes;
  for (const uint32_t layer : {1u, 3u}) {
    BaseTableRecord table{layer, {}, std::nullopt, {}};
    table.origin.fill(static_cast<uint8_t>(layer));
    table.digest = table.origin;
    model.tables.push_back(table);
  }
  auto added = journal.AddModel(model, 5);
  EXPECT_TRUE(added) << added.error().message;
  return *added;
}

Journal::NewCommit MakeCommit(uint64_t version, size_t rows = 3) {
  Journal::NewCommit commit;
  commit.record.version = version;
  commit.record.parent = version - 1;
  commit.record.kind = "commit";
  commit.record.author = "ann";
  commit.record.note = "note " + std::to_string(version);
  commit.record.unix_ms = static_cast<int64_t>(1000 + version);
  commit.record.num_rows = rows;
  EditChunk chunk;
  chunk.layer = 1;
  for (size_t i = 0; i < rows; ++i) {
    chunk.rows.push_back(10 * i + version);
    chunk.flags.push_back(kBeforeIsBase);
    chunk.before_versions.push_back(0);
    for (uint32_t b = 0; b < kRowBytes; ++b) {
      chunk.after.push_back(static_cast<uint8_t>(version + i + b));
      chunk.before.push_back(static_cast<uint8_t>(i));
    }
  }
  if (rows > 0) commit.chunks.push_back(chunk);
  return commit;
}

std::optional<ModelRecord> Find(const Journal& journal, const std::string& name) {
  const auto models = journal.ListModels();
  EXPECT_TRUE(models) << models.error().message;
  for (const ModelRecord& model : *models)
    if (model.name == name) return model;
  return std::nullopt;
}

// Versions 1 to `versions`.
JournalHead Fill(Journal& journal, const ModelRecord& model, uint64_t versions) {
  JournalHead head = journal.Head(model).value();
  while (head.version < versions) {
    auto next = journal.Append(model, head, MakeCommit(head.version + 1));
    EXPECT_TRUE(next) << next.error().message;
    head = *next;
  }
  return head;
}

ChainVerifier::Findings Verify(const Journal& journal, const ModelRecord& model) {
  ChainVerifier verifier(journal, model);
  for (;;) {
    const auto done = verifier.Step();
    EXPECT_TRUE(done) << done.error().message;
    if (!done || *done) return verifier.findings();
  }
}

TEST(Journal, KeepsCommitsOverARestart) {
  const TempDir dir;
  JournalHead head;
  {
    const auto journal = OpenJournal(dir.path() / "journal.sqlite");
    const ModelRecord model = AddModel(*journal);
    head = Fill(*journal, model, 3);
  }
  const auto journal = OpenJournal(dir.path() / "journal.sqlite");
  const auto model = Find(*journal, "small");
  ASSERT_TRUE(model.has_value());
  ASSERT_EQ(model->tables.size(), 2u);
  EXPECT_EQ(model->tables[1].layer, 3u);
  EXPECT_FALSE(model->tables[1].path.has_value());
  EXPECT_EQ(journal->Head(*model)->version, 3u);
  EXPECT_EQ(journal->Head(*model)->digest, head.digest);
  const auto commits = journal->ListCommits(*model, 2, UINT64_MAX).value();
  ASSERT_EQ(commits.size(), 2u);
  EXPECT_EQ(commits[0].note, "note 3");
  EXPECT_EQ(commits[1].note, "note 2");
  std::vector<uint64_t> rows;
  const Status read = journal->ForEachChunk(*model, 1, 3, Journal::Order::kNewestFirst, Journal::kAfter,
                                            [&](const CommitRecord& commit, EditChunk chunk) {
                                              EXPECT_EQ(chunk.after, MakeCommit(commit.version).chunks[0].after);
                                              EXPECT_TRUE(chunk.before.empty());
                                              rows.insert(rows.end(), chunk.rows.begin(), chunk.rows.end());
                                              return Status();
                                            });
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_THAT(rows, ElementsAre(3, 13, 23, 2, 12, 22));
  EXPECT_EQ(Verify(*journal, *model).commits_checked, 3u);
  EXPECT_EQ(journal->FindModel("small", model->origin_digest()).value()->id, model->id);
  EXPECT_FALSE(journal->FindModel("other", model->origin_digest()).value().has_value());
  EXPECT_FALSE(journal->FindModel("small", Sha256Digest{}).value().has_value());
}

TEST(Journal, ACommitOnAStaleHeadIsRefused) {
  const TempDir dir;
  const auto journal = OpenJournal(dir.path() / "journal.sqlite");
  const ModelRecord model = AddModel(*journal);
  const JournalHead origin = journal->Head(model).value();
  Fill(*journal, model, 1);
  const auto again = journal->Append(model, origin, MakeCommit(1));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_THAT(again.error().message, HasSubstr("journal.sqlite"));
  EXPECT_EQ(journal->Head(model)->version, 1u);
}

TEST(Journal, MigratesEveryOlderSchema) {
  for (int from = 1; from < kJournalSchemaVersion; ++from) {
    const TempDir dir;
    const fs::path path = dir.path() / "journal.sqlite";
    {
      auto database = Database::Open({path, false, {}}).value();
      ASSERT_TRUE(MigrateJournal(*database, {}, from));
      ASSERT_EQ(*database->QueryInt("PRAGMA user_version"), from);
      ASSERT_TRUE(database->Execute(
          "INSERT INTO models (name, origin, row_format, row_bytes, created_ms) VALUES ('old', x'00', 1, "
          "16, 7)"));
    }
    const auto read_only = Journal::Open({path, true, {}, {}});
    ASSERT_FALSE(read_only);
    EXPECT_THAT(read_only.error().message, HasSubstr("schema " + std::to_string(from)));
    const auto journal = OpenJournal(path);
    const auto model = Find(*journal, "old");
    ASSERT_TRUE(model.has_value());
    Fill(*journal, *model, 2);
    ASSERT_TRUE(journal->AddAudit({0, 1, "ann", "tested", ""}));
    EXPECT_EQ(*journal->database().QueryInt("PRAGMA user_version"), kJournalSchemaVersion);
  }
}

TEST(Journal, RefusesWhatIsNoJournalOrANewerOne) {
  const TempDir dir;
  dir.Write("text.sqlite", std::string(8192, 'x'));
  const auto text = Journal::Open({dir.path() / "text.sqlite", false, {}, {}});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::kDataLoss) << text.error().message;
  EXPECT_THAT(text.error().message, HasSubstr("text.sqlite"));

  {
    auto other = Database::Open({dir.path() / "other.sqlite", false, {}}).value();
    ASSERT_TRUE(other->Execute("CREATE TABLE t (x)"));
  }
  const auto foreign = Journal::Open({dir.path() / "other.sqlite", false, {}, {}});
  ASSERT_FALSE(foreign);
  EXPECT_THAT(foreign.error().message, HasSubstr("no journal"));

  { ASSERT_TRUE(OpenJournal(dir.path() / "new.sqlite")->database().Execute("PRAGMA user_version=99")); }
  const auto newer = Journal::Open({dir.path() / "new.sqlite", false, {}, {}});
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_THAT(newer.error().message, HasSubstr("schema 99"));
}

TEST(Journal, VerifyFindsTheFirstTamperedCommit) {
  const struct {
    const char* sql;
    uint64_t bad;
    const char* problem;
  } cases[] = {
      {"UPDATE commits SET note='forged' WHERE version=2", 2, "does not match its digest"},
      {"UPDATE commits SET author='bob' WHERE version=4", 4, "does not match its digest"},
      {"UPDATE commits SET unix_ms=unix_ms+1 WHERE version=1", 1, "does not match its digest"},
      {"UPDATE edits SET after_rows=zeroblob(48) WHERE version=3", 3, "edits"},
      {"UPDATE edits SET before_rows=zeroblob(48) WHERE version=3", 3, "edits"},
      {"UPDATE edits SET flags=zeroblob(3) WHERE version=5", 5, "edits"},
      {"UPDATE edits SET row_ids=zeroblob(16) WHERE version=5", 5, "different lengths"},
      {"DELETE FROM edits WHERE version=2", 2, "0 edited rows"},
      {"DELETE FROM edits WHERE version=3; DELETE FROM commits WHERE version=3", 3, "missing"},
      {"UPDATE base_tables SET origin=zeroblob(32) WHERE layer=3", 1, "does not match"},
      // Dropped edits are the work of compaction, but their content's digest is still part of the chain.
      {"DELETE FROM edits WHERE version<=2; UPDATE commits SET edits_kept=0, content=zeroblob(32) WHERE version<=2", 1,
       "does not match"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.sql);
    const TempDir dir;
    const auto journal = OpenJournal(dir.path() / "journal.sqlite");
    Fill(*journal, AddModel(*journal), 5);
    const Status tampered = journal->database().Execute(test.sql);
    ASSERT_TRUE(tampered) << tampered.error().message;
    const auto findings = Verify(*journal, *Find(*journal, "small"));
    ASSERT_TRUE(findings.bad_version.has_value());
    EXPECT_EQ(*findings.bad_version, test.bad);
    EXPECT_EQ(findings.commits_checked, test.bad - 1);
    EXPECT_THAT(findings.problem, HasSubstr(test.problem));
  }
}

TEST(Journal, DroppedEditsLeaveTheChainWhole) {
  const TempDir dir;
  const auto journal = OpenJournal(dir.path() / "journal.sqlite");
  const ModelRecord model = AddModel(*journal);
  Fill(*journal, model, 6);
  EXPECT_EQ(*journal->EditsKeptAfter(model), 0u);
  EXPECT_EQ(*journal->DropEdits(model, 4, 3), 3u);
  EXPECT_EQ(*journal->EditsKeptAfter(model), 3u);
  EXPECT_EQ(*journal->DropEdits(model, 4, 3), 1u);
  EXPECT_EQ(*journal->DropEdits(model, 4, 3), 0u);
  EXPECT_EQ(*journal->database().QueryInt("SELECT min(version) FROM edits"), 5);
  const auto findings = Verify(*journal, model);
  EXPECT_FALSE(findings.bad_version.has_value()) << findings.problem;
  EXPECT_EQ(findings.commits_checked, 6u);
  EXPECT_EQ(findings.commits_folded, 4u);
}

TEST(Journal, AnswersByIdempotencyKey) {
  const TempDir dir;
  const auto journal = OpenJournal(dir.path() / "journal.sqlite");
  const ModelRecord model = AddModel(*journal);
  Journal::NewCommit commit = MakeCommit(1);
  commit.idempotency = IdempotencyRecord{"key-1", Sha256Digest{7}, 0};
  JournalHead head = *journal->Append(model, *journal->Head(model), commit);
  const auto found = journal->FindAnswer(model, "key-1").value();
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->version, 1u);
  EXPECT_EQ(found->body, Sha256Digest{7});
  EXPECT_FALSE(journal->FindAnswer(model, "key-2").value().has_value());
  // A day later it is forgotten.
  commit = MakeCommit(2);
  commit.record.unix_ms += int64_t{25} * 3600 * 1000;
  commit.idempotency = IdempotencyRecord{"key-2", Sha256Digest{8}, 0};
  ASSERT_TRUE(journal->Append(model, head, commit));
  EXPECT_FALSE(journal->FindAnswer(model, "key-1").value().has_value());
  EXPECT_TRUE(journal->FindAnswer(model, "key-2").value().has_value());
}

// What the journal's files hold.
std::string AllBytes(const fs::path& directory) {
  std::string bytes;
  for (const auto& entry : fs::directory_iterator(directory)) bytes += ReadFile(entry.path(), 1u << 30).value();
  return bytes;
}

TEST(Journal, NothingOfADeletedOverlayIsLeftInTheFiles) {
  const TempDir dir;
  const auto journal = OpenJournal(dir.path() / "journal.sqlite");
  const ModelRecord model = AddModel(*journal);
  std::string secret;
  for (int i = 0; i < 3000; ++i) secret += "secret-" + std::to_string(i);
  const auto payload = std::span(reinterpret_cast<const uint8_t*>(secret.data()), secret.size());
  for (const char* name : {"a", "b"}) {
    const OverlayRecord overlay{name, 1, 2, 3, 4, secret.size(), Sha256Digest{1}};
    ASSERT_TRUE(journal->PutOverlay(model, overlay, payload, {0, 1, "ann", "overlay", name}));
  }
  std::vector<std::string> names;
  ASSERT_TRUE(journal->ForEachOverlay(model, [&](OverlayRecord overlay, std::span<const uint8_t> bytes) {
    names.push_back(overlay.name);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), payload.begin(), payload.end()));
    EXPECT_EQ(overlay.expires_ms, 2);
    EXPECT_EQ(overlay.num_guarded, 4u);
    return Status();
  }));
  EXPECT_THAT(names, ElementsAre("a", "b"));
  EXPECT_THAT(AllBytes(dir.path()), HasSubstr("secret-1500"));
  ASSERT_TRUE(journal->database().Checkpoint(false));
  // One is replaced by something else, one deleted.
  const std::string small = "small";
  ASSERT_TRUE(journal->PutOverlay(model, {"a", 1, std::nullopt, 1, 0, 5, Sha256Digest{2}},
                                  std::span(reinterpret_cast<const uint8_t*>(small.data()), small.size()),
                                  {0, 1, "ann", "overlay", "a"}));
  ASSERT_TRUE(journal->DeleteOverlays(model, std::vector<std::string>{"b"}, {0, 1, "ann", "delete", "b"}));
  ASSERT_TRUE(*journal->EraseLog());
  const std::string left = AllBytes(dir.path());
  EXPECT_EQ(left.find("secret-"), std::string::npos);
  EXPECT_THAT(left, HasSubstr("small"));
}

TEST(Journal, AuditAndSettings) {
  const TempDir dir;
  const auto journal = OpenJournal(dir.path() / "journal.sqlite");
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(journal->AddAudit({0, i, "ann", "act", std::to_string(i)}));
  auto audit = journal->ListAudit(2, std::nullopt).value();
  ASSERT_EQ(audit.size(), 2u);
  EXPECT_EQ(audit[0].detail, "4");
  audit = journal->ListAudit(2, audit[1].id).value();
  EXPECT_EQ(audit[0].detail, "2");

  ASSERT_TRUE(journal->PutSetting("retain", "5"));
  ASSERT_TRUE(journal->PutSetting("retain", "6"));
  EXPECT_EQ(journal->FindSetting("retain").value(), "6");
  EXPECT_FALSE(journal->FindSetting("other").value().has_value());
}

TEST(Journal, InMemoryWorksAndIsBackedUp) {
  const TempDir dir;
  const auto journal = OpenJournal({});
  const ModelRecord model = AddModel(*journal);
  JournalHead head = Fill(*journal, model, 2);
  EXPECT_TRUE(*journal->EraseLog());
  auto backup = journal->database().StartBackup(dir.path() / "copy.sqlite").value();
  ASSERT_FALSE(backup->Step(1).value());
  // What is committed while the copy runs is part of it.
  head = *journal->Append(model, head, MakeCommit(3));
  while (!backup->Step(1).value()) EXPECT_LT(backup->pages_done, backup->pages_total);
  backup.reset();
  const auto copy = Journal::Open({dir.path() / "copy.sqlite", true, {}, {}});
  ASSERT_TRUE(copy) << copy.error().message;
  const ModelRecord copied = *Find(**copy, "small");
  EXPECT_EQ((*copy)->Head(copied)->digest, head.digest);
  EXPECT_EQ(Verify(**copy, copied).commits_checked, 3u);
  const auto again = journal->database().StartBackup(dir.path() / "copy.sqlite");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kFailedPrecondition);
}

// Every write, flush and truncation of a few commits fails once, or from there on until the disk is well again.
TEST(Journal, DiskErrorsLoseNothingThatWasAcknowledged) {
  FaultVfs vfs("journal_test_faults");
  for (const int code : {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC}) {
    for (const bool lasting : {false, true}) {
      for (int at = 0;; ++at) {
        SCOPED_TRACE(std::to_string(code) + (lasting ? " lasting" : " once") + " at " + std::to_string(at));
        const TempDir dir;
        auto journal = OpenJournal(dir.path() / "journal.sqlite", vfs.name());
        const ModelRecord model = AddModel(*journal);
        JournalHead head = Fill(*journal, model, 1);
        vfs.ResetStruck();
        vfs.Arm(at, code, lasting);
        for (int i = 0; i < 2; ++i) {
          const auto next = journal->Append(model, head, MakeCommit(head.version + 1, 100));
          if (next) {
            head = *next;
          } else {
            EXPECT_THAT(next.error().code, AnyOf(ErrorCode::kResourceExhausted, ErrorCode::kIo));
            EXPECT_THAT(next.error().message, HasSubstr("journal.sqlite"));
            EXPECT_EQ(next.error().code == ErrorCode::kResourceExhausted, code == SQLITE_FULL);
          }
        }
        const auto checkpoint = journal->database().Checkpoint(true);
        const bool struck = vfs.struck();
        if (lasting && struck) {
          EXPECT_FALSE(checkpoint);
        }
        vfs.Disarm();
        // The service goes on.
        const auto next = journal->Append(model, head, MakeCommit(head.version + 1));
        ASSERT_TRUE(next) << next.error().message;
        head = *next;
        EXPECT_EQ(journal->Head(model)->digest, head.digest);
        journal.reset();
        journal = OpenJournal(dir.path() / "journal.sqlite", vfs.name());
        EXPECT_EQ(journal->Head(model)->digest, head.digest);
        const auto findings = Verify(*journal, model);
        EXPECT_EQ(findings.commits_checked, head.version) << findings.problem;
        if (!struck) {
          ASSERT_GT(at, 5);  // there were that many operations to fail
          break;
        }
      }
    }
  }
}

// Everything in the database, as text.
std::string Contents(const Journal& journal) {
  auto& database = const_cast<Journal&>(journal).database();
  std::string all = std::to_string(database.QueryInt("PRAGMA user_version").value());
  auto tables = database.Prepare("SELECT name FROM sqlite_schema WHERE type='table' ORDER BY name").value();
  while (tables.Step().value()) {
    const std::string table = tables.Text(0);
    auto columns =
        database
            .Prepare("SELECT group_concat('quote(\"' || name || '\")', '||'',''||') FROM pragma_table_info('" + table +
                     "')")
            .value();
    EXPECT_TRUE(columns.Step().value());
    auto rows = database.Prepare("SELECT " + columns.Text(0) + " FROM " + table + " ORDER BY 1").value();
    while (rows.Step().value()) all += "\n" + table + ": " + rows.Text(0);
  }
  return all;
}

// Whatever the journal is told: with a fault at any of its writes it either happens or does not, and says which.
TEST(Journal, DiskErrorsAtEachWriteOfEverythingElse) {
  FaultVfs vfs("journal_test_all_faults");
  const AuditRecord audit{0, 5, "ann", "did", "something"};
  const std::vector<uint8_t> payload(40'000, 7);
  struct Act {
    const char* name;
    std::function<Status(Journal&, const ModelRecord&)> run;
  };
  const auto outcome = [](auto result) -> Status {
    if (result) return {};
    return std::move(result).error();
  };
  const Act acts[] = {
      {"model",
       [&](Journal& journal, const ModelRecord& known) {
         ModelRecord model = known;
         model.name = "another";
         return outcome(journal.AddModel(model, 6));
       }},
      {"base",
       [&](Journal& journal, const ModelRecord& model) {
         BaseTableRecord table = model.tables[0];
         table.path = "tables/x.ngt";
         return journal.SetBase(model, 1, std::vector{table}, audit);
       }},
      {"table swap",
       [&](Journal& journal, const ModelRecord& model) {
         const JournalHead head = journal.Head(model).value();
         Journal::NewCommit commit = MakeCommit(head.version + 1);
         commit.chunks.clear();
         commit.record.kind = "table_swap";
         commit.table = model.tables[0];
         commit.table->path = "/elsewhere.ngt";
         return outcome(journal.Append(model, head, commit));
       }},
      {"dropped edits",
       [&](Journal& journal, const ModelRecord& model) { return outcome(journal.DropEdits(model, 2, 2)); }},
      {"overlay",
       [&](Journal& journal, const ModelRecord& model) {
         return journal.PutOverlay(model, {"b", 1, 2, 3, 4, 5, Sha256Digest{3}}, payload, audit);
       }},
      {"overlay replaced",
       [&](Journal& journal, const ModelRecord& model) {
         return journal.PutOverlay(model, {"a", 1, 2, 3, 4, 5, Sha256Digest{3}}, payload, audit);
       }},
      {"overlay deleted",
       [&](Journal& journal, const ModelRecord& model) {
         return journal.DeleteOverlays(model, std::vector<std::string>{"a"}, audit);
       }},
      {"log erased", [&](Journal& journal, const ModelRecord&) { return outcome(journal.EraseLog()); }},
      {"audit", [&](Journal& journal, const ModelRecord&) { return journal.AddAudit(audit); }},
      {"setting", [&](Journal& journal, const ModelRecord&) { return journal.PutSetting("retain", "6"); }},
  };
  const TempDir template_dir;
  {
    const auto journal = OpenJournal(template_dir.path() / "journal.sqlite");
    const ModelRecord model = AddModel(*journal);
    Fill(*journal, model, 3);
    ASSERT_TRUE(journal->PutOverlay(model, {"a", 1, std::nullopt, 1, 0, 5, Sha256Digest{2}}, payload, audit));
    ASSERT_TRUE(journal->PutSetting("retain", "5"));
  }
  for (const Act& act : acts) {
    for (const int code : {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC}) {
      for (int at = 0;; ++at) {
        SCOPED_TRACE(std::string(act.name) + ", " + std::to_string(code) + " at " + std::to_string(at));
        const TempDir dir;
        fs::copy_file(template_dir.path() / "journal.sqlite", dir.path() / "journal.sqlite");
        auto journal = OpenJournal(dir.path() / "journal.sqlite", vfs.name());
        const ModelRecord model = *Find(*journal, "small");
        // So that there is a log to be erased.
        ASSERT_TRUE(journal->AddAudit(audit));
        const std::string before = Contents(*journal);
        vfs.ResetStruck();
        vfs.Arm(at, code, /*lasting=*/false);
        const Status done = act.run(*journal, model);
        const bool struck = vfs.struck();
        vfs.Disarm();
        if (!done) {
          EXPECT_TRUE(struck);
          EXPECT_EQ(done.error().code, code == SQLITE_FULL ? ErrorCode::kResourceExhausted : ErrorCode::kIo);
          EXPECT_THAT(done.error().message, HasSubstr("journal.sqlite"));
          EXPECT_EQ(Contents(*journal), before);
          const Status again = act.run(*journal, model);
          EXPECT_TRUE(again) << again.error().message;
        }
        const std::string after = Contents(*journal);
        EXPECT_EQ(after == before, std::string_view(act.name) == "log erased");
        journal = nullptr;
        journal = OpenJournal(dir.path() / "journal.sqlite", vfs.name());
        EXPECT_EQ(Contents(*journal), after);
        if (!struck) {
          EXPECT_GT(at, 1);
          break;
        }
      }
    }
  }
}

TEST(Journal, DiskErrorsAtEachWriteOfAMigration) {
  FaultVfs vfs("journal_test_migration_faults");
  for (int from = 0; from < kJournalSchemaVersion; ++from) {
    for (const int code : {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC}) {
      for (int at = 0;; ++at) {
        SCOPED_TRACE("from " + std::to_string(from) + ", " + std::to_string(code) + " at " + std::to_string(at));
        const TempDir dir;
        const fs::path path = dir.path() / "journal.sqlite";
        {
          auto database = Database::Open({path, false, {}}).value();
          ASSERT_TRUE(MigrateJournal(*database, {}, from));
        }
        vfs.ResetStruck();
        vfs.Arm(at, code, /*lasting=*/false);
        const auto opened = Journal::Open({path, false, vfs.name(), {}});
        const bool struck = vfs.struck();
        vfs.Disarm();
        if (!opened) {
          EXPECT_TRUE(struck);
          EXPECT_THAT(opened.error().message, HasSubstr("journal.sqlite"));
        }
        const auto journal = OpenJournal(path, vfs.name());
        ASSERT_NE(journal, nullptr);
        AddModel(*journal);
        if (!struck) {
          EXPECT_GT(at, 1);
          break;
        }
      }
    }
  }
}

}  // namespace
}  // namespace engram
