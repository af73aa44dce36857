// SPDX-License-Identifier: Apache-2.0
// EngineDirectory: which engine answers for which model name. http/ asks it once per request and keeps the shared_ptr
// until the request is done, so an engine that is replaced meanwhile finishes what it started. One that is found just
// before it is replaced may refuse the request: version() tells that asking again is worth it. Any thread.
#pragma once

#include <cstdint>
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
  // Takes a model out; the next one published becomes the default. False when there is none of that name.
  bool Remove(std::string_view model_name);
  // Empty name: the default model. kNotFound (field "model") names the model asked for; kUnavailable while
  // there is none at all.
  Result<std::shared_ptr<Engine>> Find(std::string_view model_name) const;
  std::vector<std::shared_ptr<Engine>> List() const;  // default first
  // Grows with every Publish() and Remove().
  uint64_t version() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Engine>> engines_;  // guarded by mutex_
  uint64_t version_ = 0;                          // guarded by mutex_
};

}  // namespace engram
