// SPDX-License-Identifier: Apache-2.0
#include "memory/row_gather.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "core/monotonic.h"
#include "core/prompt_wakeups.h"

// What the backbone holds while a batch is open: an address to recognise, nothing more.
struct engram_batch_rows {};

namespace engram {
namespace {

constexpr uint64_t kAlignment = 64;

// serving.max_batch_tokens unless it is set. Room for a batch of so many is taken at once, so that the process is as
// large when its models have been loaded as it will be when it computes; larger batches take more when they come.
constexpr uint64_t kUsualTokens = 512;

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

RowGather::RowGather(const std::vector<GatherLayer>& layers, uint32_t num_columns, uint32_t row_bytes,
                     uint64_t inline_rows, std::chrono::milliseconds read_timeout)
    : num_columns_(num_columns),
      row_bytes_(row_bytes),
      inline_rows_(inline_rows),
      read_timeout_(read_timeout),
      handle_(std::make_unique<engram_batch_rows>()) {
  for (const GatherLayer& layer : layers) {
    layers_.push_back(std::make_unique<Layer>());
    layers_.back()->number = layer.layer;
    layers_.back()->index = static_cast<uint32_t>(layers_.size() - 1);
    layers_.back()->id_layer = layer.id_layer;
  }
}

Result<std::shared_ptr<RowGather>> RowGather::Create(const std::vector<GatherLayer>& layers, uint32_t num_columns,
                                                     uint32_t row_bytes, uint64_t inline_rows,
                                                     std::chrono::milliseconds read_timeout) {
  std::shared_ptr<RowGather> gather(new RowGather(layers, num_columns, row_bytes, inline_rows, read_timeout));
  try {
    const uint64_t num_rows = kUsualTokens * num_columns;
    for (const auto& layer : gather->layers_) layer->buffer.Reserve(num_rows * row_bytes);
    gather->ids_.resize(num_rows);
    gather->unique_.resize(num_rows);
    gather->index_.resize(num_rows);
    gather->patches_.resize(num_rows);
    gather->scratch_.rows.resize(std::min<uint64_t>(kReadRows, num_rows) * row_bytes);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory for the rows of a batch");
  }
  ENGRAM_TRY(gather->worker_, LeavableThread::Start("rows-0", [gather] { gather->Work(); }));
  return StopWhenDropped(std::move(gather));
}

RowGather::~RowGather() = default;

void RowGather::Stop() {
  if (open_) End(handle_.get());
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  worker_.End();
}

engram_batch_rows* RowGather::Begin(uint32_t num_tokens, std::span<const BatchRowIds> runs) {
  assert(!open_);
  begin_ns_ = MonotonicNs();
  open_ = true;
  num_tokens_ = num_tokens;
  failure_.reset();
  {
    const std::lock_guard lock(mutex_);
    for (const auto& layer : layers_) layer->done = layer->complete = false;
    asked_.clear();
    asked_error_.reset();
    if (abandoned_) {
      // Everything else is the worker's until its read returns.
      error_ = NoAnswer();
      inline_ = true;
      return handle_.get();
    }
    error_.reset();
    cancel_ = false;
  }
  bool may_block = false;
  try {
    bases_.clear();
    runs_.clear();
    for (const BatchRowIds& run : runs) (run.asked == nullptr ? runs_ : asked_).push_back(run);
    std::sort(runs_.begin(), runs_.end(),
              [](const BatchRowIds& a, const BatchRowIds& b) { return a.first_token < b.first_token; });
    uint64_t num_run_tokens = 0;
    uint64_t end = 0;
    for (const BatchRowIds& run : runs_) {
      assert(run.first_token >= end);
      end = uint64_t{run.first_token} + run.num_tokens;
      num_run_tokens += run.num_tokens;
      const std::shared_ptr<BaseTables>& base = run.view->base;
      if (std::find(bases_.begin(), bases_.end(), base) != bases_.end()) continue;
      bases_.push_back(base);
      may_block = may_block || base->may_block();
    }
    assert(end <= num_tokens);
    rows_per_layer_ = num_run_tokens * num_columns_;
    if (rows_per_layer_ > UINT32_MAX / 2) throw std::bad_alloc();  // RowDedupe's limit; far above any step
    for (const auto& layer : layers_) layer->buffer.Reserve(uint64_t{num_tokens} * num_columns_ * row_bytes_);
    ids_.resize(std::max(ids_.size(), rows_per_layer_));
    unique_.resize(std::max(unique_.size(), rows_per_layer_));
    index_.resize(std::max(index_.size(), rows_per_layer_));
    patches_.resize(std::max(patches_.size(), size_t{num_tokens} * num_columns_));
  } catch (const std::bad_alloc&) {
    error_ = ResourceExhausted("no memory for the rows of a batch of " + std::to_string(num_tokens) + " tokens, " +
                               std::to_string(num_columns_) + " rows of " + std::to_string(row_bytes_) +
                               " bytes each per layer");
  }
  inline_ = error_.has_value() || (!may_block && rows_per_layer_ <= inline_rows_);
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
  const uint64_t start_ns = MonotonicNs();
  if (layer.complete) {
    // Asked for again, by whom it is of interest what the backbone was given.
  } else if (inline_) {
    if (!layer.done && !error_) {
      auto gathered = Gather(layer);
      layer.done = gathered.has_value();
      if (!gathered) error_ = std::move(gathered).error();
    }
    if (!layer.done) failed = error_;
  } else {
    std::unique_lock lock(mutex_);
    if (layer.done) {
      if (asked_.empty()) Add(layer.lead_ns, start_ns - std::min(start_ns, layer.done_ns));
    } else if (!ready_.wait_for(lock, read_timeout_, [&] { return layer.done || error_.has_value(); })) {
      error_ = NoAnswer();
      Add(layer.timeouts, 1);
    }
    // A layer that is there is not taken back because a later one failed in the meantime.
    if (!layer.done) failed = error_;
  }
  if (!failed && !layer.complete) {
    if (Status taken = TakeAsked(layer, start_ns); !taken) {
      failed = std::move(taken).error();
      const std::lock_guard lock(mutex_);
      error_ = failed;
    }
    layer.complete = !failed;
  }
  Add(layer.stall_ns, MonotonicNs() - start_ns);
  if (failed) {
    failure_ = failed;
    return *std::move(failed);
  }
  return engram_row_view{sizeof(engram_row_view), num_tokens_, num_columns_, row_bytes_, layer.buffer.data};
}

void RowGather::End(engram_batch_rows* rows) {
  assert(open_ && rows == handle_.get());
  static_cast<void>(rows);
  std::unique_lock lock(mutex_);
  if (!inline_) {
    const bool gave_up = error_.has_value() && working_;
    cancel_ = true;
    posted_ = false;
    const auto rests = [this] { return !working_; };
    if (!ready_.wait_for(lock, gave_up ? std::chrono::milliseconds(0) : read_timeout_, rests)) {
      // The batch's runs go with this call, so the worker must have left them behind.
      ready_.wait(lock, [this] { return !working_ || reading_ != nullptr; });
      abandoned_ = working_;
      stalled_.store(abandoned_, std::memory_order_relaxed);
    }
  }
  if (!abandoned_) bases_.clear();
  open_ = false;
}

void RowGather::Work() {
  AskForPromptWakeups();
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
      if (cancel_) break;  // what is there now, nobody waits for
      if (!gathered) {
        error_ = std::move(gathered).error();
        break;
      }
      layer->done = true;
      layer->done_ns = MonotonicNs();
      ready_.notify_one();
    }
    working_ = false;
    if (std::exchange(abandoned_, false)) bases_.clear();
    stalled_.store(false, std::memory_order_relaxed);
    ready_.notify_one();
  }
}

// With mutex_ held.
Error RowGather::NoAnswer() const {
  return engram::NoAnswer(reading_, scratch_.level.load(std::memory_order_relaxed), read_timeout_);
}

// Waits for the rows asked for before and lays them where they belong, once the layer's others are there: those have
// used the whole buffer on their way.
Status RowGather::TakeAsked(Layer& layer, uint64_t start_ns) {
  if (asked_.empty()) return {};
  if (asked_error_) return *asked_error_;
  bool waited = false;
  uint64_t came_ns = runs_.empty() ? 0 : layer.done_ns;
  const auto deadline = std::chrono::steady_clock::now() + read_timeout_;
  for (const BatchRowIds& run : asked_) {
    waited = waited || !run.asked->over(layer.index);
    if (Status there = run.asked->Wait(layer.index, deadline, read_timeout_); !there) {
      if (!run.asked->over(layer.index)) Add(layer.timeouts, 1);
      asked_error_ = there.error();
      return there;
    }
    const uint64_t bytes = uint64_t{num_columns_} * row_bytes_;
    std::memcpy(layer.buffer.data + run.first_token * bytes, run.asked->rows(layer.index), bytes);
    LayGuarded(layer, run);
    came_ns = std::max(came_ns, run.asked->came_ns(layer.index));
  }
  if (!waited && came_ns <= start_ns) Add(layer.lead_ns, start_ns - came_ns);
  Add(layer.rows_requested, asked_.size() * num_columns_);
  Add(layer.rows_read, asked_.size() * num_columns_);
  return {};
}

// While this reads, the batch may end; the caller must not look at its runs again when this says so.
Status RowGather::Read(TableChain& chain, const uint64_t* ids, uint32_t num_ids, uint8_t* dst) {
  const auto cancelled = [] {
    return Error{ErrorCode::kCancelled, "the batch ended before its rows were gathered", {}};
  };
  {
    const std::lock_guard lock(mutex_);
    if (cancel_) return cancelled();
    reading_ = &chain;
  }
  Status read = chain.Read(ids, num_ids, dst, scratch_);
  const std::lock_guard lock(mutex_);
  reading_ = nullptr;
  if (cancel_) return cancelled();
  return read;
}

const uint64_t* RowGather::IdsOf(const BatchRowIds& run, uint32_t token, const Layer& layer) const {
  return run.ids + (uint64_t{token} * layers_.size() + layer.id_layer) * num_columns_;
}

Status RowGather::Gather(Layer& layer) {
  try {
    for (const BatchRowIds& run : runs_) {
      const uint8_t** const patches = PatchesOf(run, layer);
      if (patches == nullptr) continue;
      for (uint32_t t = 0; t < run.num_tokens; ++t)
        run.view->FindRows(layer.index, {IdsOf(run, t, layer), num_columns_}, patches + uint64_t{t} * num_columns_);
    }
    for (const auto& base : bases_) ENGRAM_CHECK_OK(GatherBase(layer, *base));
    for (const BatchRowIds& run : runs_) Patch(layer, run);
    Add(layer.batches, 1);
    Add(layer.gather_ns, MonotonicNs() - begin_ns_);
    return {};
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory to gather rows of layer " + std::to_string(layer.number));
  }
}

Status RowGather::GatherBase(Layer& layer, const BaseTables& base) {
  TableChain& table = base.chain(layer.index);
  uint64_t num_ids = 0;
  uint64_t num_patched = 0;
  uint64_t max_id = 0;
  for (const BatchRowIds& run : runs_) {
    if (run.view->base.get() != &base) continue;
    const uint8_t* const* patch = PatchesOf(run, layer);
    for (uint32_t t = 0; t < run.num_tokens; ++t) {
      const uint64_t* ids = IdsOf(run, t, layer);
      for (uint32_t c = 0; c < num_columns_; ++c) {
        // What the base has of rows that are shown otherwise, nobody needs: no tier is asked for them.
        if (patch != nullptr && *patch++ != nullptr) {
          ++num_patched;
          continue;
        }
        max_id = std::max(max_id, ids[c]);
        ids_[num_ids++] = ids[c];
      }
    }
  }
  if (num_ids > 0 && max_id >= table.num_rows())
    return Internal("row " + std::to_string(max_id) + " asked of layer " + std::to_string(table.layer()) +
                    ", whose table has " + std::to_string(table.num_rows()) + " rows");
  const uint32_t num_unique = dedupe_.Run({ids_.data(), num_ids}, unique_.data(), index_.data());
  if (num_unique > 0) table.heat().Record(RowHeat::Lane::kBatches, {unique_.data(), num_unique});
  // One base's rows are read to the start of where all go; of several, each would overwrite the others'.
  uint8_t* distinct = layer.buffer.data;
  if (bases_.size() > 1) {
    distinct_.Reserve(uint64_t{num_unique} * row_bytes_);
    distinct = distinct_.data;
  }
  for (uint32_t first = 0; first < num_unique; first += kReadRows) {
    ENGRAM_CHECK_OK(Read(table, unique_.data() + first, std::min(kReadRows, num_unique - first),
                         distinct + uint64_t{first} * row_bytes_));
  }
  Spread(layer, base, distinct, num_ids);
  Add(layer.rows_requested, num_ids + num_patched);
  Add(layer.rows_read, num_unique);
  return {};
}

// Where the rows of a run are that its view has otherwise than the base; nullptr: it has none.
const uint8_t** RowGather::PatchesOf(const BatchRowIds& run, const Layer& layer) {
  return run.view->patches(layer.index) ? &patches_[uint64_t{run.first_token} * num_columns_] : nullptr;
}

// The distinct rows lie packed in order of first appearance, perhaps at the buffer's own start. Then row k's source is
// at or before k, and its place at or after k, so going backwards every row is moved before its bytes are overwritten.
void RowGather::Spread(Layer& layer, const BaseTables& base, const uint8_t* distinct, uint64_t num_ids) {
  uint64_t k = num_ids;
  for (auto run = runs_.rbegin(); run != runs_.rend(); ++run) {
    if (run->view->base.get() != &base) continue;
    const uint8_t* const* patches = PatchesOf(*run, layer);
    const uint64_t first = uint64_t{run->first_token} * num_columns_;
    for (uint64_t i = uint64_t{run->num_tokens} * num_columns_; i-- > 0;) {
      if (patches != nullptr && patches[i] != nullptr) continue;
      const uint8_t* from = distinct + uint64_t{index_[--k]} * row_bytes_;
      uint8_t* to = layer.buffer.data + (first + i) * row_bytes_;
      if (from != to) std::memcpy(to, from, row_bytes_);
    }
  }
}

// After Spread(), which may still need what lies in their places.
void RowGather::Patch(Layer& layer, const BatchRowIds& run) {
  const uint64_t token_bytes = uint64_t{num_columns_} * row_bytes_;
  uint8_t* rows = layer.buffer.data + run.first_token * token_bytes;
  if (const uint8_t* const* patches = PatchesOf(run, layer)) {
    for (uint64_t i = 0; i < uint64_t{run.num_tokens} * num_columns_; ++i)
      if (patches[i] != nullptr) std::memcpy(rows + i * row_bytes_, patches[i], row_bytes_);
  }
  LayGuarded(layer, run);
}

void RowGather::LayGuarded(Layer& layer, const BatchRowIds& run) {
  const uint64_t token_bytes = uint64_t{num_columns_} * row_bytes_;
  uint8_t* rows = layer.buffer.data + run.first_token * token_bytes;
  for (const GuardedMatch& match : run.guarded) {
    const auto memory = match.entry->memory.find(layer.index);
    if (memory != match.entry->memory.end())
      std::memcpy(rows + (match.token - run.guarded_from) * token_bytes, memory->second.data(), token_bytes);
  }
}

std::vector<LayerRowStats> RowGather::layer_stats(const BaseTables& base) const {
  const auto read = [](const std::atomic<uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
  std::vector<LayerRowStats> result;
  for (const auto& layer : layers_) {
    const TableChain& chain = base.chain(layer->index);
    result.push_back({layer->number, chain.num_rows(), row_bytes_, read(layer->batches), read(layer->rows_requested),
                      read(layer->rows_read), read(layer->stall_ns), read(layer->gather_ns), read(layer->lead_ns),
                      read(layer->timeouts), chain.fill_errors(), chain.retries()});
  }
  return result;
}

}  // namespace engram
