// SPDX-License-Identifier: Apache-2.0
#include "control/retired_engines.h"

#include <utility>

namespace engram {

std::shared_ptr<Engine> RetiredEngines::Share(std::unique_ptr<Engine> engine) {
  return std::shared_ptr<Engine>(
      engine.release(), [self = shared_from_this()](Engine* last) { self->Add(std::unique_ptr<Engine>(last)); });
}

std::vector<std::unique_ptr<Engine>> RetiredEngines::Take() {
  std::lock_guard lock(mutex_);
  return std::exchange(engines_, {});
}

void RetiredEngines::Close() {
  std::lock_guard waking(waking_);
  wake_ = nullptr;
  std::lock_guard lock(mutex_);
  closed_ = true;
}

void RetiredEngines::Add(std::unique_ptr<Engine> engine) {
  {
    std::lock_guard lock(mutex_);
    if (!closed_) engines_.push_back(std::move(engine));
  }
  // Still here: closed, and it ends on this thread.
  if (engine != nullptr) return;
  std::lock_guard waking(waking_);
  if (wake_) wake_();
}

}  // namespace engram
