// SPDX-License-Identifier: Apache-2.0
#include "engramd/live_models.h"

#include <future>
#include <utility>

namespace engram {

Status LiveModels::Add(const std::shared_ptr<Engine>& fresh, const std::function<void()>& publish) {
  if (journal_ == nullptr) {
    ENGRAM_TRY(journal_, SharedJournal::Open(options_));
  }
  ENGRAM_TRY(std::shared_ptr<LiveMemory> live, LiveMemory::Open(options_, LiveModel::Of(fresh), journal_));
  publish();
  directory_.Publish(live);
  std::lock_guard lock(mutex_);
  memories_.push_back(std::move(live));
  return {};
}

Status LiveModels::Publish(const std::shared_ptr<Engine>& old, const std::shared_ptr<Engine>& fresh,
                           const std::function<void()>& publish) {
  if (old == nullptr) return Add(fresh, publish);
  ENGRAM_TRY(const std::shared_ptr<LiveMemory> live, directory_.Find(old->model().name()));
  if (fresh == nullptr) {
    publish();
    directory_.Remove(live.get());
    live->Stop();
    std::lock_guard lock(mutex_);
    std::erase(memories_, live);
    return {};
  }
  const auto exchanged = std::make_shared<std::promise<Status>>();
  std::future<Status> outcome = exchanged->get_future();
  const auto publish_now = [&publish] {
    publish();
    return Status();
  };
  live->Replace(LiveModel::Of(fresh), publish_now,
                [exchanged](Status status) { exchanged->set_value(std::move(status)); });
  return outcome.get();
}

void LiveModels::Stop() {
  std::vector<std::shared_ptr<LiveMemory>> memories;
  {
    std::lock_guard lock(mutex_);
    memories = memories_;
  }
  for (const auto& live : memories) live->Stop();
}

}  // namespace engram
