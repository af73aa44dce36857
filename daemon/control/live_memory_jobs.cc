// SPDX-License-Identifier: Apache-2.0
// The long jobs on thread "tables": exchange of the model, backup, verification, the n-gram index.
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "control/live_memory_impl.h"
#include "core/file.h"
#include "core/log.h"
#include "journal/chain_verifier.h"

namespace engram {
namespace {

// Pages of 16 KiB that are copied before a waiting commit gets its turn.
constexpr int kBackupPages = 128;

// Contents and name on the disk. Files of the same file system share their blocks where it can do that.
Status CopyFile(const std::filesystem::path& from, const std::filesystem::path& to) {
  const auto failed = [](const std::filesystem::path& path, const char* what) {
    return IoError(path.string() + ": " + what + ": " + std::system_category().message(errno));
  };
  const UniqueFd in(open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in) return failed(from, "cannot be opened");
  const UniqueFd out(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out) return failed(to, "cannot be made");
  if (ioctl(out.get(), FICLONE, in.get()) != 0) {
    for (;;) {
      const ssize_t copied = copy_file_range(in.get(), nullptr, out.get(), nullptr, size_t{64} << 20, 0);
      if (copied < 0 && errno == EINTR) continue;
      if (copied < 0) return failed(to, "copying");
      if (copied == 0) break;
    }
  }
  if (fsync(out.get()) != 0) return failed(to, "flushing");
  return {};
}

Status FlushDirectory(const std::filesystem::path& path) {
  const UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || fsync(directory.get()) != 0)
    return IoError(path.string() + ": flushing: " + std::system_category().message(errno));
  return {};
}

}  // namespace

void LiveMemory::Impl::WorkOnJobs() {
  pthread_setname_np(pthread_self(), "tables");
  while (auto job = jobs.Pop()) (*job)();
}

Status LiveMemory::Impl::ClaimJob(const char* name) {
  std::lock_guard lock(mutex);
  if (stopped) return Unavailable("engramd is stopping");
  if (!running_job.empty())
    return FailedPrecondition("a " + running_job + " is running; there can be one such job at a time");
  running_job = name;
  cancel = false;
  return {};
}

void LiveMemory::Impl::ReleaseJob() {
  std::lock_guard lock(mutex);
  running_job.clear();
}

Status LiveMemory::Impl::CheckCancelled() const {
  if (cancel) return Error{ErrorCode::kCancelled, "the job was cancelled", {}};
  return {};
}

void LiveMemory::CancelJob() {
  impl_->cancel = true;
}

void LiveMemory::Compact(std::string actor, Progress progress, Done<CompactionReport> done) {
  impl_->StartJob<CompactionReport>("compaction", std::move(done),
                                    [impl = impl_.get(), actor = std::move(actor), progress = std::move(progress)] {
                                      return impl->CompactNow(actor, progress);
                                    });
}

void LiveMemory::SwapTable(TableSwapRequest request, Progress progress, Done<CommitAnswer> done) {
  impl_->StartJob<CommitAnswer>("table_swap", std::move(done),
                                [impl = impl_.get(), request = std::move(request), progress = std::move(progress)] {
                                  return impl->SwapTableNow(request, progress);
                                });
}

void LiveMemory::Backup(std::filesystem::path directory, std::string actor, Progress progress,
                        Done<BackupReport> done) {
  impl_->StartJob<BackupReport>(
      "backup", std::move(done),
      [impl = impl_.get(), directory = std::move(directory), actor = std::move(actor), progress = std::move(progress)] {
        return impl->BackupNow(directory, actor, progress);
      });
}

void LiveMemory::Verify(Progress progress, Done<JournalFindings> done) {
  impl_->StartJob<JournalFindings>("verify", std::move(done), [impl = impl_.get(), progress = std::move(progress)] {
    return impl->VerifyNow(progress);
  });
}

void LiveMemory::IndexNgrams(std::filesystem::path text_file, Progress progress, Done<NgramIndexReport> done) {
  impl_->StartJob<NgramIndexReport>(
      "ngram_index", std::move(done),
      [impl = impl_.get(), text_file = std::move(text_file), progress = std::move(progress)] {
        return impl->IndexNgramsNow(text_file, progress);
      });
}

void LiveMemory::Replace(LiveModel next, std::function<Status()> publish, Done<void> done) {
  impl_->StartJob<void>("model_swap", std::move(done),
                        [impl = impl_.get(), next = std::move(next), publish = std::move(publish)] {
                          return impl->ReplaceNow(next, publish);
                        });
}

Status LiveMemory::Impl::ReplaceNow(LiveModel next, const std::function<Status()>& publish) {
  const LiveModel present = CurrentModel();
  bool same = next.memory && present.memory && next.name == present.name;
  std::shared_ptr<BaseTables> base;
  if (same) {
    ENGRAM_TRY(const ModelRecord known, OnJournal([&]() -> Result<ModelRecord> {
                 ENGRAM_TRY(ModelRecord of_next, FindOrAddModel(next, /*new_tables=*/true));
                 same = of_next.id == record.id;
                 return of_next;
               }));
    // Compaction, or a table swap, has put other tables under the present model. They load before anything waits.
    if (same) {
      ENGRAM_TRY(base, OpenCataloguedBase(known, *next.memory));
    }
  }
  return OnJournal([&]() -> Status {
    if (!same) {
      // The present model stays at hand until the next one is visible.
      const ModelRecord old_record = record;
      const JournalHead old_head = head;
      const auto old_overlays = overlays;
      const uint64_t old_overlay_bytes = overlay_bytes;
      ENGRAM_CHECK_OK(Attach(next, /*new_tables=*/true));
      if (Status published = publish(); !published) {
        record = old_record;
        head = old_head;
        next_expiry_ms = 0;
        std::lock_guard lock(mutex);
        model = present;
        overlays = old_overlays;
        overlay_bytes = old_overlay_bytes;
        base_version = record.base_version;
        return published;
      }
    } else {
      if (base) {
        ENGRAM_TRY(const MemoryView view, next.memory->View());
        next.memory->SwapBase(base, view.edits);
      }
      ENGRAM_CHECK_OK(next.memory->Adopt(*present.memory));
      ENGRAM_CHECK_OK(publish());
      std::lock_guard lock(mutex);
      model = next;
      ngrams = nullptr;
    }
    Emit("model_swap", next.name, 0);
    return {};
  });
}

Result<BackupReport> LiveMemory::Impl::BackupNow(const std::filesystem::path& directory, const std::string& actor,
                                                 const Progress& progress) {
  std::error_code error;
  if (std::filesystem::exists(directory, error) && !std::filesystem::is_empty(directory, error))
    return FailedPrecondition("directory: " + directory.string() + " is not empty");
  std::filesystem::create_directories(directory / "tables", error);
  if (error) return IoError("directory: " + directory.string() + " cannot be made: " + error.message());
  BackupReport report;
  report.directory = directory;
  std::unique_ptr<Database::Backup> backup;  // used on thread "journal" alone
  std::set<std::filesystem::path> tables;
  const auto copy = [&]() -> Status {
    ENGRAM_CHECK_OK(OnJournal([&]() -> Status {
      ENGRAM_CHECK_OK(journal->AddAudit({0, UnixMs(), actor, "backup", directory.string()}));
      ENGRAM_TRY(backup, journal->database().StartBackup(directory / "journal.sqlite"));
      return {};
    }));
    for (bool complete = false; !complete;) {
      ENGRAM_CHECK_OK(CheckCancelled());
      ENGRAM_TRY(complete, OnJournal([&]() -> Result<bool> {
                   ENGRAM_TRY(const bool all, backup->Step(kBackupPages));
                   if (!all) return false;
                   report.version = head.version;
                   ENGRAM_TRY(const std::vector<ModelRecord> models, journal->ListModels());
                   for (const ModelRecord& known : models)
                     for (const BaseTableRecord& table : known.tables)
                       if (table.path) tables.insert(*table.path);
                   return true;
                 }));
      if (progress) progress({"copying the journal", backup->pages_done, backup->pages_total});
    }
    return {};
  };
  const Status copied = copy();
  // Its connection must not be closed while thread "journal" writes through the one it copies.
  ENGRAM_CHECK_OK(OnJournal([&]() -> Status {
    backup.reset();
    return {};
  }));
  ENGRAM_CHECK_OK(copied);
  report.files.push_back("journal.sqlite");
  uint64_t done = 0;
  for (const std::filesystem::path& table : tables) {
    ENGRAM_CHECK_OK(CheckCancelled());
    if (progress) progress({"copying tables", done++, tables.size()});
    if (table.is_absolute()) {
      report.left_out.push_back(table);
      continue;
    }
    ENGRAM_CHECK_OK(CopyFile(options.state_dir / table, directory / table));
    report.files.push_back(table);
  }
  for (const std::filesystem::path& file : report.files) report.bytes += std::filesystem::file_size(directory / file);
  ENGRAM_CHECK_OK(FlushDirectory(directory / "tables"));
  ENGRAM_CHECK_OK(FlushDirectory(directory));
  return report;
}

Result<JournalFindings> LiveMemory::Impl::VerifyNow(const Progress& progress) {
  ENGRAM_CHECK_OK(Memory());
  std::optional<ChainVerifier> verifier;
  uint64_t total = 0;
  ENGRAM_CHECK_OK(OnJournal([&]() -> Status {
    verifier.emplace(*journal, record);
    total = head.version;
    return {};
  }));
  for (;;) {
    ENGRAM_CHECK_OK(CheckCancelled());
    ENGRAM_TRY(const bool done, OnJournal([&]() -> Result<bool> { return verifier->Step(); }));
    if (progress) progress({"checking commits", verifier->findings().commits_checked, total});
    if (done) break;
  }
  const ChainVerifier::Findings& findings = verifier->findings();
  return JournalFindings{findings.commits_checked, findings.commits_folded, findings.bad_version, findings.problem};
}

Result<NgramIndexReport> LiveMemory::Impl::IndexNgramsNow(const std::filesystem::path& text_file,
                                                          const Progress& progress) {
  const LiveModel current = CurrentModel();
  ENGRAM_TRY(const auto memory, Memory());
  std::shared_ptr<const NgramIndex> index;
  if (!text_file.empty()) {
    if (current.tokenizer == nullptr) return Unsupported("the model has no tokenizer");
    ENGRAM_TRY(index, NgramIndex::Build(text_file, *current.tokenizer, memory, NgramIndex::kMaxNgrams,
                                        [&](uint64_t done, uint64_t total) -> Status {
                                          if (progress) progress({"reading the text", done, total});
                                          return CheckCancelled();
                                        }));
  }
  std::lock_guard lock(mutex);
  ngrams = index;
  if (index == nullptr) return NgramIndexReport{};
  return NgramIndexReport{index->tokens(), index->size(), index->sample()};
}

}  // namespace engram
