// SPDX-License-Identifier: Apache-2.0
#include "core/leavable_thread.h"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

#include "core/log.h"

namespace engram {
namespace {

std::atomic<uint32_t> left_behind{0};

}  // namespace

struct LeavableThread::Shared {
  std::string name;
  std::mutex mutex;
  std::condition_variable changed;
  bool returned = false;  // guarded by mutex
  bool left = false;      // guarded by mutex
};

Result<LeavableThread> LeavableThread::Start(const char* name, std::function<void()> run) {
  LeavableThread thread;
  thread.shared_ = std::make_shared<Shared>();
  thread.shared_->name = name;
  try {
    thread.thread_ = std::thread([shared = thread.shared_, run = std::move(run)]() mutable {
      pthread_setname_np(pthread_self(), shared->name.c_str());
      run();
      run = nullptr;
      {
        const std::lock_guard lock(shared->mutex);
        shared->returned = true;
        if (shared->left) left_behind.fetch_sub(1);
      }
      shared->changed.notify_all();
    });
  } catch (const std::system_error& error) {
    return ResourceExhausted(std::string("cannot start the thread ") + name + ": " + error.what());
  }
  return thread;
}

bool LeavableThread::End(std::chrono::milliseconds patience) {
  if (!thread_.joinable()) return true;
  {
    std::unique_lock lock(shared_->mutex);
    if (!shared_->changed.wait_for(lock, patience, [this] { return shared_->returned; })) {
      shared_->left = true;
      left_behind.fetch_add(1);
    }
  }
  if (!shared_->left) {
    thread_.join();
    return true;
  }
  log::Warning("the thread \"{}\" does not end, as a tier may not answer it; going on without it", shared_->name);
  thread_.detach();
  return false;
}

uint32_t LeavableThread::num_left_behind() {
  return left_behind.load();
}

}  // namespace engram
