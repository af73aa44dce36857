// SPDX-License-Identifier: Apache-2.0
// LeavableThread: a thread that its owner can go without: a plugin may keep it waiting without end, and neither a swap
// nor the end of the process may wait with it.
//
// What the thread works on is held by both, so that a thread left behind still has it; the usual form is a class whose
// Create() gives the thread one reference and the caller another, made by StopWhenDropped().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "core/result.h"

namespace engram {

class LeavableThread {
 public:
  // Long enough for what a disk that answers has begun.
  static constexpr std::chrono::milliseconds kPatience{1'000};

  LeavableThread() = default;
  // `run` owns all that it uses, and is destroyed on the thread. kResourceExhausted if it cannot start.
  static Result<LeavableThread> Start(const char* name, std::function<void()> run);
  LeavableThread(LeavableThread&&) = default;
  LeavableThread& operator=(LeavableThread&&) = default;
  // Ended or left behind before, if it was started.
  ~LeavableThread() = default;

  // Waits until `run` has returned, for `patience` at most. False: it is left behind, with a line in the log, and goes
  // on by itself. Once; nothing for one that was never started.
  bool End(std::chrono::milliseconds patience = kPatience);

  // How many were left behind and have not returned: the process must not run static destructors under them.
  static uint32_t num_left_behind();

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

// The caller's reference to a worker: when it and its copies are gone, worker->Stop() has been called, which must
// return in bounded time.
template <typename T>
std::shared_ptr<T> StopWhenDropped(std::shared_ptr<T> worker) {
  T* const raw = worker.get();
  return std::shared_ptr<T>(raw, [worker = std::move(worker)](T*) { worker->Stop(); });
}

}  // namespace engram
