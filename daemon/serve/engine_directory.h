// SPDX-License-Identifier: Apache-2.0
// EngineDirectory: which engine answers for which model name. http/ asks it once per request and keeps the shared_ptr
// until the request is done, so an engine that is replaced meanwhile finishes what it started. Any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "serve/engine.h"

namespace engram {

class EngineDirectory {
 public:
  // The first one published is the default model. A name already there is replaced.
  void Publish(std::shared_ptr<Engine> engine);
  // Empty name: the default model. kNotFound (field "model") names the model asked for; kUnavailable before any.
  Result<std::shared_ptr<Engine>> Find(std::string_view model_name) const;
  std::vector<std::shared_ptr<Engine>> List() const;  // default first

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Engine>> engines_;  // guarded by mutex_
};

}  // namespace engram
