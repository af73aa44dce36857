// SPDX-License-Identifier: Apache-2.0
// TokenRows: the rows of one token as its sequence sees them, asked for as soon as the token is known, in all layers at
// once, so that reading them overlaps with whatever comes before the step that needs them. Edited rows and overlays'
// rows are there already; guarded entries are laid over them by the batch.
//
// TokenRowReader reads them: what the nearest tier has, at once and without another thread, if that tier never waits;
// the rest on its thread "rows-next", which takes all that waits for one table, the first layer's first. Sequences that
// decode together have their tokens sampled one right after the other, so that their rows are read in one go, as deep a
// queue as a batch's, and in the order in which a step needs them.
//
// Threads: Ask() and Wait(): the engine thread. TokenRows may be dropped on any thread, at any time: what was not begun
// is not read.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "core/leavable_thread.h"
#include "core/result.h"
#include "memory/base_tables.h"
#include "memory/memory_view.h"

namespace engram {

// One Engram layer of those that rows are gathered for.
struct GatherLayer {
  uint32_t layer = 0;     // model layer number
  uint32_t id_layer = 0;  // its place in the layer dimension of row ids
};

class TokenRowReader;

class TokenRows {
 public:
  // Waits for the rows of a layer, counted ascending. An error as RowGather::Await() has it; kUnavailable, with the
  // tier and the layer, when they have not come by the deadline, which is when `timeout` is over.
  Status Wait(uint32_t layer, std::chrono::steady_clock::time_point deadline, std::chrono::milliseconds timeout);
  // uint8 [columns][row_bytes], after Wait() said so.
  const uint8_t* rows(uint32_t layer) const { return rows_.get() + layer * layer_bytes_; }
  // When they came, as steady_clock has it in nanoseconds.
  uint64_t came_ns(uint32_t layer) const { return layers_[layer].over_ns; }
  bool over(uint32_t layer) const { return layers_[layer].over.load(std::memory_order_acquire); }

 private:
  friend class TokenRowReader;
  struct Layer {
    std::atomic<bool> over{false};  // set last: the rows or an error are there
    uint64_t over_ns = 0;
    std::optional<Error> error;
    uint32_t from_level = 0;        // of the chain, for what is missing
    std::vector<uint32_t> missing;  // columns
  };
  TokenRows(TokenRowReader& reader, std::shared_ptr<BaseTables> base, uint32_t num_layers, uint64_t layer_bytes);

  TokenRowReader& reader_;
  const std::shared_ptr<BaseTables> base_;
  const uint64_t layer_bytes_;
  std::vector<uint64_t> ids_;  // [layers][columns], layers as row ids have them
  std::unique_ptr<uint8_t[]> rows_;
  std::vector<Layer> layers_;  // ascending
};

class TokenRowReader {
 public:
  static constexpr uint32_t kTokensAtOnce = 64;

  // kResourceExhausted if the thread cannot start. Dropped, it ends its thread, or leaves it behind if its read does
  // not return; all TokenRows are gone by then, but for those that the thread reads.
  static Result<std::shared_ptr<TokenRowReader>> Create(std::vector<GatherLayer> layers, uint32_t num_columns,
                                                        uint32_t row_bytes);
  ~TokenRowReader();
  TokenRowReader(const TokenRowReader&) = delete;
  TokenRowReader& operator=(const TokenRowReader&) = delete;

  // `ids` is uint64 [layers][columns] of one token. nullptr where nothing is gained, since no tier waits, and where the
  // batch will say what is wrong: the token's rows are then read with it. The view may go once this returns.
  std::shared_ptr<TokenRows> Ask(const MemoryView& view, std::span<const uint64_t> ids);

  // A read that somebody waited for in vain has not returned. Any thread.
  bool stalled() const { return stalled_.load(std::memory_order_relaxed); }
  uint64_t tokens_asked() const { return tokens_asked_.load(std::memory_order_relaxed); }

  void Stop();  // StopWhenDropped()'s

 private:
  friend class TokenRows;
  struct Waiting {
    std::weak_ptr<TokenRows> rows;
    uint32_t layer = 0;
  };
  TokenRowReader(std::vector<GatherLayer> layers, uint32_t num_columns, uint32_t row_bytes);
  std::span<const uint64_t> IdsOf(const TokenRows& rows, uint32_t layer) const {
    return std::span(rows.ids_).subspan(size_t{layers_[layer].id_layer} * num_columns_, num_columns_);
  }
  void TakeAtOnce(const MemoryView& view, TokenRows& rows, uint32_t layer);
  void Run();
  using Group = std::vector<std::shared_ptr<TokenRows>>;
  uint32_t TakeGroup(Group& group, Group& dropped);
  Status Read(uint32_t layer, const Group& group);
  Status Wait(TokenRows& rows, uint32_t layer, std::chrono::steady_clock::time_point deadline,
              std::chrono::milliseconds timeout);

  const std::vector<GatherLayer> layers_;
  const uint32_t num_columns_;
  const uint32_t row_bytes_;
  // Ask()'s.
  std::vector<const uint8_t*> patches_;  // [columns]
  std::vector<uint32_t> columns_;        // those the base has
  std::vector<uint64_t> near_ids_;       // theirs
  std::vector<uint8_t> near_rows_;
  std::vector<uint8_t> found_;
  std::atomic<uint64_t> tokens_asked_{0};
  std::atomic<bool> stalled_{false};

  // The thread's.
  ChainScratch scratch_;
  std::vector<uint64_t> read_ids_;
  std::vector<uint8_t> read_rows_;

  std::mutex mutex_;
  std::condition_variable wake_;         // for the thread: something waits, or stop_
  std::condition_variable ready_;        // for Wait()
  std::vector<Waiting> waiting_;         // guarded by mutex_, oldest first: an entry for each layer of a token
  const TableChain* reading_ = nullptr;  // guarded by mutex_: what is being read
  bool stop_ = false;                    // guarded by mutex_
  LeavableThread thread_;
};

}  // namespace engram
