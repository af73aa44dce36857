// SPDX-License-Identifier: Apache-2.0
// Full and broken disks at each write of what changes the memory: the journal's by FaultVfs, table files and backups by
// fault_files. Whatever fails says so, changes nothing, leaves no file behind, and works the next time.
#include <sqlite3.h>

#include <cerrno>
#include <functional>
#include <set>

#include "control/live_memory.h"
#include "control/test_live_memory.h"
#include "journal/journal.h"
#include "support/fault_files.h"
#include "support/fault_vfs.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;

// What users can see of a memory, and the files that hold it.
struct Visible {
  std::string model;
  uint64_t version = 0;
  uint64_t base_version = 0;
  std::set<std::string> overlays;
  Tables rows;
  std::set<fs::path> tables;
  bool operator==(const Visible&) const = default;
};

struct Act {
  const char* name;
  std::function<void(TestLive&, int round)> prepare;
  std::function<Status(TestLive&, int round)> run;
};

template <typename T>
Status Outcome(Result<T> result) {
  if (result) return {};
  return std::move(result).error();
}

class LiveFaultsTest : public testing::Test {
 protected:
  LiveFaultsTest() : vfs_("live_memory_faults_test") {}
  LiveMemoryOptions Options() const {
    LiveMemoryOptions options;
    options.state_dir = dir_.path() / "state";
    options.retain_versions = 2;
    options.compaction_bytes_per_s = 0;
    options.sqlite_vfs = vfs_.name();
    return options;
  }
  static void Commit(TestLive& live, uint64_t row, int byte) {
    const auto memory = live.live->model().memory;
    const auto answer =
        live.Commit({SetRow(memory->layers()[0], row, Bytes(memory->row_bytes(), static_cast<uint8_t>(byte)))});
    ASSERT_TRUE(answer) << answer.error().message;
  }
  static OverlayRequest OverlayOf(TestLive& live, int byte) {
    OverlayRequest request;
    request.name = "tenant";
    request.rows = {SetRow(live.memory->layers()[0], 7, Bytes(live.memory->row_bytes(), static_cast<uint8_t>(byte)))};
    return request;
  }
  fs::path CopyPath(int round) const { return dir_.path() / ("copy-" + std::to_string(round)); }
  Status Backup(TestLive& live, int round) const {
    return Outcome(
        Await<BackupReport>([&](auto done) { live.live->Backup(CopyPath(round), "ann", {}, std::move(done)); }));
  }
  Visible Look(TestLive& live) const {
    const LiveMemoryStatus status = live.live->status();
    Visible seen{status.model, status.version, status.base_version, {}, ReadTables(*live.live->model().memory), {}};
    for (const OverlayInfo& overlay : live.live->ListOverlays()) seen.overlays.insert(overlay.name);
    for (const auto& entry : fs::directory_iterator(dir_.path() / "state/tables")) seen.tables.insert(entry.path());
    return seen;
  }
  // Other tables of the same geometry, to swap to.
  fs::path OtherTable(TestLive& live, uint8_t byte) const {
    Tables tables = ReadTables(*live.memory);
    std::fill(tables[0].begin(), tables[0].end(), byte);
    return PackTables(*live.memory, tables, dir_, "other" + std::to_string(byte)).at(live.memory->layers()[0]);
  }

  // Runs the act with a fault at each of its writes in turn, until there are no more. `arm` and `disarm` are the
  // faults'; returns how many runs were refused.
  int FailEverywhere(TestLive& live, const Act& act, const std::function<void(int at)>& arm,
                     const std::function<bool()>& disarm) const {
    int refused = 0;
    static int round = 0;  // no two runs do the same
    for (int at = 0;; ++at) {
      SCOPED_TRACE(std::string(act.name) + " at " + std::to_string(at));
      ++round;
      act.prepare(live, round);
      const Visible before = Look(live);
      arm(at);
      const Status first = act.run(live, round);
      const bool struck = disarm();
      if (!first) {
        ++refused;
        EXPECT_THAT(first.error().code, AnyOf(ErrorCode::kOutOfSpace, ErrorCode::kIo));
        EXPECT_THAT(first.error().message, HasSubstr(dir_.path().string()));  // names the file
        EXPECT_EQ(Look(live), before);
        EXPECT_FALSE(fs::exists(CopyPath(round)));
        EXPECT_FALSE(fs::exists(CopyPath(round).string() + ".partial"));
        const Status second = act.run(live, round);
        EXPECT_TRUE(second) << second.error().message;
      }
      std::error_code ignored;
      fs::remove_all(CopyPath(round), ignored);
      if (!struck || HasFailure() || at > 500) break;
    }
    return refused;
  }
  // After a restart everything is as it was.
  void CheckRestart(std::unique_ptr<TestLive> live) const {
    const Visible before = Look(*live);
    live = nullptr;
    TestLive again(Options(), OpenModel(2, before.model));
    EXPECT_EQ(Look(again), before);
    const auto findings = again.Verify();
    ASSERT_TRUE(findings) << findings.error().message;
    EXPECT_FALSE(findings->bad_version.has_value()) << findings->problem;
  }
  std::unique_ptr<TestLive> OpenLive() const {
    fs::create_directories(dir_.path() / "state");
    return std::make_unique<TestLive>(Options());
  }

  const TempDir dir_;
  FaultVfs vfs_;
};

TEST_F(LiveFaultsTest, EveryWriteOfTheJournal) {
  auto live = OpenLive();
  const fs::path tables[] = {OtherTable(*live, 0x31), OtherTable(*live, 0x32)};
  const auto nothing = [](TestLive&, int) {};
  const Act acts[] = {
      {"put an overlay", nothing, [](TestLive& at, int round) { return Outcome(at.PutOverlay(OverlayOf(at, round))); }},
      {"delete an overlay", [](TestLive& at, int round) { EXPECT_TRUE(at.PutOverlay(OverlayOf(at, round))); },
       [](TestLive& at, int) { return Outcome(at.DeleteOverlay("tenant")); }},
      {"roll back", [](TestLive& at, int round) { Commit(at, 1, round); },
       [](TestLive& at, int) { return Outcome(at.Rollback(at.live->status().version - 1)); }},
      {"compact and forget old versions",
       [](TestLive& at, int round) {
         for (uint64_t row = 0; row < 3; ++row) Commit(at, row, round);
       },
       [](TestLive& at, int) { return Outcome(at.Compact()); }},
      {"swap a table", nothing,
       [&](TestLive& at, int round) {
         TableSwapRequest request;
         request.layer = at.memory->layers()[0];
         request.path = tables[round % 2];
         return Outcome(Await<CommitAnswer>([&](auto done) { at.live->SwapTable(request, {}, std::move(done)); }));
       }},
      {"back up", nothing, [&](TestLive& at, int round) { return Backup(at, round); }},
      {"serve another model", nothing,
       [](TestLive& at, int round) {
         return Await<void>([&](auto done) {
           at.live->Replace(
               OpenModel(2, "model " + std::to_string(round)), [] { return Status(); }, std::move(done));
         });
       }},
  };
  for (const Act& act : acts) {
    for (const auto& [code, lasting] : std::vector<std::pair<int, bool>>{
             {SQLITE_FULL, false}, {SQLITE_FULL, true}, {SQLITE_IOERR_WRITE, false}, {SQLITE_IOERR_FSYNC, false}}) {
      SCOPED_TRACE(code);
      const int refused = FailEverywhere(
          *live, act, [&, code = code, lasting = lasting](int at) { vfs_.Arm(at, code, lasting); },
          [&] {
            vfs_.Disarm();
            const bool struck = vfs_.struck();
            vfs_.ResetStruck();
            return struck;
          });
      EXPECT_GT(refused, 0) << act.name;
      if (HasFailure()) return;
    }
  }
  CheckRestart(std::move(live));
}

TEST_F(LiveFaultsTest, EveryWriteOfTableFilesAndCopies) {
  auto live = OpenLive();
  const Act acts[] = {
      {"compact", [](TestLive& at, int round) { Commit(at, 5, round); },
       [](TestLive& at, int) { return Outcome(at.Compact()); }},
      {"back up", [](TestLive&, int) {}, [&](TestLive& at, int round) { return Backup(at, round); }},
  };
  for (const Act& act : acts) {
    for (const int code : {ENOSPC, EIO}) {
      for (const bool lasting : {false, true}) {
        SCOPED_TRACE(std::to_string(code) + (lasting ? " lasting" : ""));
        const int refused = FailEverywhere(
            *live, act, [&](int at) { fault_files::Arm(at, code, lasting); },
            [] {
              fault_files::Disarm();
              return fault_files::struck();
            });
        EXPECT_GT(refused, 3) << act.name;
        if (HasFailure()) return;
      }
    }
  }
  CheckRestart(std::move(live));
}

// Also of a copy in which overlays have expired since it was made: that they cannot be erased is no reason not to
// serve.
TEST_F(LiveFaultsTest, EveryWriteOfAStartFromABackup) {
  auto live = OpenLive();
  Commit(*live, 1, 0x11);
  ASSERT_TRUE(live->Compact());
  Commit(*live, 2, 0x22);
  ASSERT_TRUE(live->PutOverlay(OverlayOf(*live, 0x33)));
  ASSERT_TRUE(Backup(*live, 0));
  const Visible expected = Look(*live);
  live = nullptr;
  {
    const auto journal = Journal::Open({CopyPath(0) / "journal.sqlite", false, {}, {}}).value();
    const ModelRecord model = journal->ListModels().value().at(0);
    ASSERT_TRUE(
        journal->PutOverlay(model, {"expired", 1, 2, 1, 0, 1, {}}, {}, {0, 1, "ann", "overlay_put", "expired"}));
  }
  for (const int code : {SQLITE_FULL, SQLITE_IOERR_WRITE}) {
    for (int at = 0;; ++at) {
      SCOPED_TRACE(std::to_string(code) + " at " + std::to_string(at));
      fs::remove_all(dir_.path() / "state");
      fs::copy(CopyPath(0), dir_.path() / "state", fs::copy_options::recursive);
      vfs_.Arm(at, code, /*lasting=*/true);
      {
        auto opened = LiveMemory::Open(Options(), OpenModel(2));
        if (!opened) {
          EXPECT_THAT(opened.error().message, HasSubstr("journal.sqlite"));
        }
      }
      const bool struck = vfs_.struck();
      vfs_.Disarm();
      vfs_.ResetStruck();
      TestLive again(Options());
      ASSERT_TRUE(again.live);
      const Visible seen = Look(again);
      EXPECT_EQ(seen, expected);
      if (!struck || HasFailure()) break;
    }
  }
}

}  // namespace
}  // namespace engram
