// SPDX-License-Identifier: Apache-2.0
#include "control/shared_journal.h"

#include <algorithm>
#include <exception>
#include <set>
#include <system_error>
#include <vector>

#include "core/log.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

// The log is written back when nothing waits and it has grown, and in any case before it gets long, so that it is
// always a small piece of work: pages of 16 KiB.
constexpr int kIdleCheckpointPages = 512;
constexpr int kForcedCheckpointPages = 2000;
// After a failed write-back, or upkeep that ran out of memory.
constexpr std::chrono::seconds kRetry{5};

}  // namespace

Result<std::shared_ptr<SharedJournal>> SharedJournal::Open(const LiveMemoryOptions& options) {
  std::shared_ptr<SharedJournal> shared(new SharedJournal(options.state_dir));
  JournalOptions journal_options;
  if (!options.state_dir.empty()) {
    journal_options.path = options.state_dir / "journal.sqlite";
    std::error_code error;
    fs::create_directories(shared->table_dir(), error);
    if (error) return IoError(shared->table_dir().string() + " cannot be made: " + error.message());
  }
  journal_options.vfs = options.sqlite_vfs;
  journal_options.fault_point = options.fault_point;
  ENGRAM_TRY(shared->journal_, Journal::Open(std::move(journal_options)));
  if (options.state_dir.empty())
    log::Warning("there is no state_dir: edits of the memory will be lost when engramd stops");
  shared->RemoveTables("");
  try {
    shared->thread_ = std::make_unique<JournalThread>(
        options.max_queued, [self = shared.get()](bool idle) { return self->RunUpkeep(idle); });
  } catch (const std::system_error& error) {
    return ResourceExhausted(std::string("a thread for the journal: ") + error.what());
  }
  return shared;
}

std::optional<SharedJournal::Clock::time_point> SharedJournal::RunUpkeep(bool idle) {
  std::optional<Clock::time_point> due = WriteBack(idle);
  for (const auto& [owner, upkeep] : upkeeps_) {
    std::optional<Clock::time_point> next;
    try {
      next = upkeep();
    } catch (const std::exception& problem) {
      log::Error("journal: {}", problem.what());
      next = Clock::now() + kRetry;
    }
    if (next && (!due || *next < *due)) due = next;
  }
  return due;
}

std::optional<SharedJournal::Clock::time_point> SharedJournal::WriteBack(bool idle) {
  Database& database = journal_->database();
  if (database.wal_pages() <= (idle ? kIdleCheckpointPages : kForcedCheckpointPages)) return std::nullopt;
  if (Clock::now() < write_back_retry_) return write_back_retry_;
  const auto written = database.Checkpoint(/*truncate=*/false);
  if (written) return std::nullopt;
  log::Warning("journal: {}", written.error().message);
  write_back_retry_ = Clock::now() + kRetry;
  return write_back_retry_;
}

void SharedJournal::RemoveTables(const std::string& prefix) {
  if (state_dir_.empty() || copies_ > 0) return;
  const auto models = journal_->ListModels();
  if (!models) return log::Warning("journal: {}", models.error().message);
  std::set<fs::path> used;
  for (const ModelRecord& known : *models)
    for (const BaseTableRecord& table : known.tables)
      if (table.path && table.path->is_relative()) used.insert(state_dir_ / *table.path);
  std::error_code error;
  std::vector<fs::path> unused;
  for (const auto& entry : fs::directory_iterator(table_dir(), error))
    if (entry.path().filename().string().starts_with(prefix) && entry.is_regular_file(error) &&
        !used.contains(entry.path()))
      unused.push_back(entry.path());
  for (const fs::path& path : unused) {
    fs::remove(path, error);
    log::Info("removed {}, which the journal does not name{}", path.string(),
              error ? ": failed: " + error.message() : std::string());
  }
}

}  // namespace engram
