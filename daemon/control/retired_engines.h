// SPDX-License-Identifier: Apache-2.0
// RetiredEngines: where engines go when their last user lets go of them, which may be a connection's thread or the
// engine's own. Ending an engine frees gigabytes and unmaps plugins, so the owner of this does it on its own thread.
//
// Any thread.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "serve/engine.h"

namespace engram {

class RetiredEngines : public std::enable_shared_from_this<RetiredEngines> {
 public:
  // `wake` is called, on any thread and without a lock, when an engine has come in; it does not block. Not after
  // Close() has returned.
  explicit RetiredEngines(std::function<void()> wake) : wake_(std::move(wake)) {}

  // Hands `engine` to users; the last one to drop it brings it here.
  std::shared_ptr<Engine> Share(std::unique_ptr<Engine> engine);
  // What has come in.
  std::vector<std::unique_ptr<Engine>> Take();
  // From now on engines end where they are dropped.
  void Close();

 private:
  void Add(std::unique_ptr<Engine> engine);

  std::mutex waking_;           // held during wake_()
  std::function<void()> wake_;  // guarded by waking_
  std::mutex mutex_;
  std::vector<std::unique_ptr<Engine>> engines_;  // guarded by mutex_
  bool closed_ = false;                           // guarded by mutex_
};

}  // namespace engram
