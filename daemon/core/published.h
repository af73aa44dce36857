// SPDX-License-Identifier: Apache-2.0
// Published<T>: the current one of values that replace each other. Readers keep what they took.
//
// Threads: any. Nothing blocks but for the copy of a pointer.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

namespace engram {

template <typename T>
class Published {
 public:
  explicit Published(T first) : value_(std::make_shared<const T>(std::move(first))) {}

  std::shared_ptr<const T> Read() const {
    std::lock_guard lock(mutex_);
    return value_;
  }
  void Replace(T next) {
    auto value = std::make_shared<const T>(std::move(next));
    std::lock_guard lock(mutex_);
    value_.swap(value);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const T> value_;  // guarded by mutex_
};

}  // namespace engram
