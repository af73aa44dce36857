// SPDX-License-Identifier: Apache-2.0
// Reclaimer: frees large objects on a thread of its own, "memory-gc", so that whoever drops the last reference, such as
// the engine thread, spends no time on it and never waits for a tier to close.
//
// Track() and dropping what it returned: any thread. Destroyed on any thread but its own; frees what was dropped before
// that. What is dropped later is freed by whoever drops it.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "core/result.h"

namespace engram {

class Reclaimer {
 public:
  // kResourceExhausted if no thread can start.
  static Result<std::shared_ptr<Reclaimer>> Create();
  ~Reclaimer();
  Reclaimer(const Reclaimer&) = delete;
  Reclaimer& operator=(const Reclaimer&) = delete;

  // The same object; when the last reference to the result goes, the one it was made from is dropped on the thread.
  template <typename T>
  std::shared_ptr<T> Track(std::shared_ptr<T> object) {
    T* const raw = object.get();
    if (raw == nullptr) return nullptr;
    auto dropped = std::make_unique<Holder<T>>(std::move(object));
    // shared_ptr calls the deleter if it cannot be made.
    return std::shared_ptr<T>(raw, [queue = queue_, item = dropped.release()](T*) { queue->Hand(item); });
  }

 private:
  // Linked, so that handing one over cannot fail.
  struct Item {
    virtual ~Item() = default;
    Item* next = nullptr;
  };
  template <typename T>
  struct Holder final : Item {
    explicit Holder(std::shared_ptr<T> held) : object(std::move(held)) {}
    std::shared_ptr<T> object;
  };
  // Outlives the Reclaimer with the last tracked object.
  struct Queue {
    void Hand(Item* item);
    std::mutex mutex;
    std::condition_variable wake;
    Item* first = nullptr;  // guarded by mutex
    bool closed = false;    // guarded by mutex
  };
  Reclaimer() : queue_(std::make_shared<Queue>()) {}
  void Work();

  const std::shared_ptr<Queue> queue_;
  std::thread thread_;
};

}  // namespace engram
