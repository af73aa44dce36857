// SPDX-License-Identifier: Apache-2.0
#include "thread_pool.h"

#include <pthread.h>

#include <cstdio>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace backbone_cpu {

namespace {

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// A pause is some 40 cycles here: about 40 microseconds, longer than the gap between two parallel sections of a step,
// shorter than anybody notices when the engine is idle.
constexpr int kSpins = 4000;

// Waits until `value` differs from `old`: spins, then sleeps.
uint32_t AwaitChange(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    const uint32_t now = value.load(std::memory_order_acquire);
    if (now != old) return now;
    Pause();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(size_t num_threads) {
  workers_.reserve(num_threads - 1);
  try {
    for (size_t thread = 1; thread < num_threads; ++thread) {
      workers_.emplace_back([this, thread] { Work(thread); });
      char name[16];
      std::snprintf(name, sizeof(name), "bb_cpu-%u", static_cast<unsigned>(thread % 10'000));
      pthread_setname_np(workers_.back().native_handle(), name);
    }
  } catch (...) {
    stopping_.store(true);
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(size_t num_items, Function function, void* context) {
  function_ = function;
  context_ = context;
  num_items_ = num_items;
  num_unfinished_.store(static_cast<uint32_t>(num_items), std::memory_order_relaxed);
  num_unclaimed_.store(static_cast<uint32_t>(num_items), std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  TakeItems(0);
  // Only items in progress are waited for: a worker the system has not run yet holds up nobody.
  uint32_t unfinished = num_unfinished_.load(std::memory_order_acquire);
  while (unfinished != 0) unfinished = AwaitChange(num_unfinished_, unfinished);
}

void ThreadPool::TakeItems(size_t thread) {
  uint32_t unclaimed = num_unclaimed_.load(std::memory_order_relaxed);
  while (unclaimed != 0) {
    // Success means that a call is under way (not always the one seen above) and cannot end before this item.
    if (!num_unclaimed_.compare_exchange_weak(unclaimed, unclaimed - 1, std::memory_order_acquire,
                                              std::memory_order_relaxed)) {
      continue;
    }
    function_(context_, num_items_ - unclaimed, thread);
    if (num_unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) num_unfinished_.notify_one();
    unclaimed = num_unclaimed_.load(std::memory_order_relaxed);
  }
}

void ThreadPool::Work(size_t thread) {
  // Workers start at 0, not at the epoch they happen to read: a first call may already have been made.
  uint32_t epoch = 0;
  for (;;) {
    epoch = AwaitChange(epoch_, epoch);
    if (stopping_.load()) return;
    TakeItems(thread);
  }
}

}  // namespace backbone_cpu
