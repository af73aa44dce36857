// SPDX-License-Identifier: Apache-2.0
// Overlays: made, listed, deleted so that nothing is left, expired.
#include <algorithm>

#include "control/live_memory_impl.h"
#include "control/overlay_payload.h"
#include "core/log.h"

namespace engram {
namespace {

// After a failed deletion or erasure.
constexpr std::chrono::seconds kRetry{5};

}  // namespace

void LiveMemory::PutOverlay(OverlayRequest request, Done<OverlayInfo> done) {
  struct Ready {
    OverlayInfo info;
    std::shared_ptr<ModelMemory> memory;
    std::shared_ptr<const Overlay> overlay;
    std::vector<uint8_t> payload;
  };
  const LiveMemoryOptions& options = impl_->options;
  const auto resolve = [&]() -> Result<std::shared_ptr<Ready>> {
    auto ready = std::make_shared<Ready>();
    ENGRAM_TRY(ready->memory, impl_->Memory());
    const ModelMemory& memory = *ready->memory;
    if (request.ttl && request.ttl->count() <= 0) return InvalidArgument("ttl_s: must be above 0", "ttl_s");
    ENGRAM_TRY(OverlayContent content,
               ResolveOverlay(memory, request, options.overlay_quota_bytes / memory.row_bytes()));
    ready->payload = EncodeOverlay(memory, content);
    ready->info.name = request.name;
    ready->info.rows = content.rows.size();
    ready->info.guarded = content.guarded.size();
    Sha256 sha;
    sha.Update(ready->payload);
    ready->info.digest = sha.Finish();
    ENGRAM_TRY(ready->overlay,
               Overlay::Create(request.name, std::move(content), static_cast<uint32_t>(memory.layers().size())));
    ready->info.bytes = ready->overlay->num_bytes();
    if (ready->info.bytes > options.overlay_quota_bytes) {
      Error error = ResourceExhausted("overlay \"" + request.name + "\" takes " + std::to_string(ready->info.bytes) +
                                      " bytes, one may take " + std::to_string(options.overlay_quota_bytes));
      error.field = "entries";
      return error;
    }
    return ready;
  };
  auto ready = Guarded(resolve);
  if (!ready) return done(std::move(ready).error());
  impl_->Submit<OverlayInfo>(
      std::move(done),
      [impl = impl_.get(), ready = *std::move(ready), ttl = request.ttl,
       actor = request.actor]() -> Result<OverlayInfo> {
        ENGRAM_TRY(const auto memory, impl->Memory());
        if (memory != ready->memory)
          return Unavailable("the model was exchanged while overlay \"" + ready->info.name + "\" waited; try again");
        OverlayInfo info = ready->info;
        info.created_unix_ms = UnixMs();
        // Beyond some millennia there is no difference to never.
        constexpr int64_t kLongest = int64_t{1} << 47;
        if (ttl && ttl->count() < kLongest) info.expires_unix_ms = info.created_unix_ms + ttl->count();
        return impl->PutOverlayNow(std::move(info), ready->overlay, ready->payload, actor);
      });
}

Result<OverlayInfo> LiveMemory::Impl::PutOverlayNow(OverlayInfo info, std::shared_ptr<const Overlay> overlay,
                                                    std::span<const uint8_t> payload, const std::string& actor) {
  const auto known = overlays.find(info.name);
  const bool replaces = known != overlays.end();
  const uint64_t others_bytes = overlay_bytes - (replaces ? known->second.bytes : 0);
  if (!replaces && overlays.size() >= options.max_overlays)
    return ResourceExhausted("there are " + std::to_string(overlays.size()) +
                             " overlays, which is the most there may be");
  if (others_bytes + info.bytes > options.overlay_total_bytes)
    return ResourceExhausted("overlay \"" + info.name + "\" takes " + std::to_string(info.bytes) +
                             " bytes, the others " + std::to_string(others_bytes) + ", all may take " +
                             std::to_string(options.overlay_total_bytes));
  ENGRAM_TRY(const auto memory, Memory());
  const OverlayRecord stored{info.name,    info.created_unix_ms, info.expires_unix_ms, info.rows,
                             info.guarded, info.bytes,           info.digest};
  ENGRAM_CHECK_OK(
      journal->PutOverlay(record, stored, payload, {0, info.created_unix_ms, actor, "overlay_put", info.name}));
  undeleted.erase(info.name);
  memory->overlays().Put(std::move(overlay));
  {
    std::lock_guard lock(mutex);
    overlay_bytes = others_bytes + info.bytes;
    overlays[info.name] = info;
  }
  if (info.expires_unix_ms) next_expiry_ms = std::min(next_expiry_ms, *info.expires_unix_ms);
  if (replaces) EraseLog();
  Emit("overlay_put", info.name, info.rows);
  return info;
}

void LiveMemory::DeleteOverlay(std::string name, std::string actor, Done<OverlayReceipt> done) {
  impl_->Submit<OverlayReceipt>(std::move(done),
                                [impl = impl_.get(), name = std::move(name), actor = std::move(actor)] {
                                  return impl->DeleteOverlayNow(name, actor);
                                });
}

Result<OverlayReceipt> LiveMemory::Impl::DeleteOverlayNow(const std::string& name, const std::string& actor) {
  ENGRAM_TRY(const auto memory, Memory());
  const auto known = overlays.find(name);
  if (known == overlays.end()) return NotFound("there is no overlay \"" + name + "\"", "name");
  OverlayReceipt receipt;
  receipt.overlay = known->second;
  receipt.deleted_unix_ms = UnixMs();
  ENGRAM_CHECK_OK(journal->DeleteOverlays(record, std::vector<std::string>{name},
                                          {0, receipt.deleted_unix_ms, actor, "overlay_deleted", name}));
  const std::shared_ptr<const Overlay> removed = memory->overlays().Remove(name);
  {
    std::lock_guard lock(mutex);
    overlay_bytes -= known->second.bytes;
    overlays.erase(known);
  }
  receipt.journal_erased = EraseLog();
  receipt.still_attached = removed == nullptr ? 0 : static_cast<uint64_t>(removed.use_count() - 1);
  Emit("overlay_deleted", name, receipt.overlay.rows);
  return receipt;
}

bool LiveMemory::Impl::EraseLog() {
  const auto erased = journal->EraseLog();
  if (!erased) log::Warning("journal: {}", erased.error().message);
  log_holds_deleted = !erased || !*erased;
  return !log_holds_deleted;
}

std::optional<JournalThread::Clock::time_point> LiveMemory::Impl::ExpireOverlays() {
  const int64_t now = UnixMs();
  std::vector<std::string> expired;
  if (next_expiry_ms <= now) {
    next_expiry_ms = INT64_MAX;
    for (const auto& [name, info] : overlays) {
      if (!info.expires_unix_ms) continue;
      if (*info.expires_unix_ms <= now) {
        expired.push_back(name);
      } else {
        next_expiry_ms = std::min(next_expiry_ms, *info.expires_unix_ms);
      }
    }
  }
  if (!expired.empty()) {
    const auto memory = Memory();
    std::lock_guard lock(mutex);
    for (const std::string& name : expired) {
      if (memory) (*memory)->overlays().Remove(name);
      overlay_bytes -= overlays.at(name).bytes;
      overlays.erase(name);
    }
  }
  // Nobody sees them any more, whatever the disk says.
  undeleted.insert(expired.begin(), expired.end());
  const auto clock_now = JournalThread::Clock::now();
  std::optional<JournalThread::Clock::time_point> due;
  // An hour at most: the wall clock may be set meanwhile.
  if (next_expiry_ms != INT64_MAX)
    due = clock_now + std::chrono::milliseconds(std::min<int64_t>(next_expiry_ms - now, 3'600'000));
  if (!undeleted.empty() && (retry_at <= clock_now || !expired.empty())) {
    const std::vector<std::string> names(undeleted.begin(), undeleted.end());
    const Status deleted = journal->DeleteOverlays(
        record, names, {0, now, "engramd", "overlay_expired", std::to_string(names.size()) + " overlays"});
    if (deleted) {
      undeleted.clear();
      log_holds_deleted = true;
    } else {
      log::Warning("journal: expired overlays: {}", deleted.error().message);
      retry_at = clock_now + kRetry;
    }
  }
  if (log_holds_deleted && retry_at <= clock_now && !EraseLog()) retry_at = clock_now + kRetry;
  if ((log_holds_deleted || !undeleted.empty()) && (!due || *due > retry_at)) due = retry_at;
  for (const std::string& name : expired) Emit("overlay_expired", name, 0);
  return due;
}

std::vector<OverlayInfo> LiveMemory::ListOverlays() const {
  std::lock_guard lock(impl_->mutex);
  std::vector<OverlayInfo> infos;
  for (const auto& [name, info] : impl_->overlays) infos.push_back(info);
  return infos;
}

Result<LiveMemory::OverlayEntry> LiveMemory::FindOverlay(std::string_view name) const {
  ENGRAM_TRY(const auto memory, impl_->Memory());
  OverlayEntry entry;
  entry.overlay = memory->overlays().Find(name);
  std::lock_guard lock(impl_->mutex);
  const auto known = impl_->overlays.find(std::string(name));
  if (entry.overlay == nullptr || known == impl_->overlays.end())
    return NotFound("there is no overlay \"" + std::string(name) + "\"", "name");
  entry.info = known->second;
  return entry;
}

}  // namespace engram
