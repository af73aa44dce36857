// SPDX-License-Identifier: Apache-2.0
// AsyncReads: up to `depth` reads of files at once, by io_uring or by a pool of threads that call pread(). One thread
// uses an instance at a time. Errors of single reads come back as results; PluginError means that the instance cannot
// go on and must be destroyed, at which its buffers may still be written to until that returns.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace engram::tier_file {

class AsyncReads {
 public:
  struct Done {
    uint32_t slot;
    int64_t result;  // bytes read, 0 at the end of the file, or -errno
  };
  virtual ~AsyncReads() = default;
  AsyncReads(const AsyncReads&) = delete;
  AsyncReads& operator=(const AsyncReads&) = delete;

  // Begins a read of `num_bytes` at `offset` into `to`, valid until it is done. `slot` < depth has no read under way.
  virtual void Start(uint32_t slot, int fd, uint8_t* to, uint32_t num_bytes, uint64_t offset) = 0;
  // Waits until at least one of the reads under way is done, if there is any; returns how many it wrote to `done`,
  // which has room for depth.
  virtual uint32_t Wait(Done* done) = 0;

 protected:
  AsyncReads() = default;
};

// ENGRAM_UNSUPPORTED, with the kernel's reason, where it refuses rings.
std::unique_ptr<AsyncReads> MakeUringReads(uint32_t depth);

// Threads that read; shared by many PreadReads, which it must outlive. Submit() from any thread.
class PreadPool {
 public:
  struct Inbox {
    std::mutex mutex;
    std::condition_variable arrived;
    std::vector<AsyncReads::Done> done;  // guarded by mutex
  };
  struct Job {
    Inbox* inbox;
    uint32_t slot;
    int fd;
    uint8_t* to;
    uint32_t num_bytes;
    uint64_t offset;
  };
  explicit PreadPool(uint32_t num_threads);
  ~PreadPool();  // no job may be waiting
  PreadPool(const PreadPool&) = delete;
  PreadPool& operator=(const PreadPool&) = delete;
  void Submit(const Job& job);

 private:
  void Work();
  void Stop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;  // guarded by mutex_; bounded by the depths of its users
  bool stop_ = false;     // guarded by mutex_
  std::vector<std::thread> threads_;
};

std::unique_ptr<AsyncReads> MakePreadReads(PreadPool& pool, uint32_t depth);

}  // namespace engram::tier_file
