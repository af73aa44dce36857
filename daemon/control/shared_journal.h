// SPDX-License-Identifier: Apache-2.0
// SharedJournal: the journal of a state directory and the one thread "journal" that owns it, shared by the LiveMemory
// of every model served from it.
//
// Any thread may hold it and use thread(); everything else belongs to the thread "journal". It must not end there: the
// last one to let go of it joins that thread.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "control/journal_thread.h"
#include "control/live_memory.h"
#include "core/result.h"
#include "journal/journal.h"

namespace engram {

class SharedJournal {
 public:
  using Clock = JournalThread::Clock;
  // When it wants to be called again at the latest.
  using Upkeep = std::function<std::optional<Clock::time_point>()>;

  // Opens or creates the journal that `options` name (state_dir, sqlite_vfs, max_queued, fault_point); removes table
  // files that it does not know.
  static Result<std::shared_ptr<SharedJournal>> Open(const LiveMemoryOptions& options);
  SharedJournal(const SharedJournal&) = delete;
  SharedJournal& operator=(const SharedJournal&) = delete;

  JournalThread& thread() { return *thread_; }
  Journal& journal() { return *journal_; }
  std::filesystem::path table_dir() const { return state_dir_ / "tables"; }

  // `upkeep` runs after every task and when due, until it is removed. It may throw std::bad_alloc.
  void AddUpkeep(const void* owner, Upkeep upkeep) { upkeeps_[owner] = std::move(upkeep); }
  void RemoveUpkeep(const void* owner) { upkeeps_.erase(owner); }

  // Table files of this model that the catalogue does not name: replaced, or of a compaction that failed. While tables
  // are being copied they stay, for the next time.
  void RemoveUnusedTables(int64_t model_id) { RemoveTables(TablePrefix(model_id)); }
  // How the names of a model's table files begin.
  static std::string TablePrefix(int64_t model_id) { return "model" + std::to_string(model_id) + "-"; }
  void BeginCopy() { ++copies_; }
  void EndCopy() { --copies_; }

 private:
  explicit SharedJournal(std::filesystem::path state_dir) : state_dir_(std::move(state_dir)) {}
  std::optional<Clock::time_point> RunUpkeep(bool idle);
  std::optional<Clock::time_point> WriteBack(bool idle);
  void RemoveTables(const std::string& prefix);

  const std::filesystem::path state_dir_;  // empty: all is in memory
  std::unique_ptr<Journal> journal_;
  std::map<const void*, Upkeep> upkeeps_;
  int copies_ = 0;
  Clock::time_point write_back_retry_{};
  std::unique_ptr<JournalThread> thread_;  // ends before what it uses
};

}  // namespace engram
