// SPDX-License-Identifier: Apache-2.0
// LiveModels: keeps the journal and the models served in step: each model gets a LiveMemory when it is published, all
// on one journal, and a swap of a model goes through its own, so that no commit falls between.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "control/live_memory.h"
#include "control/live_memory_directory.h"
#include "control/shared_journal.h"
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
  Status Add(const std::shared_ptr<Engine>& fresh, const std::function<void()>& publish);
  LiveMemoryOptions options_;
  LiveMemoryDirectory directory_;
  std::shared_ptr<SharedJournal> journal_;  // of the thread that changes models; before the memories, which end first
  std::mutex mutex_;
  std::vector<std::shared_ptr<LiveMemory>> memories_;  // guarded by mutex_
};

}  // namespace engram
