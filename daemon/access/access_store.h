// SPDX-License-Identifier: Apache-2.0
// AccessStore: the daemon's API keys and its audit log. Keys are a published list that readers take without waiting;
// changes go to the disk first, then to the list, then to the listener.
//
// Threads: any. What says that it blocks waits for the disk, one caller at a time. Owns a thread, "access", which
// writes audit entries and when keys were last used.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "access/access_database.h"
#include "access/access_key.h"
#include "access/audit_entry.h"
#include "core/published.h"
#include "core/result.h"

namespace engram {

struct AccessOptions {
  std::filesystem::path path;          // empty: in memory, and no key can be created
  std::vector<AccessKey> config_keys;  // the settings'; id and source are set here
  AuditRetention retention;
};

// A key as it is asked for.
struct NewKey {
  std::string name;                      // 1 to 64 printable ASCII characters, no blank at either end
  std::vector<std::string> scopes;       // at least one
  std::vector<std::string> overlays;     // at most 8
  double requests_per_s = 0;             // 0: no limit
  double tokens_per_s = 0;               // 0: no limit
  std::optional<int64_t> expires_in_ms;  // above 0
};

struct CreatedKey {
  std::shared_ptr<const AccessKey> key;
  std::string secret;  // the key itself, which nobody can tell again
};

class AccessStore {
 public:
  // kInvalidArgument for keys of the settings with the same name or digest; kFailedPrecondition for one with the name
  // of a stored key that is not revoked; else AccessDatabase's errors.
  static Result<std::unique_ptr<AccessStore>> Open(AccessOptions options);
  // Writes out what waits.
  ~AccessStore();
  AccessStore(const AccessStore&) = delete;
  AccessStore& operator=(const AccessStore&) = delete;

  std::shared_ptr<const AccessKeys> keys() const { return published_.Read(); }
  // `changed` is called after each change of keys(), on the thread that changed them, until it is replaced by an empty
  // one. Before the store is shared, and after it is not any more.
  void Listen(std::function<void()> changed) { changed_ = std::move(changed); }

  // Blocks. kFailedPrecondition without a file; for a name in use; for a first key without the scope operate, which
  // would lock everybody out. kResourceExhausted beyond 1,000 keys that are not revoked.
  Result<CreatedKey> Create(const NewKey& wanted, std::string created_by);
  // Blocks. Revoking one again changes nothing. kNotFound; kFailedPrecondition for a key of the settings, and for the
  // last valid one with the scope operate.
  Result<std::shared_ptr<const AccessKey>> Revoke(std::string_view id);

  // Never blocks. Beyond 4,096 entries that wait for the disk they are dropped, which the log says.
  void Record(AuditEntry entry);
  // For failed authentications, which strangers can make: after a burst of 20 one is recorded every 10 seconds, and
  // tells how many were not.
  void RecordFailure(AuditEntry entry);
  // Blocks. Everything recorded before is part of it.
  Result<AuditPage> ListAudit(const AuditQuery& query);

 private:
  AccessStore(AccessOptions options, std::unique_ptr<AccessDatabase> database);
  Status Publish();  // database_mutex_ is held
  Status WriteWaiting();
  void WriteUses();
  void Run();

  const AccessOptions options_;
  Published<AccessKeys> published_{AccessKeys()};
  std::function<void()> changed_;

  std::mutex database_mutex_;                    // taken before mutex_
  std::unique_ptr<AccessDatabase> database_;     // guarded by database_mutex_
  std::map<std::string, int64_t> written_uses_;  // likewise; by id

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<AuditEntry> waiting_;  // guarded by mutex_, as all below
  uint64_t dropped_ = 0;
  double failures_allowed_ = 0;
  int64_t failures_counted_ms_ = 0;
  uint64_t failures_hidden_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace engram
