// SPDX-License-Identifier: Apache-2.0
// RowGather: the rows of one batch at a time, layer by layer, from tier chains into dense buffers.
//
// A batch is Begin(), Await() per layer, End(), all on the engine thread. Small batches whose tiers never block are
// gathered inside Await(); all others by the thread "rows-0", which works through the layers while the backbone
// computes. Statistics are read by any thread.
#pragma once

#include <engram/host.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "core/result.h"
#include "memory/row_dedupe.h"
#include "memory/tier_chain.h"

namespace engram {

// The rows one run of consecutive tokens of a batch needs.
struct BatchRowIds {
  uint32_t first_token = 0;  // index in the batch
  uint32_t num_tokens = 0;
  const uint64_t* ids = nullptr;  // [num_tokens][num_layers][num_columns]; valid until EndBatch()
};

struct LayerRowStats {
  uint32_t layer = 0;     // model layer number
  uint64_t num_rows = 0;  // of the table
  uint32_t row_bytes = 0;
  uint64_t batches = 0;
  uint64_t rows_requested = 0;  // before deduplication
  uint64_t rows_read = 0;       // after
  uint64_t stall_ns = 0;        // engine thread's time in AwaitRows()
  uint64_t gather_ns = 0;       // from BeginBatch() until the layer's rows were there
  uint64_t fill_errors = 0;     // failures to fill a cache of the chain
  uint64_t retries = 0;         // reads of a tier that was out of reach, asked again
};

// One layer to gather for.
struct GatherLayer {
  std::unique_ptr<TableChain> chain;
  uint32_t id_layer = 0;  // its place in the layer dimension of BatchRowIds.ids
};

class RowGather {
 public:
  // Batches of at most this many rows per layer are gathered inside Await() when no tier blocks. Measured with
  // bench/tiers_bench (264-byte rows, 2 busy cores): handing 24 to 384 rows to the thread and back adds 8 to 95 us, and
  // gathering 384 of them takes 26 us; at 1,536 rows (187 us) the hand-off still costs 70 us but hides behind compute.
  static constexpr uint64_t kInlineRows = 512;
  // Rows asked of a chain at once: deep enough for any disk queue, short enough that End() soon gets its turn.
  static constexpr uint32_t kReadRows = 4096;

  // `layers` in the order Await() counts them; all with rows of `row_bytes`. kResourceExhausted if no thread can start.
  // `inline_rows` is for measurements.
  static Result<std::unique_ptr<RowGather>> Create(std::vector<GatherLayer> layers, uint32_t num_columns,
                                                   uint32_t row_bytes, uint64_t inline_rows = kInlineRows);
  ~RowGather();
  RowGather(const RowGather&) = delete;
  RowGather& operator=(const RowGather&) = delete;

  // Starts a batch; none may be open. Runs must not overlap and lie in [0, num_tokens). Never fails: what goes wrong is
  // Await()'s error.
  engram_batch_rows* Begin(uint32_t num_tokens, std::span<const BatchRowIds> runs);
  // Waits for the rows of layers[layer]: uint8 [num_tokens][num_columns][row_bytes], valid until End(). Rows of tokens
  // outside all runs are unspecified bytes. After an error all later layers give that error too.
  Result<engram_row_view> Await(engram_batch_rows* rows, uint32_t layer);
  // Ends the batch, wherever it is; waits for the read that is under way.
  void End(engram_batch_rows* rows);

  std::vector<LayerRowStats> layer_stats() const;
  std::vector<TierTableStats> tier_stats() const;

 private:
  struct Buffer {
    ~Buffer();
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    // At least num_bytes, 64-byte aligned; new memory is zeroed. Throws std::bad_alloc.
    void Reserve(uint64_t num_bytes);
    uint8_t* data = nullptr;
    uint64_t capacity = 0;
  };
  struct Layer {
    std::unique_ptr<TableChain> chain;
    uint32_t id_layer = 0;
    Buffer buffer;      // written by whoever gathers, read by the engine thread once `done`
    bool done = false;  // guarded by mutex_ while the thread works
    std::atomic<uint64_t> batches{0};
    std::atomic<uint64_t> rows_requested{0};
    std::atomic<uint64_t> rows_read{0};
    std::atomic<uint64_t> stall_ns{0};
    std::atomic<uint64_t> gather_ns{0};
  };

  RowGather(std::vector<GatherLayer> layers, uint32_t num_columns, uint32_t row_bytes, uint64_t inline_rows);
  void Work();
  Status Gather(Layer& layer);
  void Spread(Layer& layer, uint64_t num_ids) const;

  const uint32_t num_columns_;
  const uint32_t row_bytes_;
  const uint64_t inline_rows_;
  std::vector<std::unique_ptr<Layer>> layers_;
  bool may_block_ = false;

  // The open batch. Written by Begin() before the thread may look at it, and constant until End().
  std::unique_ptr<engram_batch_rows> handle_;
  bool open_ = false;
  uint32_t num_tokens_ = 0;
  uint64_t rows_per_layer_ = 0;
  std::vector<BatchRowIds> runs_;  // ascending
  bool inline_ = false;
  uint64_t begin_ns_ = 0;

  // Of whoever gathers: the engine thread or the worker, never both in one batch.
  RowDedupe dedupe_;
  std::vector<uint64_t> ids_;
  std::vector<uint64_t> unique_;
  std::vector<uint32_t> index_;
  ChainScratch scratch_;

  std::atomic<bool> cancel_{false};
  std::mutex mutex_;
  std::condition_variable wake_;   // for the worker: posted_ or stop_
  std::condition_variable ready_;  // for the engine thread: a layer is done, or the worker rests
  bool posted_ = false;            // guarded by mutex_: a batch waits for the worker
  bool working_ = false;           // guarded by mutex_
  bool stop_ = false;              // guarded by mutex_
  std::optional<Error> error_;     // guarded by mutex_: the open batch's
  std::thread worker_;
};

}  // namespace engram
