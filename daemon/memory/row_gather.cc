// SPDX-License-Identifier: Apache-2.0
#include "memory/row_gather.h"

#include <pthread.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <new>
#include <optional>
#include <string>
#include <system_error>

// What the backbone holds while a batch is open: an address to recognise, nothing more.
struct engram_batch_rows {};

namespace engram {
namespace {

constexpr uint64_t kAlignment = 64;

uint64_t NowNs() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

void Add(std::atomic<uint64_t>& counter, uint64_t n) {
  counter.fetch_add(n, std::memory_order_relaxed);
}

}  // namespace

RowGather::Buffer::~Buffer() {
  std::free(data);
}

void RowGather::Buffer::Reserve(uint64_t num_bytes) {
  if (num_bytes <= capacity) return;
  const uint64_t rounded = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
  auto* fresh = static_cast<uint8_t*>(std::aligned_alloc(kAlignment, rounded));
  if (fresh == nullptr) throw std::bad_alloc();
  std::memset(fresh, 0, rounded);
  std::free(data);
  data = fresh;
  capacity = rounded;
}

RowGather::RowGather(std::vector<GatherLayer> layers, uint32_t num_columns, uint32_t row_bytes, uint64_t inline_rows)
    : num_columns_(num_columns),
      row_bytes_(row_bytes),
      inline_rows_(inline_rows),
      handle_(std::make_unique<engram_batch_rows>()) {
  for (GatherLayer& layer : layers) {
    layers_.push_back(std::make_unique<Layer>());
    layers_.back()->id_layer = layer.id_layer;
    layers_.back()->chain = std::move(layer.chain);
    may_block_ = may_block_ || layers_.back()->chain->may_block();
  }
}

Result<std::unique_ptr<RowGather>> RowGather::Create(std::vector<GatherLayer> layers, uint32_t num_columns,
                                                     uint32_t row_bytes, uint64_t inline_rows) {
  std::unique_ptr<RowGather> gather(new RowGather(std::move(layers), num_columns, row_bytes, inline_rows));
  try {
    gather->worker_ = std::thread(&RowGather::Work, gather.get());
  } catch (const std::system_error& error) {
    return ResourceExhausted(std::string("cannot start the row gathering thread: ") + error.what());
  }
  pthread_setname_np(gather->worker_.native_handle(), "rows-0");
  return gather;
}

RowGather::~RowGather() {
  if (open_) End(handle_.get());
  if (!worker_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  worker_.join();
}

engram_batch_rows* RowGather::Begin(uint32_t num_tokens, std::span<const BatchRowIds> runs) {
  assert(!open_);
  begin_ns_ = NowNs();
  open_ = true;
  num_tokens_ = num_tokens;
  error_.reset();
  cancel_.store(false, std::memory_order_relaxed);
  for (const auto& layer : layers_) layer->done = false;
  try {
    runs_.assign(runs.begin(), runs.end());
    std::sort(runs_.begin(), runs_.end(),
              [](const BatchRowIds& a, const BatchRowIds& b) { return a.first_token < b.first_token; });
    uint64_t num_run_tokens = 0;
    uint64_t end = 0;
    for (const BatchRowIds& run : runs_) {
      assert(run.first_token >= end);
      end = uint64_t{run.first_token} + run.num_tokens;
      num_run_tokens += run.num_tokens;
    }
    assert(end <= num_tokens);
    rows_per_layer_ = num_run_tokens * num_columns_;
    if (rows_per_layer_ > UINT32_MAX / 2) throw std::bad_alloc();  // RowDedupe's limit; far above any step
    for (const auto& layer : layers_) layer->buffer.Reserve(uint64_t{num_tokens} * num_columns_ * row_bytes_);
    ids_.resize(std::max(ids_.size(), rows_per_layer_));
    unique_.resize(std::max(unique_.size(), rows_per_layer_));
    index_.resize(std::max(index_.size(), rows_per_layer_));
  } catch (const std::bad_alloc&) {
    error_ = ResourceExhausted("no memory for the rows of a batch of " + std::to_string(num_tokens) + " tokens, " +
                               std::to_string(num_columns_) + " rows of " + std::to_string(row_bytes_) +
                               " bytes each per layer");
  }
  inline_ = error_.has_value() || (!may_block_ && rows_per_layer_ <= inline_rows_);
  if (!inline_) {
    {
      const std::lock_guard lock(mutex_);
      posted_ = true;
    }
    wake_.notify_one();
  }
  return handle_.get();
}

Result<engram_row_view> RowGather::Await(engram_batch_rows* rows, uint32_t layer_index) {
  if (!open_ || rows != handle_.get()) return FailedPrecondition("rows awaited of a batch that is not open");
  if (layer_index >= layers_.size())
    return InvalidArgument("rows awaited of Engram layer index " + std::to_string(layer_index) + " of " +
                           std::to_string(layers_.size()));
  Layer& layer = *layers_[layer_index];
  std::optional<Error> failed;
  const uint64_t start_ns = NowNs();
  if (inline_) {
    if (!layer.done && !error_) {
      auto gathered = Gather(layer);
      layer.done = gathered.has_value();
      if (!gathered) error_ = std::move(gathered).error();
    }
    if (!layer.done) failed = error_;
  } else {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [&] { return layer.done || error_.has_value(); });
    // A layer that is there is not taken back because a later one failed in the meantime.
    if (!layer.done) failed = error_;
  }
  Add(layer.stall_ns, NowNs() - start_ns);
  if (failed) return *std::move(failed);
  return engram_row_view{sizeof(engram_row_view), num_tokens_, num_columns_, row_bytes_, layer.buffer.data};
}

void RowGather::End(engram_batch_rows* rows) {
  assert(open_ && rows == handle_.get());
  static_cast<void>(rows);
  if (!inline_) {
    cancel_.store(true, std::memory_order_relaxed);
    std::unique_lock lock(mutex_);
    posted_ = false;
    ready_.wait(lock, [this] { return !working_; });
  }
  open_ = false;
}

void RowGather::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return posted_ || stop_; });
    if (stop_) return;
    posted_ = false;
    working_ = true;
    for (const auto& layer : layers_) {
      lock.unlock();
      Status gathered = Gather(*layer);
      lock.lock();
      if (!gathered) {
        error_ = std::move(gathered).error();
        break;
      }
      layer->done = true;
      ready_.notify_one();
    }
    working_ = false;
    ready_.notify_one();
  }
}

Status RowGather::Gather(Layer& layer) {
  try {
    const TableChain& table = *layer.chain;
    uint64_t num_ids = 0;
    uint64_t max_id = 0;
    for (const BatchRowIds& run : runs_) {
      for (uint32_t t = 0; t < run.num_tokens; ++t) {
        const uint64_t* ids = run.ids + (uint64_t{t} * layers_.size() + layer.id_layer) * num_columns_;
        for (uint32_t c = 0; c < num_columns_; ++c) {
          max_id = std::max(max_id, ids[c]);
          ids_[num_ids++] = ids[c];
        }
      }
    }
    if (num_ids > 0 && max_id >= table.num_rows())
      return Internal("row " + std::to_string(max_id) + " asked of layer " + std::to_string(table.layer()) +
                      ", whose table has " + std::to_string(table.num_rows()) + " rows");
    const uint32_t num_unique = dedupe_.Run({ids_.data(), num_ids}, unique_.data(), index_.data());
    for (uint32_t first = 0; first < num_unique; first += kReadRows) {
      if (cancel_.load(std::memory_order_relaxed))
        return Error{ErrorCode::kCancelled, "the batch ended before its rows were gathered", {}};
      ENGRAM_CHECK_OK(layer.chain->Read(unique_.data() + first, std::min(kReadRows, num_unique - first),
                                        layer.buffer.data + uint64_t{first} * row_bytes_, scratch_));
    }
    Spread(layer, num_ids);
    Add(layer.batches, 1);
    Add(layer.rows_requested, num_ids);
    Add(layer.rows_read, num_unique);
    Add(layer.gather_ns, NowNs() - begin_ns_);
    return {};
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory to gather rows of layer " + std::to_string(layer.chain->layer()));
  }
}

// The distinct rows lie packed at the buffer's start in order of first appearance. Row k's source is at or before k,
// and its place at or after k, so going backwards every row is moved before its bytes are overwritten.
void RowGather::Spread(Layer& layer, uint64_t num_ids) const {
  uint8_t* data = layer.buffer.data;
  uint64_t k = num_ids;
  for (auto run = runs_.rbegin(); run != runs_.rend(); ++run) {
    const uint64_t first = uint64_t{run->first_token} * num_columns_;
    for (uint64_t place = first + uint64_t{run->num_tokens} * num_columns_; place-- > first;) {
      const uint64_t source = index_[--k];
      if (source != place) std::memcpy(data + place * row_bytes_, data + source * row_bytes_, row_bytes_);
    }
  }
}

std::vector<LayerRowStats> RowGather::layer_stats() const {
  const auto read = [](const std::atomic<uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
  std::vector<LayerRowStats> result;
  for (const auto& layer : layers_)
    result.push_back({layer->chain->layer(), layer->chain->num_rows(), row_bytes_, read(layer->batches),
                      read(layer->rows_requested), read(layer->rows_read), read(layer->stall_ns),
                      read(layer->gather_ns), layer->chain->fill_errors(), layer->chain->retries()});
  return result;
}

std::vector<TierTableStats> RowGather::tier_stats() const {
  std::vector<TierTableStats> result;
  for (const auto& layer : layers_) {
    auto stats = layer->chain->stats();
    std::move(stats.begin(), stats.end(), std::back_inserter(result));
  }
  return result;
}

}  // namespace engram
