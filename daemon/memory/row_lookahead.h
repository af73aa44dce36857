// SPDX-License-Identifier: Apache-2.0
// RowLookahead: reads rows that a batch will soon ask for, so that caches have them by then. It only warms caches:
// whatever it does not read, or drops because too much waits, the batch reads itself.
//
// Threads: its own, "rows-ahead". Request() and the counters: any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/leavable_thread.h"
#include "core/result.h"
#include "memory/base_tables.h"
#include "memory/row_gather.h"

namespace engram {

// How far a prompt has come: tokens whose rows a batch has asked for; UINT32_MAX when nobody wants any more.
using PromptProgress = std::atomic<uint32_t>;

class RowLookahead {
 public:
  static constexpr uint32_t kPieceTokens = 32;                   // what is read before looking at the progress again
  static constexpr uint64_t kMaxWaitingIds = uint64_t{1} << 20;  // 8 MiB

  // kResourceExhausted if the thread cannot start. Dropped, it ends the thread, or leaves it behind with a read that
  // does not return.
  static Result<std::shared_ptr<RowLookahead>> Create(std::vector<GatherLayer> layers, uint32_t num_columns);
  RowLookahead(const RowLookahead&) = delete;
  RowLookahead& operator=(const RowLookahead&) = delete;

  // `ids` is uint64 [tokens][layers][columns], of the prompt's tokens from `first_token` on; copied. Tokens below the
  // progress by the time their turn comes are passed over.
  void Request(std::shared_ptr<BaseTables> base, std::shared_ptr<const PromptProgress> progress, uint32_t first_token,
               std::span<const uint64_t> ids);

  uint64_t rows_read() const { return rows_read_.load(std::memory_order_relaxed); }
  uint64_t ids_dropped() const { return ids_dropped_.load(std::memory_order_relaxed); }

  void Stop();  // StopWhenDropped()'s

 private:
  struct Piece {
    std::shared_ptr<BaseTables> base;
    std::shared_ptr<const PromptProgress> progress;
    uint32_t first_token = 0;
    std::vector<uint64_t> ids;
  };
  RowLookahead(std::vector<GatherLayer> layers, uint32_t num_columns)
      : layers_(std::move(layers)), num_columns_(num_columns) {}
  void Run();
  void Read(const Piece& piece);

  const std::vector<GatherLayer> layers_;
  const uint32_t num_columns_;
  std::atomic<uint64_t> rows_read_{0};
  std::atomic<uint64_t> ids_dropped_{0};
  // The thread's.
  ChainScratch scratch_;
  std::vector<uint64_t> wanted_;
  std::vector<uint8_t> rows_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Piece> waiting_;  // guarded by mutex_
  uint64_t waiting_ids_ = 0;   // guarded by mutex_
  bool stop_ = false;          // guarded by mutex_
  LeavableThread thread_;
};

}  // namespace engram
