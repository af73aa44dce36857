// SPDX-License-Identifier: Apache-2.0
// TokenRows: the base's rows of one token, asked for as soon as the token is known, in all layers at once, so that
// reading them overlaps with whatever comes before the step that needs them. Edits and overlays are laid over them by
// the batch, as over all rows.
//
// TokenRowReader reads them: what the nearest tier has, at once and without another thread, if that tier never waits;
// the rest on its threads "rows-next-N", each taking all that waits for one table.
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
  struct Reader;
  struct Layer {
    std::atomic<bool> over{false};  // set last: the rows or an error are there
    uint64_t over_ns = 0;
    std::optional<Error> error;
    uint32_t from_level = 0;        // of the chain, for what is missing
    std::vector<uint32_t> missing;  // columns
    Reader* reader = nullptr;       // guarded by the mutex of TokenRowReader: who reads it now
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
  // For a store of one disk: two layers on their way, and the next tokens' too.
  static constexpr uint32_t kThreads = 4;
  static constexpr uint32_t kTokensAtOnce = 64;

  // kResourceExhausted if a thread cannot start. Dropped, it ends its threads, or leaves behind those whose read does
  // not return; all TokenRows are gone by then, but for those that such a thread reads.
  static Result<std::shared_ptr<TokenRowReader>> Create(std::vector<GatherLayer> layers, uint32_t num_columns,
                                                        uint32_t row_bytes);
  ~TokenRowReader();
  TokenRowReader(const TokenRowReader&) = delete;
  TokenRowReader& operator=(const TokenRowReader&) = delete;

  // `ids` is uint64 [layers][columns] of one token. nullptr where nothing is gained, since no tier waits, and where the
  // batch will say what is wrong: the token's rows are then read with it.
  std::shared_ptr<TokenRows> Ask(const std::shared_ptr<BaseTables>& base, std::span<const uint64_t> ids);

  // A read that somebody waited for in vain has not returned. Any thread.
  bool stalled() const { return num_abandoned_.load(std::memory_order_relaxed) > 0; }
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
  void AskNear(TokenRows& rows, uint32_t layer);
  void Run(TokenRows::Reader& self);
  uint32_t TakeGroup(std::vector<std::shared_ptr<TokenRows>>& group, std::vector<std::shared_ptr<TokenRows>>& dropped);
  Status Read(TokenRows::Reader& self, uint32_t layer, std::span<const std::shared_ptr<TokenRows>> group) const;
  Status Wait(TokenRows& rows, uint32_t layer, std::chrono::steady_clock::time_point deadline,
              std::chrono::milliseconds timeout);

  const std::vector<GatherLayer> layers_;
  const uint32_t num_columns_;
  const uint32_t row_bytes_;
  std::vector<uint8_t> found_;  // Ask()'s
  std::atomic<uint64_t> tokens_asked_{0};
  std::atomic<uint32_t> num_abandoned_{0};

  std::mutex mutex_;
  std::condition_variable wake_;   // for readers: something waits, or stop_
  std::condition_variable ready_;  // for Wait()
  std::vector<Waiting> waiting_;   // guarded by mutex_, oldest first: an entry for each layer of a token
  bool stop_ = false;              // guarded by mutex_
  std::vector<std::unique_ptr<TokenRows::Reader>> readers_;
};

}  // namespace engram
