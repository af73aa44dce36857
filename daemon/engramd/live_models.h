// SPDX-License-Identifier: Apache-2.0
// LiveModels: keeps the journal and the models served in step: the first model gets a LiveMemory when it is published,
// and a swap of that model goes through it, so that no commit falls between.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "control/live_memory.h"
#include "control/live_memory_directory.h"
#include "core/result.h"
#include "serve/engine.h"

namespace engram {

// Threads: SetOptions() before the first Publish(); Publish() on the thread that changes models; Stop() from any;
// directory() is free for all.
class LiveModels {
 public:
  void SetOptions(LiveMemoryOptions options) { options_ = std::move(options); }
  const LiveMemoryDirectory& directory() const { return directory_; }

  // ModelManagerOptions::publish_hook. Blocks while the journal is read or the exchange waits for its turn.
  Status Publish(const std::shared_ptr<Engine>& old, const std::shared_ptr<Engine>& fresh,
                 const std::function<void()>& publish);
  // Finishes what is queued; later requests are refused. Blocks.
  void Stop();

 private:
  LiveMemoryOptions options_;
  LiveMemoryDirectory directory_;
  std::mutex mutex_;
  std::shared_ptr<LiveMemory> live_;  // guarded by mutex_: of the first model
};

}  // namespace engram
