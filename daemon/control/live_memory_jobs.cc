// SPDX-License-Identifier: Apache-2.0
// The long jobs on thread "tables": exchange of the model, verification, the n-gram index.
#include <pthread.h>

#include "control/live_memory_impl.h"
#include "journal/chain_verifier.h"

namespace engram {
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

Status LiveMemory::Impl::Step(const Progress& progress, const JobProgress& now) const {
  if (cancel) return Error{ErrorCode::kCancelled, "engramd is stopping", {}};
  return progress ? progress(now) : Status();
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
  bool same = false;
  std::shared_ptr<BaseTables> base;
  if (next.memory) {
    ENGRAM_TRY(const ModelRecord known, OnJournal([&]() -> Result<ModelRecord> {
                 ENGRAM_TRY(ModelRecord of_next, FindOrAddModel(next, /*new_tables=*/true));
                 same = present.memory && next.name == present.name && of_next.id == record.id;
                 return of_next;
               }));
    // Compaction, or a table swap, has put other tables under that history. They load before anything waits.
    ENGRAM_TRY(base, OpenCataloguedBase(known, *next.memory));
  }
  return OnJournal([&]() -> Status {
    if (!same) {
      // The present model stays at hand until the next one is visible.
      const ModelRecord old_record = record;
      const JournalHead old_head = head;
      const auto old_overlays = overlays;
      const uint64_t old_overlay_bytes = overlay_bytes;
      ENGRAM_CHECK_OK(Attach(next, /*new_tables=*/true, std::move(base)));
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
    ENGRAM_CHECK_OK(Step(progress, {"checking commits", verifier->findings().commits_checked, total}));
    ENGRAM_TRY(const bool done, OnJournal([&]() -> Result<bool> { return verifier->Step(); }));
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
                                          return Step(progress, {"reading the text", done, total});
                                        }));
  }
  std::lock_guard lock(mutex);
  ngrams = index;
  if (index == nullptr) return NgramIndexReport{};
  return NgramIndexReport{index->tokens(), index->size(), index->sample()};
}

}  // namespace engram
