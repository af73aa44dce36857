// SPDX-License-Identifier: Apache-2.0
// A process that commits, rolls back, compacts and migrates is ended without warning, again and again. After each end
// the journal opens, every acknowledged version is there as it was acknowledged, none is half there, the chain holds.
// ENGRAM_CRASH_RUNS sets how often (default 12).
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <random>

#include "control/live_memory.h"
#include "control/test_live_memory.h"
#include "journal/schema.h"

namespace engram {
namespace {

constexpr uint64_t kRows = 40;

// What version v holds follows from v alone, so that an unacknowledged commit can be told from a damaged one.
struct Plan {
  static bool IsRollback(uint64_t version) { return version % 5 == 4; }
  static uint64_t RollbackTo(uint64_t version) { return version - 3; }
  static uint64_t Row(uint64_t version, uint64_t i) { return (version * 7 + i * 11) % kRows; }
  static uint8_t Byte(uint64_t version, uint64_t i) { return static_cast<uint8_t>(version * 13 + i + 1); }
  static constexpr uint64_t kEdits = 8;
};

using Rows = std::map<uint64_t, uint8_t>;  // of every layer: row -> the byte it is filled with

std::vector<Rows> Expected(uint64_t head) {
  std::vector<Rows> versions(1);
  for (uint64_t v = 1; v <= head; ++v) {
    if (Plan::IsRollback(v)) {
      versions.push_back(versions[Plan::RollbackTo(v)]);
      continue;
    }
    versions.push_back(versions.back());
    for (uint64_t i = 0; i < Plan::kEdits; ++i) versions.back()[Plan::Row(v, i)] = Plan::Byte(v, i);
  }
  return versions;
}

struct Acknowledged {
  uint64_t version;
  Sha256Digest digest;
};

LiveMemoryOptions Options(const std::filesystem::path& state_dir) {
  LiveMemoryOptions options;
  options.state_dir = state_dir;
  options.compaction_bytes_per_s = 0;
  return options;
}

// The child: works until it ends itself at the `fatal`-th fault point, or is killed.
[[noreturn]] void Work(const std::filesystem::path& state_dir, int acknowledge_fd, uint64_t fatal) {
  LiveMemoryOptions options = Options(state_dir);
  std::atomic<uint64_t> passed{0};
  options.fault_point = [&](std::string_view) {
    if (++passed == fatal) _exit(0);
  };
  TestLive live(options);
  if (!live.live) _exit(1);
  for (;;) {
    const uint64_t version = live.live->status().version + 1;
    Result<CommitAnswer> answer = [&] {
      if (Plan::IsRollback(version)) return live.Rollback(Plan::RollbackTo(version));
      std::vector<RowEdit> edits;
      for (const uint32_t layer : live.memory->layers())
        for (uint64_t i = 0; i < Plan::kEdits; ++i)
          edits.push_back(
              SetRow(layer, Plan::Row(version, i), Bytes(live.memory->row_bytes(), Plan::Byte(version, i))));
      return live.Commit(std::move(edits));
    }();
    if (!answer) _exit(2);
    const Acknowledged line{answer->version, answer->digest};
    if (write(acknowledge_fd, &line, sizeof(line)) != sizeof(line)) _exit(3);
    if (version % 6 == 0 && !live.Compact()) _exit(4);
  }
}

// Runs a child until its end; what it acknowledged is appended.
void RunAndKill(const std::filesystem::path& state_dir, uint64_t fatal, bool by_signal,
                std::vector<Acknowledged>& acknowledged) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    close(fds[0]);
    Work(state_dir, fds[1], by_signal ? 0 : fatal);
  }
  close(fds[1]);
  Acknowledged line;
  uint64_t seen = 0;
  while (read(fds[0], &line, sizeof(line)) == static_cast<ssize_t>(sizeof(line))) {
    acknowledged.push_back(line);
    // At whatever it does by then.
    if (by_signal && ++seen == fatal % 7 + 1) kill(child, SIGKILL);
  }
  close(fds[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (by_signal) {
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  } else {
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << WEXITSTATUS(status);
  }
}

void CheckState(const std::filesystem::path& state_dir, const Tables& base,
                const std::vector<Acknowledged>& acknowledged) {
  TestLive live(Options(state_dir));
  ASSERT_TRUE(live.live);
  const uint64_t head = live.live->status().version;
  ASSERT_GE(head, acknowledged.empty() ? 0 : acknowledged.back().version);
  const auto findings = live.Verify();
  ASSERT_TRUE(findings) << findings.error().message;
  EXPECT_FALSE(findings->bad_version.has_value()) << *findings->bad_version << ": " << findings->problem;
  EXPECT_EQ(findings->commits_checked, head);
  std::map<uint64_t, Sha256Digest> digests;
  for (std::optional<uint64_t> before;;) {
    const auto page = live.ListCommits(1000, before);
    ASSERT_TRUE(page) << page.error().message;
    if (page->empty()) break;
    for (const CommitInfo& info : *page) digests[info.version] = info.digest;
    before = page->back().version;
  }
  for (const Acknowledged& one : acknowledged) ASSERT_EQ(digests.at(one.version), one.digest) << one.version;
  const std::vector<Rows> expected = Expected(head);
  const size_t row_bytes = live.memory->row_bytes();
  for (const uint64_t version : live.memory->retained_versions()) {
    if (version + 4 < head && version % 9 != 0) continue;  // the latest, and some older ones
    const auto view = live.memory->View(version);
    ASSERT_TRUE(view);
    for (uint32_t layer = 0; layer < base.size(); ++layer) {
      std::vector<uint64_t> ids(kRows);
      for (uint64_t i = 0; i < kRows; ++i) ids[i] = i;
      Bytes wanted(base[layer].begin(), base[layer].begin() + static_cast<ptrdiff_t>(kRows * row_bytes));
      for (const auto& [row, byte] : expected[version])
        std::fill_n(wanted.begin() + static_cast<ptrdiff_t>(row * row_bytes), row_bytes, byte);
      Bytes actual(kRows * row_bytes);
      ASSERT_TRUE(live.memory->ReadRows(*view, layer, ids, actual.data()));
      ASSERT_EQ(actual, wanted) << "version " << version << " layer " << layer;
    }
  }
}

TEST(LiveMemoryCrash, EveryAcknowledgedCommitIsThereAfterAKill) {
  const char* const asked = std::getenv("ENGRAM_CRASH_RUNS");
  const int runs = asked == nullptr ? 12 : std::atoi(asked);
  ASSERT_GT(runs, 0);
  const uint32_t seed = 20'260'101;
  std::mt19937 random(seed);
  Tables base;
  {
    const LiveModel model = OpenModel();  // before any child, which shares what it loads
    base = ReadTables(*model.memory);
  }
  std::unique_ptr<TempDir> dir;
  std::vector<Acknowledged> acknowledged;
  for (int run = 0; run < runs; ++run) {
    SCOPED_TRACE(run);
    if (run % 6 == 0) {
      dir = std::make_unique<TempDir>();
      acknowledged.clear();
      // The first children of a directory meet a journal of an older schema.
      auto old = Database::Open({dir->path() / "journal.sqlite", false, {}});
      ASSERT_TRUE(old && MigrateJournal(**old, {}, 1));
    }
    const bool by_signal = run % 3 == 2;
    const uint64_t fatal = run % 6 == 0 ? 1 + random() % 4 : 1 + random() % 60;
    RunAndKill(dir->path(), fatal, by_signal, acknowledged);
    if (HasFatalFailure()) return;
    CheckState(dir->path(), base, acknowledged);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace engram
