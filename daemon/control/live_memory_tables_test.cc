// SPDX-License-Identifier: Apache-2.0
// Compaction, table swap, exchange of the model, backup.
#include <latch>

#include "control/live_memory.h"
#include "control/test_live_memory.h"
#include "core/file.h"
#include "journal/journal.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class LiveTablesTest : public testing::Test {
 protected:
  LiveMemoryOptions Options(uint32_t retain_versions = 1000) const {
    LiveMemoryOptions options;
    options.state_dir = dir_.path();
    options.retain_versions = retain_versions;
    options.compaction_bytes_per_s = 0;
    return options;
  }
  // A commit that fills one row of one layer with a byte pattern.
  static RowEdit Fill(const TestLive& live, size_t layer_index, uint64_t row, uint8_t byte) {
    return SetRow(live.memory->layers()[layer_index], row, Bytes(live.memory->row_bytes(), byte));
  }
  static Bytes Row(const TestLive& live, uint64_t row, std::optional<uint64_t> as_of = {}) {
    const auto view = live.memory->View(as_of);
    EXPECT_TRUE(view) << view.error().message;
    return view ? StoredRow(*live.memory, *view, 0, row) : Bytes();
  }
  static void Reopen(TestLive& live, const LiveMemoryOptions& options) {
    live.live.reset();
    live = TestLive(options);
  }
  static Bytes Pattern(const TestLive& live, uint8_t byte) { return Bytes(live.memory->row_bytes(), byte); }
  std::vector<fs::path> TableFiles() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(dir_.path() / "tables")) files.push_back(entry.path().filename());
    return files;
  }

  const TempDir dir_;
};

TEST_F(LiveTablesTest, CompactionFoldsCommitsIntoNewTables) {
  Bytes base_row;
  {
    TestLive live(Options());
    base_row = Row(live, 3);
    EXPECT_EQ(live.Compact().error().code, ErrorCode::kFailedPrecondition);
    ASSERT_TRUE(live.Commit({Fill(live, 0, 1, 0x11), Fill(live, 0, 3, 0x13)}));
    ASSERT_TRUE(live.Commit({Fill(live, 0, 1, 0x21)}));
    const auto before = live.memory->View().value();
    const Tables tables = ReadTables(*live.memory);
    const auto report = live.Compact();
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->base_version, 2u);
    ASSERT_EQ(report->tables.size(), 1u);  // only the first layer was edited
    EXPECT_EQ(report->tables[0].rows_folded, 2u);
    EXPECT_EQ(ReadTables(*live.memory), tables);
    const LiveMemoryStatus status = live.live->status();
    EXPECT_EQ(status.version, 2u);
    EXPECT_EQ(status.base_version, 2u);
    EXPECT_EQ(status.edited_rows, 0u);
    EXPECT_EQ(status.oldest_version, 0u);
    // What sequences hold, and older versions, are as they were.
    EXPECT_EQ(StoredRow(*live.memory, before, 0, 1), Pattern(live, 0x21));
    EXPECT_EQ(Row(live, 1, 1), Pattern(live, 0x11));
    EXPECT_EQ(Row(live, 3, 0), base_row);
    ASSERT_TRUE(live.Commit({Fill(live, 0, 3, 0x33)}));
    EXPECT_EQ(live.Compact()->base_version, 3u);
    EXPECT_EQ(TableFiles().size(), 1u);  // the first one is gone
    EXPECT_EQ(Row(live, 3), Pattern(live, 0x33));
  }
  TestLive live(Options());
  EXPECT_EQ(live.live->status().base_version, 3u);
  EXPECT_EQ(Row(live, 1), Pattern(live, 0x21));
  EXPECT_EQ(Row(live, 3), Pattern(live, 0x33));
  EXPECT_EQ(Row(live, 3, 1), Pattern(live, 0x13));
  EXPECT_EQ(Row(live, 3, 0), base_row);
  // Over the fold.
  ASSERT_TRUE(live.Rollback(1));
  EXPECT_EQ(Row(live, 1), Pattern(live, 0x11));
  ASSERT_TRUE(live.Rollback(0));
  EXPECT_EQ(Row(live, 3), base_row);
  EXPECT_EQ(live.Verify()->commits_checked, 5u);
}

TEST_F(LiveTablesTest, CommitsDuringCompactionStayOnTop) {
  LiveMemoryOptions options = Options();
  std::latch written(1);
  std::latch go_on(1);
  bool armed = false;
  options.fault_point = [&](std::string_view point) {
    if (!armed || point != "compact.opened") return;
    armed = false;
    written.count_down();
    go_on.wait();
  };
  TestLive live(options);
  const Bytes base_row = Row(live, 2);
  ASSERT_TRUE(live.Commit({Fill(live, 0, 1, 0x11), Fill(live, 0, 2, 0x12)}));
  armed = true;
  std::promise<Result<CompactionReport>> promise;
  live.live->Compact("ann", {}, [&](Result<CompactionReport> report) { promise.set_value(std::move(report)); });
  written.wait();
  EXPECT_EQ(live.live->status().running_job, "compaction");
  EXPECT_EQ(live.Compact().error().code, ErrorCode::kFailedPrecondition);
  ASSERT_TRUE(live.Commit({Fill(live, 0, 1, 0x21)}));
  ASSERT_TRUE(live.Rollback(0));  // rows of the old base, which the new one does not have
  ASSERT_TRUE(live.Commit({Fill(live, 0, 5, 0x45)}));
  go_on.count_down();
  const auto report = promise.get_future().get();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->base_version, 1u);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(Row(live, 2), base_row);
    EXPECT_EQ(Row(live, 5), Pattern(live, 0x45));
    EXPECT_EQ(Row(live, 1, 2), Pattern(live, 0x21));
    EXPECT_EQ(Row(live, 2, 1), Pattern(live, 0x12));
    EXPECT_FALSE(live.live->ReadRows(live.memory->layers()[0], std::vector<uint64_t>{2}, {})->rows[0].state.edited);
    if (round == 0) Reopen(live, Options());
  }
  ASSERT_TRUE(live.Rollback(1));
  EXPECT_EQ(Row(live, 1), Pattern(live, 0x11));
  EXPECT_EQ(Row(live, 2), Pattern(live, 0x12));
}

TEST_F(LiveTablesTest, CompactionDropsEditsOlderThanTheRetainedVersions) {
  TestLive live(Options(2));
  for (uint8_t i = 1; i <= 5; ++i) ASSERT_TRUE(live.Commit({Fill(live, 0, i, i)}));
  const auto report = live.Compact();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->commits_folded, 4u);
  EXPECT_EQ(live.live->status().oldest_version, 4u);
  EXPECT_EQ(live.Rollback(3).error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(live.Diff({2, 5, 0, 10}).error().field, "from");
  ASSERT_TRUE(live.Rollback(4));
  const auto findings = live.Verify();
  EXPECT_FALSE(findings->bad_version.has_value());
  EXPECT_EQ(findings->commits_folded, 4u);
  EXPECT_FALSE(live.ListCommits(10, 3)->at(0).edits_kept);
  Reopen(live, Options(2));
  EXPECT_EQ(live.live->status().version, 6u);
  EXPECT_EQ(Row(live, 4), Pattern(live, 4));
}

TEST_F(LiveTablesTest, ACancelledCompactionChangesNothing) {
  TestLive live(Options());
  ASSERT_TRUE(live.Commit({Fill(live, 0, 1, 1)}));
  const auto report = Await<CompactionReport>([&](auto done) {
    live.live->Compact(
        "ann",
        [&](const JobProgress&) -> Status {
          return Error{ErrorCode::kCancelled, "enough", {}};
        },
        std::move(done));
  });
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(TableFiles().empty());
  EXPECT_EQ(live.live->status().base_version, 0u);
  EXPECT_TRUE(live.Compact());
}

TEST_F(LiveTablesTest, SwapsATableUnderTheEdits) {
  const TempDir tables_dir;
  Sha256Digest digest{};
  fs::path path;
  uint32_t layer = 0;
  {
    TestLive live(Options());
    layer = live.memory->layers()[0];
    Tables tables = ReadTables(*live.memory);
    std::fill(tables[0].begin(), tables[0].end(), uint8_t{0x77});
    path = PackTables(*live.memory, tables, tables_dir, "other").at(layer);
    digest = PackedTable::Open(path).value()->info().content_digest;
    ASSERT_TRUE(live.Commit({Fill(live, 0, 1, 0x11)}));
    const auto swap = [&](TableSwapRequest request) {
      return Await<CommitAnswer>([&](auto done) { live.live->SwapTable(std::move(request), {}, std::move(done)); });
    };
    TableSwapRequest request;
    request.layer = layer;
    request.path = path;
    request.digest = Sha256Digest{9};
    EXPECT_EQ(swap(request).error().field, "digest");
    request.digest = digest;
    request.layer = 99;
    EXPECT_EQ(swap(request).error().field, "layer");
    request.layer = layer;
    request.path = tables_dir.path() / "absent.ngt";
    EXPECT_EQ(swap(request).error().field, "path");
    EXPECT_EQ(live.live->status().version, 1u);
    request.path = path;
    const auto answer = swap(request);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->version, 2u);
    EXPECT_EQ(Row(live, 0), Pattern(live, 0x77));
    EXPECT_EQ(Row(live, 1), Pattern(live, 0x11));
    EXPECT_EQ(live.live->status().oldest_version, 2u);
    EXPECT_EQ(live.Rollback(1).error().field, "to");
    EXPECT_EQ(live.Diff({1, 2, 0, 10}).error().code, ErrorCode::kFailedPrecondition);
    ASSERT_TRUE(live.Commit({Fill(live, 0, 1, 0x21)}));
    ASSERT_TRUE(live.Rollback(2));
  }
  {
    TestLive live(Options());
    EXPECT_EQ(Row(live, 0), Pattern(live, 0x77));
    EXPECT_EQ(Row(live, 1), Pattern(live, 0x11));
    EXPECT_EQ(live.Verify()->commits_checked, 4u);
    EXPECT_EQ(live.ListCommits(4)->at(2).kind, CommitKind::kTableSwap);
  }
  fs::resize_file(path, fs::file_size(path) - 4096);
  const auto damaged = LiveMemory::Open(Options(), OpenModel());
  ASSERT_FALSE(damaged);
  EXPECT_THAT(damaged.error().message, HasSubstr(path.filename().string()));
}

TEST_F(LiveTablesTest, ExchangesTheModelBetweenCommits) {
  TestLive live(Options());
  ASSERT_TRUE(live.Commit({Fill(live, 0, 1, 0x11)}));
  OverlayRequest overlay;
  overlay.name = "tenant";
  overlay.rows = {Fill(live, 0, 2, 0x55)};
  ASSERT_TRUE(live.PutOverlay(overlay));
  ASSERT_TRUE(live.Compact());
  ASSERT_TRUE(live.Commit({Fill(live, 0, 3, 0x23)}));
  const auto replace = [&](LiveModel next, Status published) {
    return Await<void>([&](auto done) {
      live.live->Replace(
          std::move(next), [published] { return published; }, std::move(done));
    });
  };
  // The new one cannot be shown: the old one stays.
  const std::shared_ptr<ModelMemory> old = live.memory;
  EXPECT_FALSE(replace(OpenModel(), Status(Internal("no"))));
  EXPECT_EQ(live.live->model().memory, old);
  EXPECT_FALSE(replace(OpenModel(1000, "another"), Status(Internal("no"))));
  EXPECT_EQ(live.live->model().memory, old);
  EXPECT_EQ(live.live->ListOverlays().size(), 1u);

  const LiveModel next = OpenModel();
  const Status replaced = replace(next, {});
  ASSERT_TRUE(replaced) << replaced.error().message;
  live.memory = next.memory;
  EXPECT_EQ(Row(live, 1), Pattern(live, 0x11));
  EXPECT_EQ(Row(live, 3), Pattern(live, 0x23));
  EXPECT_TRUE(live.live->FindOverlay("tenant"));
  ASSERT_TRUE(live.Commit({Fill(live, 0, 4, 0x34)}));
  EXPECT_EQ(Row(live, 4), Pattern(live, 0x34));
  EXPECT_EQ(live.live->status().version, 3u);

  // The same name over other tables has a history of its own.
  const auto directory = kVectors / "models/dense-paper-hc4";
  LiveModel retrained;
  retrained.name = "test";
  retrained.memory = OpenMemory(OptionsFor(directory, ReadJson(directory / "config.json").at("engram")));
  ASSERT_TRUE(replace(retrained, {}));
  EXPECT_EQ(live.live->status().version, 0u);

  // So has another name.
  const LiveModel other = OpenModel(1000, "another");
  ASSERT_TRUE(replace(other, {}));
  live.memory = other.memory;
  EXPECT_EQ(live.live->status().version, 0u);
  EXPECT_TRUE(live.live->ListOverlays().empty());
  ASSERT_TRUE(live.Commit({Fill(live, 0, 4, 0x44)}));
  const LiveModel back = OpenModel();
  ASSERT_TRUE(replace(back, {}));
  live.memory = back.memory;
  EXPECT_EQ(live.live->status().version, 3u);
  EXPECT_EQ(Row(live, 4), Pattern(live, 0x34));
  EXPECT_TRUE(live.live->FindOverlay("tenant"));
}

TEST_F(LiveTablesTest, ABackupIsAStateDirectory) {
  const TempDir target;
  const fs::path copy = target.path() / "copy";
  TestLive live(Options());
  ASSERT_TRUE(live.Commit({Fill(live, 0, 1, 0x11)}));
  ASSERT_TRUE(live.Compact());
  ASSERT_TRUE(live.Commit({Fill(live, 0, 2, 0x22)}));
  const auto backup = [&] {
    return Await<BackupReport>([&](auto done) { live.live->Backup(copy, "ann", {}, std::move(done)); });
  };
  const auto report = backup();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->files.size(), 2u);
  EXPECT_EQ(report->version, 2u);
  EXPECT_TRUE(report->left_out.empty());
  EXPECT_EQ(backup().error().code, ErrorCode::kFailedPrecondition);
  ASSERT_TRUE(live.Commit({Fill(live, 0, 2, 0x33)}));  // not in the copy
  LiveMemoryOptions options = Options();
  options.state_dir = copy;
  TestLive restored(options);
  EXPECT_EQ(restored.live->status().version, 2u);
  EXPECT_EQ(Row(restored, 1), Pattern(restored, 0x11));
  EXPECT_EQ(Row(restored, 2), Pattern(restored, 0x22));
  EXPECT_EQ(restored.Verify()->commits_checked, 2u);
}

TEST_F(LiveTablesTest, VerifyNamesATamperedCommit) {
  {
    TestLive live(Options());
    for (uint8_t i = 1; i <= 4; ++i) ASSERT_TRUE(live.Commit({Fill(live, 0, i, i)}));
  }
  {
    auto database = Database::Open({dir_.path() / "journal.sqlite", false, {}}).value();
    ASSERT_TRUE(database->Execute("UPDATE edits SET before_versions=zeroblob(8), flags=x'00' WHERE version=3"));
  }
  TestLive live(Options());
  const auto findings = live.Verify();
  ASSERT_TRUE(findings) << findings.error().message;
  EXPECT_EQ(findings->bad_version, 3u);
  EXPECT_EQ(findings->commits_checked, 2u);
}

}  // namespace
}  // namespace engram
