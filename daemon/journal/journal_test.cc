// SPDX-License-Identifier: Apache-2.0
#include "journal/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "journal/schema.h"
#include "journal/test_journal.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

}  // namespace
}  // namespace engram
