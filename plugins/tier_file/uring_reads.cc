// SPDX-License-Identifier: Apache-2.0
#include <engram/plugin_error.h>
#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "async_reads.h"

namespace engram::tier_file {
namespace {

using sdk::PluginError;

class UringReads final : public AsyncReads {
 public:
  explicit UringReads(uint32_t depth) : depth_(depth) {
    if (const int status = ::io_uring_queue_init(depth, &ring_, 0); status < 0)
      throw PluginError(ENGRAM_UNSUPPORTED, std::string("io_uring_setup: ") + std::strerror(-status));
    // Kernels before 5.6 have rings without plain reads.
    io_uring_probe* probe = ::io_uring_get_probe_ring(&ring_);
    const bool reads = probe != nullptr && ::io_uring_opcode_supported(probe, IORING_OP_READ) != 0;
    if (probe != nullptr) ::io_uring_free_probe(probe);
    if (!reads) {
      ::io_uring_queue_exit(&ring_);
      throw PluginError(ENGRAM_UNSUPPORTED, "this kernel's io_uring has no read operation");
    }
  }
  ~UringReads() override { ::io_uring_queue_exit(&ring_); }

  void Start(uint32_t slot, int fd, uint8_t* to, uint32_t num_bytes, uint64_t offset) override {
    io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
    if (entry == nullptr) throw PluginError(ENGRAM_INTERNAL, "io_uring: more reads than its depth");
    ::io_uring_prep_read(entry, fd, to, num_bytes, offset);
    entry->user_data = slot;
    ++under_way_;
  }

  uint32_t Wait(Done* done) override {
    if (under_way_ == 0) return 0;
    for (;;) {
      const int status = ::io_uring_submit_and_wait(&ring_, 1);
      io_uring_cqe* entries[64];
      const uint32_t count = ::io_uring_peek_batch_cqe(&ring_, entries, std::min<uint32_t>(depth_, 64));
      for (uint32_t i = 0; i < count; ++i) done[i] = {static_cast<uint32_t>(entries[i]->user_data), entries[i]->res};
      ::io_uring_cq_advance(&ring_, count);
      under_way_ -= count;
      if (count > 0) return count;
      if (status < 0 && status != -EINTR)
        throw PluginError(ENGRAM_IO, std::string("io_uring_enter: ") + std::strerror(-status));
    }
  }

 private:
  const uint32_t depth_;
  io_uring ring_ = {};
  uint32_t under_way_ = 0;
};

}  // namespace

std::unique_ptr<AsyncReads> MakeUringReads(uint32_t depth) {
  return std::make_unique<UringReads>(depth);
}

}  // namespace engram::tier_file
