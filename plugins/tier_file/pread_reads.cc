// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "async_reads.h"

namespace engram::tier_file {
namespace {

class PreadReads final : public AsyncReads {
 public:
  PreadReads(PreadPool& pool, uint32_t depth) : pool_(pool) { inbox_.done.reserve(depth); }
  // The pool's threads write to the inbox and the caller's buffers until the last read is done.
  ~PreadReads() override {
    std::unique_lock lock(inbox_.mutex);
    inbox_.arrived.wait(lock, [&] { return inbox_.done.size() == under_way_; });
  }

  void Start(uint32_t slot, int fd, uint8_t* to, uint32_t num_bytes, uint64_t offset) override {
    pool_.Submit({&inbox_, slot, fd, to, num_bytes, offset});
    ++under_way_;
  }

  uint32_t Wait(Done* done) override {
    if (under_way_ == 0) return 0;
    std::unique_lock lock(inbox_.mutex);
    inbox_.arrived.wait(lock, [&] { return !inbox_.done.empty(); });
    std::copy(inbox_.done.begin(), inbox_.done.end(), done);
    const auto count = static_cast<uint32_t>(inbox_.done.size());
    inbox_.done.clear();
    under_way_ -= count;
    return count;
  }

 private:
  PreadPool& pool_;
  PreadPool::Inbox inbox_;
  uint32_t under_way_ = 0;
};

}  // namespace

PreadPool::PreadPool(uint32_t num_threads) {
  try {
    for (uint32_t i = 0; i < num_threads; ++i) {
      threads_.emplace_back([this] { Work(); });
      ::pthread_setname_np(threads_.back().native_handle(), ("tier_file-" + std::to_string(i)).c_str());
    }
  } catch (...) {
    Stop();
    throw;
  }
}

PreadPool::~PreadPool() {
  Stop();
}

void PreadPool::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void PreadPool::Submit(const Job& job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(job);
  }
  changed_.notify_one();
}

void PreadPool::Work() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = jobs_.front();
      jobs_.pop_front();
    }
    const ssize_t status = ::pread(job.fd, job.to, job.num_bytes, static_cast<off_t>(job.offset));
    const int64_t result = status < 0 ? -errno : status;
    // Told under the lock: its owner may be gone as soon as it has seen the result.
    const std::lock_guard lock(job.inbox->mutex);
    job.inbox->done.push_back({job.slot, result});
    job.inbox->arrived.notify_one();
  }
}

std::unique_ptr<AsyncReads> MakePreadReads(PreadPool& pool, uint32_t depth) {
  return std::make_unique<PreadReads>(pool, depth);
}

}  // namespace engram::tier_file
