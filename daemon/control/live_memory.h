// SPDX-License-Identifier: Apache-2.0
// LiveMemory: the memory of the served model as something that is changed while it serves: commits, rollback,
// overlays, compaction, other base tables, backup. All of it is durable in a journal before it is visible. Several
// served models share a journal and its thread.
//
// Threads. Every method may be called from any thread. Those with a `done` callback return at once; their work runs in
// order on the one thread "journal", which owns the journal, or, where the comment says so, on the thread "tables",
// which each LiveMemory has and which does one long job at a time. `done` is called exactly once: on the thread that
// did the work, or on the calling thread, before the call returns, when the request is refused (kInvalidArgument;
// kResourceExhausted: the queue is full, try later; kUnavailable: stopped). Callbacks must not block and must not
// throw; they may call LiveMemory.
//
// Errors name the place as the client wrote it: "edits[17].values", "to", "entries[3].suffix" (Error::field).
// kFailedPrecondition: stale if_version, an idempotency key with another body, a version that is no longer kept.
// kResourceExhausted: a quota, a full queue. kOutOfSpace: a full disk. kIo, kDataLoss: the journal's file; the
// operation did not happen, and later ones are tried anew.
//
// A model without Engram memory has a LiveMemory too (its journal holds keys and the audit log); everything about
// memory is kUnsupported there.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/commit.h"
#include "control/overlay_request.h"
#include "core/result.h"
#include "memory/model_memory.h"
#include "memory/overlay.h"

namespace engram {

class Engine;
class Journal;        // journal/journal.h
class SharedJournal;  // control/shared_journal.h
class Tokenizer;      // text/tokenizer.h

// The model whose memory is live. The parts are shared with, and usually owned by, its engine.
struct LiveModel {
  std::string name;                            // what clients call it; the key of its history in the journal
  std::shared_ptr<ModelMemory> memory;         // nullptr: a plain model
  std::shared_ptr<const Tokenizer> tokenizer;  // for the n-gram index alone; may be nullptr

  // Parts that keep `engine` alive as long as they are held.
  static LiveModel Of(const std::shared_ptr<Engine>& engine);
};

// Something happened; for event streams. Called on thread "journal"; must not block.
struct MemoryEvent {
  std::string
      kind;  // commit, rollback, table_swap, overlay_put, overlay_deleted, overlay_expired, compaction, model_swap
  std::string model;
  std::string name;      // the overlay's; else empty
  uint64_t version = 0;  // the current one
  uint64_t rows = 0;     // of a commit or overlay
  int64_t unix_ms = 0;
};

struct LiveMemoryOptions {
  std::filesystem::path state_dir;  // empty: the journal lives in memory and ends with the process
  uint32_t retain_versions = 1000;  // at least so many versions stay readable by `as_of`
  uint32_t max_commit_rows = 65'536;
  uint64_t overlay_quota_bytes = 16u << 20;  // one overlay
  uint64_t overlay_total_bytes = 1u << 30;   // all of them
  uint32_t max_overlays = 10'000;
  uint32_t max_queued = 256;                     // requests that wait for thread "journal"
  uint64_t compaction_bytes_per_s = 256u << 20;  // how fast compaction reads and writes; 0: as fast as it can
  std::function<void(const MemoryEvent&)> on_event;
  // For tests: called at named points ("commit.written", "compact.table", ..) on the thread that gets there.
  std::function<void(std::string_view point)> fault_point;
  std::string sqlite_vfs;  // for tests: an SQLite VFS by name; empty: the default
};

struct LiveMemoryStatus {
  std::string model;
  bool has_memory = false;
  bool durable = false;           // false: what is committed is lost at exit
  std::filesystem::path journal;  // empty when not durable
  uint64_t version = 0;
  uint64_t oldest_version = 0;  // the oldest readable by `as_of`
  uint64_t base_version = 0;    // the version folded into the base tables
  uint64_t edited_rows = 0;     // shown in place of base rows, over all layers
  uint64_t overlays = 0;
  uint64_t overlay_bytes = 0;
  uint64_t queued = 0;
  uint64_t max_queued = 0;
  std::string running_job;  // "compaction", "table_swap", "backup", "verify", "ngram_index"; empty: none
};

// How far a job on thread "tables" is.
struct JobProgress {
  std::string stage;  // "folding layer 1", "copying journal", ..
  uint64_t done = 0;
  uint64_t total = 0;  // of `done`; 0: not known
};

struct CompactionReport {
  struct Table {
    uint32_t layer = 0;
    std::filesystem::path path;
    Sha256Digest digest{};
    uint64_t rows_folded = 0;
  };
  uint64_t base_version = 0;
  std::vector<Table> tables;
  uint64_t commits_folded = 0;  // whose edits left the journal: older than the retained versions
  std::string problem;          // why not all did; empty: all
};

struct TableSwapRequest {
  uint32_t layer = 0;                  // model layer number
  std::filesystem::path path;          // a packed table; the caller has checked that it may be used
  std::optional<Sha256Digest> digest;  // of its content, as its header states it and as its rows are checked to have
  std::string author;
  std::string note;
  std::string actor;
};

struct BackupReport {
  std::filesystem::path directory;
  std::vector<std::filesystem::path> files;     // relative to it
  std::vector<std::filesystem::path> left_out;  // base tables outside the state directory: the operator's own
  uint64_t bytes = 0;
  uint64_t version = 0;
};

struct JournalFindings {
  uint64_t commits_checked = 0;
  uint64_t commits_folded = 0;  // checked without their edits, which compaction removed
  // The first commit whose digest does not match, and why; nothing: the chain holds.
  std::optional<uint64_t> bad_version;
  std::string problem;
};

struct NgramIndexReport {
  uint64_t tokens = 0;
  uint64_t ngrams = 0;  // held
  double sample = 0;    // of the text's distinct n-grams
};

class LiveMemory {
 public:
  template <typename T>
  using Done = std::function<void(Result<T>)>;
  // An error ends the job with that error, and nothing the job did is seen.
  using Progress = std::function<Status(const JobProgress&)>;

  // Opens or creates the journal, checks that the model's base tables are those its history stands on
  // (kFailedPrecondition says which layer differs, and how to go on), brings back edits of all retained versions and
  // overlays, and publishes them to `model.memory`. Blocks for seconds with many edits; call before the model serves.
  // `journal`: of the same state_dir, when other models share it; nullptr: one of its own. Its thread must not call.
  static Result<std::unique_ptr<LiveMemory>> Open(LiveMemoryOptions options, LiveModel model,
                                                  std::shared_ptr<SharedJournal> journal = nullptr);
  // Stop(), then lets go of the journal.
  ~LiveMemory();

  // Finishes what is queued, cancels a running job, joins the threads. Later requests are kUnavailable. Blocks.
  void Stop();

  LiveMemoryStatus status() const;
  const LiveMemoryOptions& options() const;
  // What is served now. Changed by Replace().
  LiveModel model() const;

  // Edits rows in all layers at once. Sequences that started before keep what they see.
  void Commit(CommitRequest request, Done<CommitAnswer> done);
  // The same checks, nothing written. Reads rows, so it may block on a slow tier; runs on the calling thread.
  Result<PlanReport> Plan(const CommitRequest& request) const;
  // A new commit after which every row is as at version `to`.
  void Rollback(RollbackRequest request, Done<CommitAnswer> done);

  // Newest first: at most `limit` (1 to 1000) commits with versions below `before`.
  void ListCommits(uint64_t limit, std::optional<uint64_t> before, Done<std::vector<CommitInfo>> done);
  void FindCommit(uint64_t version, Done<CommitInfo> done);
  void Diff(DiffRequest request, Done<DiffReport> done);
  // At most 10,000 rows, of the current version or of `as_of`. Runs on the calling thread; may block on a slow tier.
  Result<RowsReport> ReadRows(uint32_t layer, std::span<const uint64_t> rows, std::optional<uint64_t> as_of) const;

  // Creates or replaces an overlay; the former payload is erased as in DeleteOverlay().
  void PutOverlay(OverlayRequest request, Done<OverlayInfo> done);
  void DeleteOverlay(std::string name, std::string actor, Done<OverlayReceipt> done);
  std::vector<OverlayInfo> ListOverlays() const;  // by name
  struct OverlayEntry {
    OverlayInfo info;
    std::shared_ptr<const Overlay> overlay;
  };
  Result<OverlayEntry> FindOverlay(std::string_view name) const;  // kNotFound

  // Jobs on thread "tables": one at a time, kFailedPrecondition while another runs (status().running_job).
  // Writes base + commits up to the current version into new packed tables in state_dir/tables and serves from them.
  // Commits go on meanwhile. kFailedPrecondition without a state_dir, or when there is nothing to fold.
  void Compact(std::string actor, Progress progress, Done<CompactionReport> done);
  // Serves a layer from another packed table. Every page is checked first. Edits stay on top; the swap is a commit of
  // its own. Versions before it are not readable by `as_of` after a restart, and no rollback crosses it.
  void SwapTable(TableSwapRequest request, Progress progress, Done<CommitAnswer> done);
  // Journal and tables as they are at the end of the call, into a new directory, which can be used as state_dir.
  void Backup(std::filesystem::path directory, std::string actor, Progress progress, Done<BackupReport> done);
  // Walks the hash chain of the served model's history.
  void Verify(Progress progress, Done<JournalFindings> done);
  // Samples the n-grams of a text (UTF-8), for PlanReport::ngrams. Bounded memory whatever the file's size. An empty
  // path drops the index. Not kept over a restart.
  void IndexNgrams(std::filesystem::path text_file, Progress progress, Done<NgramIndexReport> done);

  // Exchanges the served model so that no commit falls between: on thread "journal", `next.memory` gets the history of
  // its name and tables (the present model's: all its versions and overlays, by ModelMemory::Adopt; another's: what the
  // journal has of it, or a new history), then `publish` runs and makes it visible to new requests. An error of either
  // leaves the present model served, and is `done`'s. kFailedPrecondition while a job runs.
  void Replace(LiveModel next, std::function<Status()> publish, Done<void> done);

  // Runs `task` on thread "journal" (API keys, audit log, settings that live in the journal). `refused` is called
  // instead, on the calling thread, when the queue is full or closed.
  void Post(std::function<void(Journal&)> task, std::function<void(Error)> refused);

 private:
  struct Impl;
  explicit LiveMemory(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace engram
