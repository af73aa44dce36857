// SPDX-License-Identifier: Apache-2.0
// AccessDatabase: keys and audit log in one SQLite file (docs/formats.md). One thread at a time; every call may block
// on the disk, what changes something is durable when it returns without an error. Errors are journal/database.h's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "access/access_key.h"
#include "access/audit_entry.h"
#include "core/result.h"
#include "journal/database.h"

namespace engram {

class AccessDatabase {
 public:
  // Creates if missing; an empty path: in memory. kDataLoss for another program's database, kFailedPrecondition for one
  // of a newer engramd.
  static Result<std::unique_ptr<AccessDatabase>> Open(const std::filesystem::path& path);

  Result<std::vector<AccessKey>> ListKeys() const;  // oldest first
  Status AddKey(const AccessKey& key);
  // Of revoked keys the newest `keep_revoked` stay.
  Status RevokeKey(std::string_view id, int64_t unix_ms, uint64_t keep_revoked);
  Status SetLastUsed(std::span<const std::pair<std::string, int64_t>> uses);

  // In one transaction; now and then what is beyond `retention` goes, after a tenth of max_entries or 256 at the
  // latest. Ids in `entries` are ignored.
  Status AddAudit(std::span<const AuditEntry> entries, const AuditRetention& retention, int64_t now_ms);
  Result<AuditPage> ListAudit(const AuditQuery& query) const;

 private:
  explicit AccessDatabase(std::unique_ptr<Database> database) : database_(std::move(database)) {}
  Status Migrate();
  Status PruneAudit(const AuditRetention& retention, int64_t now_ms);
  std::unique_ptr<Database> database_;
  uint64_t added_since_prune_ = UINT64_MAX / 2;  // the first entries prune: the retention may have changed
};

}  // namespace engram
