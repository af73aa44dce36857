// SPDX-License-Identifier: Apache-2.0
#include "lanes.h"

#include <engram/plugin_error.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace engram::tier_file {

using sdk::PluginError;

Lane::~Lane() {
  reads_.reset();
  Unmap();
}

void Lane::Unmap() {
  if (data_ != nullptr) ::munmap(data_, mapped_bytes_);
  data_ = nullptr;
  slot_bytes_ = 0;
}

ReadBuffers Lane::Buffers(uint32_t slot_bytes) {
  if (slot_bytes > slot_bytes_) {
    Unmap();
    mapped_bytes_ = uint64_t{depth_} * slot_bytes;
    void* mapping = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED)
      throw PluginError(ENGRAM_RESOURCE_EXHAUSTED, "cannot allocate " + std::to_string(mapped_bytes_) +
                                                       " bytes of read buffers: " + std::strerror(errno));
    data_ = static_cast<uint8_t*>(mapping);
    slot_bytes_ = slot_bytes;
  }
  return {data_, depth_, slot_bytes_};
}

LanePool::LanePool(std::function<std::unique_ptr<AsyncReads>()> make, uint32_t depth)
    : make_(std::move(make)), depth_(depth) {
  free_.reserve(kMaxLanes);
  free_.push_back(std::make_unique<Lane>(make_(), depth_));
  num_lanes_ = 1;
}

std::unique_ptr<Lane> LanePool::Take() {
  std::unique_lock lock(mutex_);
  freed_.wait(lock, [&] { return !free_.empty() || num_lanes_ < kMaxLanes; });
  if (!free_.empty()) {
    std::unique_ptr<Lane> lane = std::move(free_.back());
    free_.pop_back();
    return lane;
  }
  ++num_lanes_;
  lock.unlock();
  try {
    return std::make_unique<Lane>(make_(), depth_);
  } catch (...) {
    GiveBack(nullptr);
    throw;
  }
}

void LanePool::GiveBack(std::unique_ptr<Lane> lane) {
  {
    const std::lock_guard lock(mutex_);
    if (lane != nullptr)
      free_.push_back(std::move(lane));
    else
      --num_lanes_;
  }
  freed_.notify_one();
}

std::optional<RunFailure> LanePool::Use(const std::function<std::optional<RunFailure>(Lane&)>& use) {
  std::unique_ptr<Lane> lane = Take();
  try {
    std::optional<RunFailure> failure = use(*lane);
    GiveBack(std::move(lane));
    return failure;
  } catch (...) {
    lane.reset();
    GiveBack(nullptr);
    throw;
  }
}

}  // namespace engram::tier_file
