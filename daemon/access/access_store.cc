// SPDX-License-Identifier: Apache-2.0
#include "access/access_store.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "access/key_secret.h"
#include "core/clock.h"
#include "core/log.h"

namespace engram {
namespace {

constexpr size_t kMaxKeys = 1000;  // not revoked: every check compares with all of them
constexpr uint64_t kKeepRevoked = 1000;
constexpr size_t kMaxNameBytes = 64;
constexpr size_t kMaxOverlays = 8;
constexpr size_t kMaxOverlayBytes = 200;
constexpr size_t kMaxWaiting = 4096;
constexpr double kFailureBurst = 20;
constexpr double kFailureEveryMs = 10'000;
constexpr std::chrono::seconds kWriteUsesEvery{60};

Status CheckName(std::string_view name) {
  const auto printable = [](char c) { return c >= 0x20 && c < 0x7f; };
  if (name.empty() || name.size() > kMaxNameBytes || name.front() == ' ' || name.back() == ' ' ||
      !std::all_of(name.begin(), name.end(), printable)) {
    return InvalidArgument("must be 1 to 64 printable ASCII characters without a blank at either end", "name");
  }
  return {};
}

Status CheckOverlays(const std::vector<std::string>& overlays) {
  if (overlays.size() > kMaxOverlays) return InvalidArgument("at most 8 overlays", "overlays");
  for (size_t i = 0; i < overlays.size(); ++i) {
    const std::string field = "overlays[" + std::to_string(i) + "]";
    const auto allowed = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
             c == '-';
    };
    if (overlays[i].empty() || overlays[i].size() > kMaxOverlayBytes ||
        !std::all_of(overlays[i].begin(), overlays[i].end(), allowed))
      return InvalidArgument(field + " is no overlay's name", field);
    if (std::find(overlays.begin(), overlays.begin() + static_cast<int64_t>(i), overlays[i]) !=
        overlays.begin() + static_cast<int64_t>(i))
      return InvalidArgument(field + " is given twice", field);
  }
  return {};
}

// The settings' keys have no id of their own; one made of the name stays the same over restarts.
std::string ConfigId(const std::string& name) {
  Sha256 digest;
  digest.Update(name);
  return "config_" + HexDigits(digest.Finish()).substr(0, 16);
}

bool MayOperate(const AccessKey& key, int64_t now_ms) {
  return key.valid_at(now_ms) && (key.scopes & ScopeBit(Scope::kOperate)) != 0;
}

}  // namespace

AccessStore::AccessStore(AccessOptions options, std::unique_ptr<AccessDatabase> database)
    : options_(std::move(options)),
      database_(std::move(database)),
      failures_allowed_(kFailureBurst),
      failures_counted_ms_(UnixMs()) {}

Result<std::unique_ptr<AccessStore>> AccessStore::Open(AccessOptions options) {
  std::set<std::string> names;
  std::set<Sha256Digest> digests;
  for (AccessKey& key : options.config_keys) {
    key.source = AccessKey::Source::kConfig;
    key.id = ConfigId(key.name);
    const std::string which = "auth.keys: key \"" + key.name + "\"";
    if (!names.insert(key.name).second) return InvalidArgument(which + ": another key has this name", "auth.keys");
    if (!digests.insert(key.sha256).second) {
      return InvalidArgument(which + ": another key has the same sha256", "auth.keys");
    }
    if (auto checked = CheckOverlays(key.overlays); !checked) return std::move(checked).error().At(which);
  }
  ENGRAM_TRY(auto database, AccessDatabase::Open(options.path));
  std::unique_ptr<AccessStore> store(new AccessStore(std::move(options), std::move(database)));
  {
    std::lock_guard lock(store->database_mutex_);
    ENGRAM_CHECK_OK(store->Publish());
  }
  for (const auto& key : store->keys()->keys) {
    if (key->source == AccessKey::Source::kJournal && !key->revoked_ms && names.contains(key->name)) {
      return FailedPrecondition("auth.keys: key \"" + key->name + "\": " + store->options_.path.string() +
                                " has a key of this name: rename it in the settings, or revoke the other");
    }
  }
  store->thread_ = std::thread([raw = store.get()] { raw->Run(); });
  return store;
}

AccessStore::~AccessStore() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Status AccessStore::Publish() {
  ENGRAM_TRY(std::vector<AccessKey> stored, database_->ListKeys());
  const auto before = published_.Read();
  AccessKeys next;
  next.required = !options_.config_keys.empty() || !stored.empty();
  for (const AccessKey& key : options_.config_keys) next.keys.push_back(std::make_shared<const AccessKey>(key));
  for (AccessKey& key : stored) {
    // When it was last used is in memory first.
    for (const auto& known : before->keys)
      if (known->id == key.id) key.last_used_ms = known->last_used_ms;
    next.keys.push_back(std::make_shared<const AccessKey>(std::move(key)));
  }
  published_.Replace(std::move(next));
  return {};
}

Result<CreatedKey> AccessStore::Create(const NewKey& wanted, std::string created_by) {
  if (options_.path.empty())
    return FailedPrecondition("keys need a state directory (state_dir): without one they would end with engramd");
  AccessKey key;
  ENGRAM_CHECK_OK(CheckName(wanted.name));
  ENGRAM_TRY(key.scopes, ParseScopes(wanted.scopes));
  ENGRAM_CHECK_OK(CheckOverlays(wanted.overlays));
  CreatedKey created;
  ENGRAM_TRY(created.secret, NewKeySecret());
  ENGRAM_TRY(key.id, NewKeyId());
  key.source = AccessKey::Source::kJournal;
  key.name = wanted.name;
  Sha256 digest;
  digest.Update(created.secret);
  key.sha256 = digest.Finish();
  key.prefix = KeyPrefix(created.secret);
  key.overlays = wanted.overlays;
  key.requests_per_s = wanted.requests_per_s;
  key.tokens_per_s = wanted.tokens_per_s;
  key.created_ms = UnixMs();
  key.created_by = std::move(created_by);
  if (wanted.expires_in_ms) key.expires_ms = key.created_ms + *wanted.expires_in_ms;
  {
    std::lock_guard lock(database_mutex_);
    const auto now = keys();
    size_t in_use = 0;
    for (const auto& other : now->keys) {
      if (other->revoked_ms) continue;
      ++in_use;
      if (other->name == key.name)
        return FailedPrecondition("a key named \"" + key.name + "\" exists: revoke it first, or choose another name");
    }
    if (in_use >= kMaxKeys) return ResourceExhausted("there are 1000 keys: revoke some first");
    if (!now->required && (key.scopes & ScopeBit(Scope::kOperate)) == 0) {
      return FailedPrecondition(
          "the first key turns authentication on, so it must have the scope operate: without one nobody could create "
          "another");
    }
    ENGRAM_CHECK_OK(database_->AddKey(key));
    ENGRAM_CHECK_OK(Publish());
  }
  created.key = std::make_shared<const AccessKey>(std::move(key));
  if (changed_) changed_();
  return created;
}

Result<std::shared_ptr<const AccessKey>> AccessStore::Revoke(std::string_view id) {
  std::shared_ptr<const AccessKey> revoked;
  {
    std::lock_guard lock(database_mutex_);
    const auto now = keys();
    const int64_t now_ms = UnixMs();
    bool another_operates = false;
    for (const auto& key : now->keys) {
      if (key->id == id) {
        revoked = key;
      } else if (MayOperate(*key, now_ms)) {
        another_operates = true;
      }
    }
    if (revoked == nullptr) return NotFound("there is no key " + std::string(id.substr(0, 80)), "id");
    if (revoked->source == AccessKey::Source::kConfig)
      return FailedPrecondition("key \"" + revoked->name + "\" is in the settings (auth.keys): remove it there");
    if (revoked->revoked_ms) return revoked;
    if (!another_operates && MayOperate(*revoked, now_ms)) {
      return FailedPrecondition("key \"" + revoked->name +
                                "\" is the last one with the scope operate: create another one first");
    }
    ENGRAM_CHECK_OK(database_->RevokeKey(id, now_ms, kKeepRevoked));
    auto copy = std::make_shared<AccessKey>(*revoked);
    copy->revoked_ms = now_ms;
    revoked = std::move(copy);
    ENGRAM_CHECK_OK(Publish());
  }
  if (changed_) changed_();
  return revoked;
}

void AccessStore::Record(AuditEntry entry) {
  {
    std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMaxWaiting) {
      ++dropped_;
      return;
    }
    waiting_.push_back(std::move(entry));
  }
  wake_.notify_all();
}

void AccessStore::RecordFailure(AuditEntry entry) {
  {
    std::lock_guard lock(mutex_);
    const int64_t now_ms = UnixMs();
    const double refill = static_cast<double>(std::max<int64_t>(0, now_ms - failures_counted_ms_)) / kFailureEveryMs;
    failures_allowed_ = std::min(kFailureBurst, failures_allowed_ + refill);
    failures_counted_ms_ = now_ms;
    if (failures_allowed_ < 1) {
      ++failures_hidden_;
      return;
    }
    failures_allowed_ -= 1;
    if (failures_hidden_ > 0)
      entry.detail +=
          (entry.detail.empty() ? "" : "; ") + std::to_string(failures_hidden_) + " more before were not recorded";
    failures_hidden_ = 0;
  }
  Record(std::move(entry));
}

// database_mutex_ is held.
Status AccessStore::WriteWaiting() {
  std::vector<AuditEntry> entries;
  uint64_t dropped = 0;
  {
    std::lock_guard lock(mutex_);
    entries.swap(waiting_);
    dropped = std::exchange(dropped_, 0);
  }
  if (dropped > 0) log::Error("audit: {} entries were dropped: the disk is too slow", dropped);
  if (entries.empty()) return {};
  const Status written = database_->AddAudit(entries, options_.retention, UnixMs());
  if (!written) log::Error("audit: {} entries are lost: {}", entries.size(), written.error().message);
  return written;
}

// database_mutex_ is held.
void AccessStore::WriteUses() {
  std::map<std::string, int64_t> uses;
  std::vector<std::pair<std::string, int64_t>> changed;
  for (const auto& key : keys()->keys) {
    const int64_t used_ms = key->last_used_ms->load();
    if (key->source != AccessKey::Source::kJournal || used_ms == 0) continue;
    uses.emplace(key->id, used_ms);
    const auto written = written_uses_.find(key->id);
    if (written == written_uses_.end() || written->second != used_ms) changed.emplace_back(key->id, used_ms);
  }
  if (changed.empty()) return;
  if (const Status written = database_->SetLastUsed(changed); !written) {
    log::Error("keys: when they were last used cannot be written: {}", written.error().message);
    return;
  }
  written_uses_ = std::move(uses);
}

Result<AuditPage> AccessStore::ListAudit(const AuditQuery& query) {
  std::lock_guard lock(database_mutex_);
  ENGRAM_CHECK_OK(WriteWaiting());
  return database_->ListAudit(query);
}

void AccessStore::Run() {
  pthread_setname_np(pthread_self(), "access");
  auto next_uses = std::chrono::steady_clock::now() + kWriteUsesEvery;
  for (bool stop = false; !stop;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_until(lock, next_uses, [this] { return stop_ || !waiting_.empty(); });
      stop = stop_;
    }
    std::lock_guard lock(database_mutex_);
    // What fails was logged; the next entries try again.
    static_cast<void>(WriteWaiting());
    if (!stop && std::chrono::steady_clock::now() < next_uses) continue;
    WriteUses();
    next_uses = std::chrono::steady_clock::now() + kWriteUsesEvery;
  }
}

}  // namespace engram
