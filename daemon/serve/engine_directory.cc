// SPDX-License-Identifier: Apache-2.0
#include "serve/engine_directory.h"

#include <algorithm>

namespace engram {

void EngineDirectory::Publish(std::shared_ptr<Engine> engine) {
  std::shared_ptr<Engine> replaced;  // destroyed after the lock is released: ending an engine takes time
  std::lock_guard lock(mutex_);
  const auto same = std::find_if(engines_.begin(), engines_.end(), [&](const std::shared_ptr<Engine>& other) {
    return other->model().name() == engine->model().name();
  });
  if (same == engines_.end()) {
    engines_.push_back(std::move(engine));
  } else {
    replaced = std::exchange(*same, std::move(engine));
  }
  ++version_;
}

bool EngineDirectory::Remove(std::string_view model_name) {
  std::shared_ptr<Engine> removed;  // as above
  std::lock_guard lock(mutex_);
  const auto found = std::find_if(engines_.begin(), engines_.end(), [&](const std::shared_ptr<Engine>& engine) {
    return engine->model().name() == model_name;
  });
  if (found == engines_.end()) return false;
  removed = std::move(*found);
  engines_.erase(found);
  ++version_;
  return true;
}

uint64_t EngineDirectory::version() const {
  std::lock_guard lock(mutex_);
  return version_;
}

Result<std::shared_ptr<Engine>> EngineDirectory::Find(std::string_view model_name) const {
  std::lock_guard lock(mutex_);
  if (engines_.empty()) return Unavailable("no model is loaded");
  if (model_name.empty()) return engines_.front();
  for (const std::shared_ptr<Engine>& engine : engines_)
    if (engine->model().name() == model_name) return engine;
  return NotFound("the model \"" + std::string(model_name) + "\" does not exist", "model");
}

std::vector<std::shared_ptr<Engine>> EngineDirectory::List() const {
  std::lock_guard lock(mutex_);
  return engines_;
}

}  // namespace engram
