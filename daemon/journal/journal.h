// SPDX-License-Identifier: Apache-2.0
// Journal: what must survive a restart, in one SQLite file: models with their base tables, commits with their edits in
// a hash chain, overlays, answers by idempotency key, who edited, settings. It knows rows as bytes.
//
// One thread at a time (in engramd: "journal"); every call may block on the disk. What changes something is durable
// when it returns without an error, and has not happened when it returns with one. Errors are database.h's;
// kDataLoss also for records that contradict each other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/sha256.h"
#include "journal/commit_record.h"
#include "journal/database.h"

namespace engram {

struct JournalOptions {
  std::filesystem::path path;  // empty: in memory
  bool read_only = false;
  std::string vfs;                                          // empty: SQLite's default
  std::function<void(std::string_view point)> fault_point;  // for tests
};

struct BaseTableRecord {
  uint32_t layer = 0;
  Sha256Digest origin{};                      // of the table the model came with
  std::optional<std::filesystem::path> path;  // none: that table; relative: to the journal's directory
  Sha256Digest digest{};                      // of the table in use
};

struct ModelRecord {
  int64_t id = 0;
  std::string name;
  uint32_t row_format = 0;
  uint32_t row_bytes = 0;
  uint64_t base_version = 0;
  uint64_t floor_version = 0;
  std::vector<BaseTableRecord> tables;  // ascending by layer
  Sha256Digest origin_digest() const;
};

// Where a model's history ends.
struct JournalHead {
  uint64_t version = 0;
  Sha256Digest digest{};
};

struct IdempotencyRecord {
  std::string key;
  Sha256Digest body{};
  uint64_t version = 0;  // the commit that answered
};

struct OverlayRecord {
  std::string name;
  int64_t created_ms = 0;
  std::optional<int64_t> expires_ms;
  uint64_t num_rows = 0;
  uint64_t num_guarded = 0;
  uint64_t num_bytes = 0;
  Sha256Digest digest{};  // of the payload
};

struct AuditRecord {
  int64_t id = 0;  // ascending; given by the journal
  int64_t unix_ms = 0;
  std::string actor;
  std::string action;
  std::string detail;
};

class Journal {
 public:
  // Creates, or brings to today's schema, unless read_only.
  static Result<std::unique_ptr<Journal>> Open(JournalOptions options);

  Database& database() { return *database_; }
  const std::filesystem::path& path() const { return options_.path; }

  // Models. One name can have several histories, each over the tables it began with.
  Result<std::optional<ModelRecord>> FindModel(std::string_view name, const Sha256Digest& origin_digest) const;
  Result<std::vector<ModelRecord>> ListModels() const;  // by name, then age
  // With base tables as the model comes with them; id is set. One `digest` per table is enough.
  Result<ModelRecord> AddModel(ModelRecord model, int64_t unix_ms);
  // Compaction: these tables hold everything up to `base_version`.
  Status SetBase(const ModelRecord& model, uint64_t base_version, std::span<const BaseTableRecord> tables,
                 const AuditRecord& audit);

  // History.
  Result<JournalHead> Head(const ModelRecord& model) const;
  struct NewCommit {
    CommitRecord record;  // without parent's digest, content and digest
    std::vector<EditChunk> chunks;
    std::optional<IdempotencyRecord> idempotency;  // its version is set here
    std::optional<BaseTableRecord> table;          // a table swap: takes the place of its layer's
  };
  // Appends to `head`: record.version must be head.version + 1. Returns the new head.
  Result<JournalHead> Append(const ModelRecord& model, const JournalHead& head, NewCommit commit);
  Result<std::optional<CommitRecord>> FindCommit(const ModelRecord& model, uint64_t version) const;
  // Newest first, below `before`.
  Result<std::vector<CommitRecord>> ListCommits(const ModelRecord& model, uint64_t limit, uint64_t before) const;
  Result<std::optional<IdempotencyRecord>> FindAnswer(const ModelRecord& model, std::string_view key) const;

  enum Parts : unsigned { kIds = 0, kAfter = 1, kBefore = 2 };
  enum class Order { kOldestFirst, kNewestFirst };
  // Chunks of the commits in (after, up_to]; ids, flags and versions always, bytes as `parts` says. Chunks whose sizes
  // do not fit are kDataLoss. `visit`'s error ends it and is returned.
  using VisitChunk = std::function<Status(const CommitRecord& commit, EditChunk chunk)>;
  Status ForEachChunk(const ModelRecord& model, uint64_t after, uint64_t up_to, Order order, unsigned parts,
                      const VisitChunk& visit) const;
  // The lowest v such that all commits after v still have their edits.
  Result<uint64_t> EditsKeptAfter(const ModelRecord& model) const;
  // Drops the edits of the oldest commits with versions up to `up_to` that have any, at most `max_commits`; returns
  // how many lost them.
  Result<uint64_t> DropEdits(const ModelRecord& model, uint64_t up_to, uint64_t max_commits);

  // Overlays.
  Status PutOverlay(const ModelRecord& model, const OverlayRecord& overlay, std::span<const uint8_t> payload,
                    const AuditRecord& audit);
  // Whether all were there does not matter. Their pages are overwritten; EraseLog() then empties the log.
  Status DeleteOverlays(const ModelRecord& model, std::span<const std::string> names, const AuditRecord& audit);
  Status ForEachOverlay(const ModelRecord& model,
                        const std::function<Status(OverlayRecord, std::span<const uint8_t> payload)>& visit) const;
  // Nothing that was deleted is left in the write-ahead log. False when a reader of another process prevents it.
  Result<bool> EraseLog();

  // Audit log: the last 100,000 entries are kept.
  Status AddAudit(const AuditRecord& record);
  // Newest first, with ids below `before`.
  Result<std::vector<AuditRecord>> ListAudit(uint64_t limit, std::optional<int64_t> before) const;

  Status PutSetting(std::string_view name, std::string_view value);
  Result<std::optional<std::string>> FindSetting(std::string_view name) const;

 private:
  explicit Journal(JournalOptions options) : options_(std::move(options)) {}
  void Fault(std::string_view point) const {
    if (options_.fault_point) options_.fault_point(point);
  }
  Status InsertAudit(const AuditRecord& record);
  Status InsertChunks(const ModelRecord& model, const NewCommit& commit);
  Status PutTable(const ModelRecord& model, const BaseTableRecord& table);
  const JournalOptions options_;
  std::unique_ptr<Database> database_;
};

}  // namespace engram
