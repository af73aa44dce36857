// SPDX-License-Identifier: Apache-2.0
// What LiveMemory's source files share. Members say which thread they belong to.
#pragma once

#include <pthread.h>

#include <atomic>
#include <exception>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <utility>

#include "control/journal_thread.h"
#include "control/live_memory.h"
#include "control/ngram_index.h"
#include "control/row_edits.h"
#include "control/shared_journal.h"
#include "core/bounded_queue.h"
#include "core/clock.h"
#include "journal/journal.h"

namespace engram {

// What `work` returns, or what it throws as an error.
template <typename Work>
auto Guarded(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  } catch (const std::exception& error) {
    return Internal(error.what());
  }
}

struct LiveMemory::Impl {
  explicit Impl(LiveMemoryOptions given) : options(std::move(given)) {}

  // live_memory_open.cc, thread "journal".
  // Makes `next` the model whose history is at hand; on an error everything is as before. `new_tables`: its name may
  // come with tables that no history of that name began with. `base`: as OpenCataloguedBase() gave it.
  Status Attach(LiveModel next, bool new_tables, std::shared_ptr<BaseTables> base);
  Result<ModelRecord> FindOrAddModel(const LiveModel& next, bool new_tables) const;
  // kFailedPrecondition when there is a history of this name over other tables.
  Status CheckNewName(const ModelRecord& present) const;
  // Puts them into `next`; those whose time is over into `expired` instead.
  Status RestoreOverlays(const ModelRecord& record, const LiveModel& next, std::map<std::string, OverlayInfo>& infos,
                         std::vector<std::string>& expired);
  // The base tables the catalogue names, if they are not those `memory` has; nullptr otherwise. May block for long: not
  // on thread "journal".
  Result<std::shared_ptr<BaseTables>> OpenCataloguedBase(const ModelRecord& record, const ModelMemory& memory) const;
  std::filesystem::path TablePath(const BaseTableRecord& table) const { return options.state_dir / *table.path; }
  // The oldest version that must stay readable.
  uint64_t FirstRetained() const;

  // live_memory.cc, thread "journal".
  Result<std::optional<CommitAnswer>> EarlierAnswer(const std::optional<IdempotencyKey>& key) const;
  Status CheckVersion(const std::optional<uint64_t>& if_version) const;
  Result<CommitAnswer> CommitNow(const CommitRequest& request, const ModelMemory* resolved_for, ResolvedEdits resolved);
  Result<CommitAnswer> RollbackNow(const RollbackRequest& request);
  // Durable, then visible.
  Result<CommitAnswer> Append(CommitRecord record, std::vector<EditChunk> chunks,
                              const std::optional<IdempotencyKey>& key);
  CommitRecord NewRecord(CommitKind kind, const std::string& author, const std::string& note,
                         const std::string& actor) const;
  void Emit(const std::string& kind, const std::string& name, uint64_t rows) const;

  // live_memory_overlays.cc, thread "journal".
  Result<OverlayInfo> PutOverlayNow(OverlayInfo info, std::shared_ptr<const Overlay> overlay,
                                    std::span<const uint8_t> payload, const std::string& actor);
  Result<OverlayReceipt> DeleteOverlayNow(const std::string& name, const std::string& actor);
  // When the next overlay expires, or an erasure is to be tried again.
  std::optional<JournalThread::Clock::time_point> ExpireOverlays();
  bool EraseLog();

  // live_memory_tables.cc, thread "journal".
  std::optional<JournalThread::Clock::time_point> Upkeep();
  // Removes the table files of a compaction that failed, once no power cut can bring it back.
  void RemoveAbandonedTables();

  // live_memory_jobs.cc, thread "tables".
  void WorkOnJobs();
  Result<CompactionReport> CompactNow(const std::string& actor, const Progress& progress);
  Result<CompactionReport> FoldNow(const std::string& actor, const Progress& progress, bool& catalogue_touched);
  void DropFoldedEdits(const Progress& progress, CompactionReport& report);
  Result<CommitAnswer> SwapTableNow(const TableSwapRequest& request, const Progress& progress);
  Result<BackupReport> BackupNow(const std::filesystem::path& directory, const std::string& actor,
                                 const Progress& progress);
  Status CopyState(const std::filesystem::path& directory, const std::string& actor, const Progress& progress,
                   BackupReport& report);
  Result<JournalFindings> VerifyNow(const Progress& progress);
  Result<NgramIndexReport> IndexNgramsNow(const std::filesystem::path& text_file, const Progress& progress);
  Status ReplaceNow(LiveModel next, const std::function<Status()>& publish);

  // Runs `work` on thread "journal" and calls `done` with its result.
  template <typename T, typename Work>
  void Submit(Done<T> done, Work work) {
    auto shared = std::make_shared<Done<T>>(std::move(done));
    const auto outcome = TryPost(
        [shared, work = std::move(work)]() mutable { (*shared)(Guarded([&]() -> Result<T> { return work(); })); });
    if (outcome != JournalThread::Outcome::kQueued) (*shared)(Refusal(outcome));
  }
  // kStopped from Stop() on.
  JournalThread::Outcome TryPost(std::function<void()> task);
  Error Refusal(JournalThread::Outcome outcome) const;
  // From any other thread: runs `work` on thread "journal" and returns its result.
  template <typename Work>
  auto OnJournal(const Work& work) -> decltype(work()) {
    std::optional<decltype(work())> result;
    if (!thread->Call([&] { result.emplace(Guarded(work)); })) return Unavailable("stopping");
    return *std::move(result);
  }
  // Runs `work` on thread "tables" as the one job there is.
  template <typename T, typename Work>
  void StartJob(const char* name, Done<T> done, Work work) {
    if (Status started = ClaimJob(name); !started) return done(std::move(started).error());
    auto shared = std::make_shared<Done<T>>(std::move(done));
    std::function<void()> job = [this, shared, work = std::move(work)]() mutable {
      Result<T> result = Guarded([&]() -> Result<T> { return work(); });
      ReleaseJob();
      (*shared)(std::move(result));
    };
    // There is room, as there is no other job; but Stop() may have come between.
    if (jobs.TryPush(std::move(job))) return;
    ReleaseJob();
    (*shared)(Refusal(JournalThread::Outcome::kStopped));
  }
  Status ClaimJob(const char* name);
  void ReleaseJob();
  // A step of a job: kCancelled once Stop() was called, or what `progress` says.
  Status Step(const Progress& progress, const JobProgress& now) const;

  LiveModel CurrentModel() const {
    std::lock_guard lock(mutex);
    return model;
  }
  // The memory, or kUnsupported.
  Result<std::shared_ptr<ModelMemory>> Memory() const;
  void Fault(std::string_view point) const {
    if (options.fault_point) options.fault_point(point);
  }

  const LiveMemoryOptions options;

  std::shared_ptr<SharedJournal> shared;
  JournalThread* thread = nullptr;  // of `shared`

  // Thread "journal".
  Journal* journal = nullptr;  // of `shared`
  ModelRecord record;
  JournalHead head;
  std::set<std::string> undeleted;              // expired, but still in the journal's file
  int64_t next_expiry_ms = 0;                   // no overlay expires before
  bool log_holds_deleted = false;               // EraseLog() has to be tried again
  JournalThread::Clock::time_point retry_at{};  // of the two above, after a failure
  int64_t abandoned_tables = 0;                 // the model whose table files of a failed compaction are there; 0: none
  JournalThread::Clock::time_point remove_at{};

  mutable std::mutex mutex;
  LiveModel model;                              // guarded by mutex; changed on thread "journal"
  std::map<std::string, OverlayInfo> overlays;  // guarded by mutex; changed on thread "journal"
  uint64_t overlay_bytes = 0;                   // guarded by mutex; of `overlays`
  uint64_t base_version = 0;                    // guarded by mutex; as record's
  std::string running_job;                      // guarded by mutex; empty: none
  std::shared_ptr<const NgramIndex> ngrams;     // guarded by mutex
  bool stopped = false;                         // guarded by mutex

  std::atomic<bool> cancel{false};
  BoundedQueue<std::function<void()>> jobs{1};
  std::thread tables;
};

}  // namespace engram
