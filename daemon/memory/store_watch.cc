// SPDX-License-Identifier: Apache-2.0
#include "memory/store_watch.h"

#include <chrono>

#include "core/log.h"

namespace engram {
namespace {

constexpr std::chrono::seconds kBetweenProbes{1};

}  // namespace

Result<std::shared_ptr<StoreWatch>> StoreWatch::Create(std::function<Status()> probe) {
  std::shared_ptr<StoreWatch> watch(new StoreWatch(std::move(probe)));
  ENGRAM_TRY(watch->thread_, LeavableThread::Start("tier-watch", [watch] { watch->Run(); }));
  return StopWhenDropped(std::move(watch));
}

void StoreWatch::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.End();
}

void StoreWatch::Report() {
  {
    const std::lock_guard lock(mutex_);
    ++reports_;
    failing_.store(true, std::memory_order_relaxed);
  }
  wake_.notify_one();
}

void StoreWatch::Run() {
  std::unique_lock lock(mutex_);
  for (uint64_t answered = 0;;) {
    wake_.wait(lock, [&] { return stop_ || reports_ > answered; });
    if (stop_) return;
    const uint64_t asked_after = reports_;
    lock.unlock();
    const Status probed = probe_();
    lock.lock();
    if (stop_) return;
    if (!probed) {
      wake_.wait_for(lock, kBetweenProbes, [&] { return stop_; });
      continue;
    }
    // What failed since is news of its own.
    answered = asked_after;
    if (reports_ > answered) continue;
    failing_.store(false, std::memory_order_relaxed);
    log::Info("all stores of the memory answer again");
  }
}

}  // namespace engram
