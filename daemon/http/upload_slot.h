// SPDX-License-Identifier: Apache-2.0
// UploadSlot: the right to hold one large body. Only so many are held at once, over all connections, which bounds the
// memory they take. One thread; the counter is shared by all.
#pragma once

#include <atomic>
#include <cstdint>

namespace engram {

class UploadSlot {
 public:
  static constexpr uint32_t kMaxUploads = 4;

  explicit UploadSlot(std::atomic<uint32_t>& uploads) : uploads_(uploads) {}
  ~UploadSlot() { Release(); }
  UploadSlot(const UploadSlot&) = delete;
  UploadSlot& operator=(const UploadSlot&) = delete;

  // False when kMaxUploads are held.
  bool Acquire() {
    if (uploads_.fetch_add(1) >= kMaxUploads) {
      uploads_.fetch_sub(1);
      return false;
    }
    held_ = true;
    return true;
  }
  void Release() {
    if (held_) uploads_.fetch_sub(1);
    held_ = false;
  }

 private:
  std::atomic<uint32_t>& uploads_;
  bool held_ = false;
};

}  // namespace engram
