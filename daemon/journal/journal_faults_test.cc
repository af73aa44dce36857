// SPDX-License-Identifier: Apache-2.0
// The journal on a disk that fails at any of its writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "journal/journal.h"
#include "journal/schema.h"
#include "journal/test_journal.h"
#include "support/fault_vfs.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;

// Every write, flush and truncation of a few commits fails once, or from there on until the disk is well again.
TEST(JournalFaults, DiskErrorsLoseNothingThatWasAcknowledged) {
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
            EXPECT_THAT(next.error().code, AnyOf(ErrorCode::kOutOfSpace, ErrorCode::kIo));
            EXPECT_THAT(next.error().message, HasSubstr("journal.sqlite"));
            EXPECT_EQ(next.error().code == ErrorCode::kOutOfSpace, code == SQLITE_FULL);
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
TEST(JournalFaults, DiskErrorsAtEachWriteOfEverythingElse) {
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
          EXPECT_EQ(done.error().code, code == SQLITE_FULL ? ErrorCode::kOutOfSpace : ErrorCode::kIo);
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

TEST(JournalFaults, DiskErrorsAtEachWriteOfAMigration) {
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
