// SPDX-License-Identifier: Apache-2.0
// EventQueue: events on their way from the engine thread to a session, for all generations of one request.
//
// Threads: Push() on engine threads, the rest on the session's strand.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "serve/generation.h"

namespace engram {

class EventQueue {
 public:
  // A client that does not read keeps its session from taking any token. One that only had to wait for a processor
  // takes them all once it has it, and a fast backbone makes hundreds in the few milliseconds before.
  static constexpr std::chrono::milliseconds kPatience{1000};

  // The request is cancelled when more than `max_behind` tokens wait and the first of them has for `patience`.
  explicit EventQueue(size_t max_behind, std::chrono::milliseconds patience = kPatience)
      : max_behind_(max_behind), patience_(patience) {}

  struct Item {
    uint32_t prompt = 0;
    GenerationEvent event;
  };

  // False: nobody listens any more, or the listener is too far behind. Ends of choices and generations are always kept:
  // there are few of them.
  bool Push(uint32_t prompt, GenerationEvent event) {
    std::lock_guard lock(mutex_);
    if (detached_) return false;
    if (items_.empty()) waiting_since_ = Clock::now();
    if (event.kind == GenerationEvent::Kind::kToken && items_.size() >= max_behind_ &&
        Clock::now() - waiting_since_ >= patience_)
      overflowed_ = true;
    if (overflowed_ && event.kind == GenerationEvent::Kind::kToken) return false;
    items_.push_back({prompt, std::move(event)});
    // Under the lock, so that Detach() can promise that no call is under way. It only posts.
    if (wake_ && !wake_sent_) {
      wake_sent_ = true;
      wake_();
    }
    return !overflowed_;
  }

  void SetWake(std::function<void()> wake) {
    std::lock_guard lock(mutex_);
    wake_ = std::move(wake);
  }
  // After this nothing is kept and `wake` is not called.
  void Detach() {
    std::lock_guard lock(mutex_);
    detached_ = true;
    wake_ = nullptr;
    items_.clear();
  }
  std::vector<Item> TakeAll(bool& overflowed) {
    std::vector<Item> taken;
    std::lock_guard lock(mutex_);
    wake_sent_ = false;
    taken.swap(items_);
    overflowed = overflowed_;
    return taken;
  }

 private:
  using Clock = std::chrono::steady_clock;

  const size_t max_behind_;
  const std::chrono::milliseconds patience_;
  std::mutex mutex_;
  std::vector<Item> items_;          // guarded by mutex_, as all below
  Clock::time_point waiting_since_;  // the first of items_
  std::function<void()> wake_;       // does not block
  bool wake_sent_ = false;
  bool detached_ = false;
  bool overflowed_ = false;
};

class QueueListener final : public GenerationListener {
 public:
  QueueListener(std::shared_ptr<EventQueue> queue, uint32_t prompt) : queue_(std::move(queue)), prompt_(prompt) {}
  bool OnEvent(GenerationEvent event) override { return queue_->Push(prompt_, std::move(event)); }

 private:
  std::shared_ptr<EventQueue> queue_;
  const uint32_t prompt_;
};

}  // namespace engram
