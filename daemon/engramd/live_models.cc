// SPDX-License-Identifier: Apache-2.0
#include "engramd/live_models.h"

#include <future>
#include <utility>

namespace engram {

Status LiveModels::Publish(const std::shared_ptr<Engine>& old, const std::shared_ptr<Engine>& fresh,
                           const std::function<void()>& publish) {
  std::shared_ptr<LiveMemory> live;
  {
    std::lock_guard lock(mutex_);
    live = live_;
  }
  if (live == nullptr) {
    if (fresh == nullptr) {
      publish();
      return {};
    }
    ENGRAM_TRY(live, LiveMemory::Open(options_, LiveModel::Of(fresh)));
    publish();
    directory_.Publish(live);
    std::lock_guard lock(mutex_);
    live_ = std::move(live);
    return {};
  }
  // Only the first model's memory is live: a second journal beside it would need a directory of its own.
  if (old == nullptr || old->model().name() != live->model().name) {
    publish();
    return {};
  }
  if (fresh == nullptr) {
    publish();
    directory_.Remove(live.get());
    live->Stop();
    std::lock_guard lock(mutex_);
    live_.reset();
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
  std::shared_ptr<LiveMemory> live;
  {
    std::lock_guard lock(mutex_);
    live = live_;
  }
  if (live != nullptr) live->Stop();
}

}  // namespace engram
