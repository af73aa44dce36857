// SPDX-License-Identifier: Apache-2.0
#include "control/journal_thread.h"

#include <pthread.h>

#include <utility>

namespace engram {

JournalThread::JournalThread(size_t capacity, Upkeep upkeep)
    : capacity_(capacity), upkeep_(std::move(upkeep)), thread_([this] { Work(); }) {}

JournalThread::Outcome JournalThread::TryPost(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return Outcome::kStopped;
    if (tasks_.size() >= capacity_) return Outcome::kFull;
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
  return Outcome::kQueued;
}

bool JournalThread::Call(const std::function<void()>& task) {
  std::condition_variable finished;
  bool done = false;
  std::unique_lock lock(mutex_);
  if (stopped_) return false;
  tasks_.push_back([&] {
    task();
    // Under the lock: the waiting thread's variables end as soon as it sees `done`.
    std::lock_guard done_lock(mutex_);
    done = true;
    finished.notify_one();
  });
  wake_.notify_one();
  finished.wait(lock, [&] { return done; });
  return true;
}

void JournalThread::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

size_t JournalThread::queued() const {
  std::lock_guard lock(mutex_);
  return tasks_.size();
}

void JournalThread::Work() {
  pthread_setname_np(pthread_self(), "journal");
  std::optional<Clock::time_point> due = upkeep_(true);
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock lock(mutex_);
      const auto ready = [this] { return stopped_ || !tasks_.empty(); };
      if (due) {
        wake_.wait_until(lock, *due, ready);
      } else {
        wake_.wait(lock, ready);
      }
      if (tasks_.empty() && stopped_) return;
      if (!tasks_.empty()) {
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
    }
    if (task) task();
    task = nullptr;  // what it holds goes before the wait
    due = upkeep_(queued() == 0);
  }
}

}  // namespace engram
