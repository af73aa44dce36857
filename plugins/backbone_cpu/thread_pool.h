// SPDX-License-Identifier: Apache-2.0
//
// The backbone's compute threads: a parallel for, nothing else.
//
// Owned by one backbone and passed to whoever computes. ParallelFor() is called by one thread at a time (the one that
// runs step()), which works along. Workers are named bb_cpu-1, bb_cpu-2, ..; between calls they spin for some tens of
// microseconds, then sleep until the next call. The destructor joins them.
#ifndef BACKBONE_CPU_THREAD_POOL_H_
#define BACKBONE_CPU_THREAD_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace backbone_cpu {

class ThreadPool {
 public:
  // num_threads >= 1, the caller of ParallelFor included.
  explicit ThreadPool(size_t num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t num_threads() const { return workers_.size() + 1; }

  // Calls body(item, thread) once for every item < num_items, thread < num_threads(), and returns when all are done.
  // Each item goes to whichever thread is free, so its result must not depend on the thread. `body` must not throw.
  // num_items < 2^32. With `is_small` everything runs on the calling thread: waking another costs about a microsecond.
  template <typename Body>
  void ParallelFor(size_t num_items, bool is_small, Body&& body) {
    if (is_small || num_items < 2 || workers_.empty()) {
      for (size_t item = 0; item < num_items; ++item) body(item, size_t{0});
      return;
    }
    using BodyType = std::remove_reference_t<Body>;
    Run(
        num_items, [](void* context, size_t item, size_t thread) { (*static_cast<BodyType*>(context))(item, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Function = void (*)(void* context, size_t item, size_t thread);

  void Run(size_t num_items, Function function, void* context);
  void Work(size_t thread);
  void TakeItems(size_t thread);

  // Written by Run, read by whoever has claimed an item: until that item is done, Run does not return.
  Function function_ = nullptr;
  void* context_ = nullptr;
  size_t num_items_ = 0;

  alignas(64) std::atomic<uint32_t> epoch_{0};           // raised by every call, to wake workers
  alignas(64) std::atomic<uint32_t> num_unclaimed_{0};   // items nobody has taken yet
  alignas(64) std::atomic<uint32_t> num_unfinished_{0};  // items not done
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_THREAD_POOL_H_
