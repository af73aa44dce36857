// SPDX-License-Identifier: Apache-2.0
// LiveMemoryDirectory: which LiveMemory is behind a model name. http/ asks it once per request and keeps the shared_ptr
// until the request is done. Any thread; every call is short.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/live_memory.h"
#include "core/result.h"

namespace engram {

class LiveMemoryDirectory {
 public:
  // The first one published is the default.
  void Publish(std::shared_ptr<LiveMemory> memory) {
    std::lock_guard lock(mutex_);
    memories_.push_back(std::move(memory));
  }
  // Lets go of it; requests under way keep theirs.
  void Remove(const LiveMemory* memory) {
    std::lock_guard lock(mutex_);
    std::erase_if(memories_, [&](const auto& each) { return each.get() == memory; });
  }
  // By the name of the model it serves now; empty: the default. kNotFound (field "model") names the model asked for;
  // kUnavailable before any.
  Result<std::shared_ptr<LiveMemory>> Find(std::string_view model_name) const {
    std::vector<std::shared_ptr<LiveMemory>> memories;
    {
      std::lock_guard lock(mutex_);
      memories = memories_;
    }
    if (memories.empty()) return Unavailable("the model is still loading");
    if (model_name.empty()) return memories.front();
    for (auto& memory : memories)
      if (memory->model().name == model_name) return std::move(memory);
    return NotFound("no live memory for model \"" + std::string(model_name).substr(0, 200) + "\"", "model");
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<LiveMemory>> memories_;  // guarded by mutex_
};

}  // namespace engram
