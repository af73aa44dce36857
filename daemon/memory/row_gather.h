// SPDX-License-Identifier: Apache-2.0
// RowGather: the rows of one batch at a time, layer by layer, into dense buffers: each run's edits and overlays, and
// for all other rows what the base's tier chains have. Runs of one batch may have different views, and even different
// bases.
//
// A batch is Begin(), Await() per layer, End(), all on the engine thread. Small batches whose tiers never block are
// gathered inside Await(); all others by the thread "rows-0", which works through the layers while the backbone
// computes. Runs whose rows were asked for before (token_rows.h) only wait for them. Statistics are read by any thread.
//
// A tier that does not answer costs a batch the read timeout, once in Await() and once in End() at most. Its read is
// then left to the thread, which keeps the base and the buffers until it returns; batches that begin before that fail
// at once. The end of the gather does not wait for it.
#pragma once

#include <engram/host.h>

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
#include "memory/row_dedupe.h"
#include "memory/token_rows.h"

namespace engram {

struct LayerRowStats {
  uint32_t layer = 0;     // model layer number
  uint64_t num_rows = 0;  // of the table
  uint32_t row_bytes = 0;
  uint64_t batches = 0;
  uint64_t rows_requested = 0;  // before deduplication
  uint64_t rows_read = 0;       // after
  uint64_t stall_ns = 0;        // engine thread's time in AwaitRows()
  uint64_t gather_ns = 0;       // from BeginBatch() until the layer's rows were there
  uint64_t lead_ns = 0;         // from then until the step asked for them, where that was later
  uint64_t timeouts = 0;        // waits that were given up
  uint64_t fill_errors = 0;     // failures to fill a cache of the chain
  uint64_t retries = 0;         // reads of a tier that was out of reach, asked again
};

class RowGather {
 public:
  // Batches of at most this many rows per layer are gathered inside Await() when no tier blocks. Measured with
  // bench/tiers_bench (264-byte rows, 2 busy cores): handing 24 to 384 rows to the thread and back adds 8 to 95 us, and
  // gathering 384 of them takes 26 us; at 1,536 rows (187 us) the hand-off still costs 70 us but hides behind compute.
  static constexpr uint64_t kInlineRows = 512;
  // Rows asked of a chain at once: deep enough for any disk queue, short enough that End() soon gets its turn.
  static constexpr uint32_t kReadRows = 4096;
  static constexpr std::chrono::milliseconds kReadTimeout{10'000};

  // `layers` in the order Await() counts them; all with rows of `row_bytes`. kResourceExhausted if no thread can start.
  // `inline_rows` is for measurements.
  static Result<std::shared_ptr<RowGather>> Create(const std::vector<GatherLayer>& layers, uint32_t num_columns,
                                                   uint32_t row_bytes, uint64_t inline_rows = kInlineRows,
                                                   std::chrono::milliseconds read_timeout = kReadTimeout);
  ~RowGather();
  RowGather(const RowGather&) = delete;
  RowGather& operator=(const RowGather&) = delete;

  // Starts a batch; none may be open. Runs must not overlap and lie in [0, num_tokens); each has a view, whose base has
  // these layers; what was asked for before is of that base. Never fails: what goes wrong is Await()'s error.
  engram_batch_rows* Begin(uint32_t num_tokens, std::span<const BatchRowIds> runs);
  // Waits for the rows of layers[layer]: uint8 [num_tokens][num_columns][row_bytes], valid until End(). Rows of tokens
  // outside all runs are unspecified bytes. After an error all later layers give that error too. kUnavailable, with the
  // tier and the layer, when they have not come within the read timeout.
  Result<engram_row_view> Await(engram_batch_rows* rows, uint32_t layer);
  // Ends the batch, wherever it is; waits for the read that is under way, but not beyond the read timeout.
  void End(engram_batch_rows* rows);
  // Why the open batch has no rows, once Await() has said so.
  const std::optional<Error>& failure() const { return failure_; }
  // A read that nobody waits for any more has not returned. Any thread.
  bool stalled() const { return stalled_.load(std::memory_order_relaxed); }

  // `base` is whose chains' counters go with them.
  std::vector<LayerRowStats> layer_stats(const BaseTables& base) const;

  void Stop();  // StopWhenDropped()'s: ends an open batch

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
    uint32_t number = 0;
    uint32_t index = 0;  // ascending
    uint32_t id_layer = 0;
    Buffer buffer;          // written by whoever gathers, read by the engine thread once `done`
    bool done = false;      // guarded by mutex_ while the thread works
    bool complete = false;  // the engine thread's: `done`, and the rows asked for before are there too
    uint64_t done_ns = 0;   // when; as done
    std::atomic<uint64_t> batches{0};
    std::atomic<uint64_t> rows_requested{0};
    std::atomic<uint64_t> rows_read{0};
    std::atomic<uint64_t> stall_ns{0};
    std::atomic<uint64_t> gather_ns{0};
    std::atomic<uint64_t> lead_ns{0};
    std::atomic<uint64_t> timeouts{0};
  };

  RowGather(const std::vector<GatherLayer>& layers, uint32_t num_columns, uint32_t row_bytes, uint64_t inline_rows,
            std::chrono::milliseconds read_timeout);
  void Work();
  Status Gather(Layer& layer);
  Status GatherBase(Layer& layer, const BaseTables& base);
  Status Read(TableChain& chain, const uint64_t* ids, uint32_t num_ids, uint8_t* dst);
  Error NoAnswer() const;
  Status TakeAsked(Layer& layer, uint64_t start_ns);
  const uint64_t* IdsOf(const BatchRowIds& run, uint32_t token, const Layer& layer) const;
  const uint8_t** PatchesOf(const BatchRowIds& run, const Layer& layer);
  void Spread(Layer& layer, const BaseTables& base, const uint8_t* distinct, uint64_t num_ids);
  void Patch(Layer& layer, const BatchRowIds& run);
  void LayGuarded(Layer& layer, const BatchRowIds& run);

  const uint32_t num_columns_;
  const uint32_t row_bytes_;
  const uint64_t inline_rows_;
  const std::chrono::milliseconds read_timeout_;
  std::vector<std::unique_ptr<Layer>> layers_;

  // The open batch. Written by Begin() before the thread may look at it, and constant until End().
  std::unique_ptr<engram_batch_rows> handle_;
  bool open_ = false;
  uint32_t num_tokens_ = 0;
  uint64_t rows_per_layer_ = 0;
  std::vector<BatchRowIds> runs_;                   // to be gathered, ascending
  std::vector<BatchRowIds> asked_;                  // the others; the engine thread's
  std::optional<Error> asked_error_;                // theirs; the engine thread's
  std::vector<std::shared_ptr<BaseTables>> bases_;  // of the runs, each once; held until the thread rests
  bool inline_ = false;
  std::optional<Error> failure_;
  uint64_t begin_ns_ = 0;

  // Of whoever gathers: the engine thread or the worker, never both in one batch.
  RowDedupe dedupe_;
  std::vector<uint64_t> ids_;
  std::vector<uint64_t> unique_;
  std::vector<uint32_t> index_;
  std::vector<const uint8_t*> patches_;  // [num_tokens][num_columns]: rows that a run's view has otherwise, or nullptr
  ChainScratch scratch_;
  Buffer distinct_;  // rows of one of several bases

  std::atomic<bool> stalled_{false};  // abandoned_, for all to see
  std::mutex mutex_;
  std::condition_variable wake_;   // for the worker: posted_ or stop_
  std::condition_variable ready_;  // for the engine thread: a layer is done, or the worker rests
  bool posted_ = false;            // guarded by mutex_: a batch waits for the worker
  bool working_ = false;           // guarded by mutex_
  bool stop_ = false;              // guarded by mutex_
  bool cancel_ = false;            // guarded by mutex_: nobody waits for the batch's rows any more
  bool abandoned_ = false;         // guarded by mutex_: the batch has ended, the worker's read has not
  TableChain* reading_ = nullptr;  // guarded by mutex_: what is being read, without looking at runs_
  std::optional<Error> error_;     // guarded by mutex_: the open batch's
  LeavableThread worker_;
};

}  // namespace engram
