// SPDX-License-Identifier: Apache-2.0
// JournalThread: the one thread that owns the journal. Runs what it is handed in order, and between that its upkeep.
//
// Any thread may call; Call() and Stop() not from the thread itself. Tasks and upkeep must not throw.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace engram {

class JournalThread {
 public:
  using Clock = std::chrono::steady_clock;
  // Called after every task and when due; `idle`: nothing waits. Returns when it wants to be called again at the
  // latest.
  using Upkeep = std::function<std::optional<Clock::time_point>(bool idle)>;

  JournalThread(size_t capacity, Upkeep upkeep);
  ~JournalThread() { Stop(); }

  enum class Outcome { kQueued, kFull, kStopped };
  Outcome TryPost(std::function<void()> task);
  // Runs `task` there and waits for it, whatever the queue's length: for the threads "tables" and for who opens or ends a
  // LiveMemory, each of which has at most one task in the queue. False when stopped.
  bool Call(const std::function<void()>& task);
  // What is queued still runs. Idempotent.
  void Stop();
  size_t queued() const;
  size_t capacity() const { return capacity_; }

 private:
  void Work();
  const size_t capacity_;
  const Upkeep upkeep_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  bool stopped_ = false;                     // guarded by mutex_
  std::thread thread_;
};

}  // namespace engram
