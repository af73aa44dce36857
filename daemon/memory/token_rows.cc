// SPDX-License-Identifier: Apache-2.0
#include "memory/token_rows.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "core/monotonic.h"
#include "core/prompt_wakeups.h"

namespace engram {

using std::chrono::steady_clock;

TokenRows::TokenRows(TokenRowReader& reader, std::shared_ptr<BaseTables> base, uint32_t num_layers,
                     uint64_t layer_bytes)
    : reader_(reader),
      base_(std::move(base)),
      layer_bytes_(layer_bytes),
      rows_(std::make_unique_for_overwrite<uint8_t[]>(num_layers * layer_bytes)),
      layers_(num_layers) {}

Status TokenRows::Wait(uint32_t layer, steady_clock::time_point deadline, std::chrono::milliseconds timeout) {
  return reader_.Wait(*this, layer, deadline, timeout);
}

TokenRowReader::TokenRowReader(std::vector<GatherLayer> layers, uint32_t num_columns, uint32_t row_bytes)
    : layers_(std::move(layers)), num_columns_(num_columns), row_bytes_(row_bytes) {}
TokenRowReader::~TokenRowReader() = default;

Result<std::shared_ptr<TokenRowReader>> TokenRowReader::Create(std::vector<GatherLayer> layers, uint32_t num_columns,
                                                               uint32_t row_bytes) {
  std::shared_ptr<TokenRowReader> reader(new TokenRowReader(std::move(layers), num_columns, row_bytes));
  ENGRAM_TRY(reader->thread_, LeavableThread::Start("rows-next", [reader] { reader->Run(); }));
  return StopWhenDropped(std::move(reader));
}

void TokenRowReader::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.End();
}

std::shared_ptr<TokenRows> TokenRowReader::Ask(const MemoryView& view, std::span<const uint64_t> ids) {
  if (!view.base->may_block() || stalled()) return nullptr;
  try {
    const auto num_layers = static_cast<uint32_t>(layers_.size());
    std::shared_ptr<TokenRows> rows(new TokenRows(*this, view.base, num_layers, uint64_t{num_columns_} * row_bytes_));
    rows->ids_.assign(ids.begin(), ids.end());
    for (uint32_t layer = 0; layer < num_layers; ++layer) {
      const auto of_layer = IdsOf(*rows, layer);
      if (*std::max_element(of_layer.begin(), of_layer.end()) >= view.base->chain(layer).num_rows()) return nullptr;
    }
    bool all_over = true;
    for (uint32_t layer = 0; layer < num_layers; ++layer) {
      TakeAtOnce(view, *rows, layer);
      all_over = all_over && rows->over(layer);
    }
    tokens_asked_.fetch_add(1, std::memory_order_relaxed);
    if (all_over) return rows;
    {
      const std::lock_guard lock(mutex_);
      for (uint32_t layer = 0; layer < num_layers; ++layer)
        if (!rows->over(layer)) waiting_.push_back({rows, layer});
    }
    wake_.notify_one();
    return rows;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

// What the view has in place of the base's rows, and what the nearest tier has of the others.
void TokenRowReader::TakeAtOnce(const MemoryView& view, TokenRows& rows, uint32_t layer) {
  TokenRows::Layer& of_layer = rows.layers_[layer];
  TableChain& chain = rows.base_->chain(layer);
  const auto ids = IdsOf(rows, layer);
  uint8_t* const dst = rows.rows_.get() + layer * rows.layer_bytes_;
  const auto place = [&](uint32_t column) { return dst + size_t{column} * row_bytes_; };
  patches_.assign(num_columns_, nullptr);
  if (view.patches(layer)) view.FindRows(layer, ids, patches_.data());
  columns_.clear();
  near_ids_.clear();
  for (uint32_t column = 0; column < num_columns_; ++column) {
    if (patches_[column] != nullptr) {
      std::memcpy(place(column), patches_[column], row_bytes_);
    } else {
      columns_.push_back(column);
      near_ids_.push_back(ids[column]);
    }
  }
  const auto num_ids = static_cast<uint32_t>(near_ids_.size());
  if (num_ids > 0) chain.heat().Record(RowHeat::Lane::kTokens, near_ids_);
  found_.assign(num_ids, 0);
  if (num_ids > 0 && chain.has_near()) {
    near_rows_.resize(size_t{num_columns_} * row_bytes_);
    // What is wrong with it, if anything, the thread will say, which asks all tiers.
    if (chain.ReadNear(near_ids_.data(), num_ids, near_rows_.data(), found_.data())) {
      of_layer.from_level = 1;
    } else {
      found_.assign(num_ids, 0);
    }
  }
  for (uint32_t i = 0; i < num_ids; ++i) {
    if (found_[i] != 0) {
      std::memcpy(place(columns_[i]), near_rows_.data() + size_t{i} * row_bytes_, row_bytes_);
    } else {
      of_layer.missing.push_back(columns_[i]);
    }
  }
  if (!of_layer.missing.empty()) return;
  of_layer.over_ns = MonotonicNs();
  of_layer.over.store(true, std::memory_order_release);
}

// With mutex_ held: all that waits for the lowest layer anything waits for. Returns that layer; `group` is empty when
// nobody wants any of that any more.
uint32_t TokenRowReader::TakeGroup(Group& group, Group& dropped) {
  const uint32_t layer = std::min_element(waiting_.begin(), waiting_.end(), [](const Waiting& a, const Waiting& b) {
                           return a.layer < b.layer;
                         })->layer;
  std::erase_if(waiting_, [&](const Waiting& waiting) {
    if (waiting.layer != layer || group.size() == kTokensAtOnce) return false;
    std::shared_ptr<TokenRows> rows = waiting.rows.lock();
    if (rows == nullptr) return true;
    if (!group.empty() && (rows->base_ != group.front()->base_ ||
                           rows->layers_[layer].from_level != group.front()->layers_[layer].from_level)) {
      dropped.push_back(std::move(rows));  // to be let go of without the lock, if nobody else holds it by then
      return false;
    }
    group.push_back(std::move(rows));
    return true;
  });
  return layer;
}

void TokenRowReader::Run() {
  AskForPromptWakeups();
  Group group;
  Group dropped;
  group.reserve(kTokensAtOnce);
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
    if (stop_) return;
    const uint32_t layer = TakeGroup(group, dropped);
    if (!group.empty()) reading_ = &group.front()->base_->chain(layer);
    lock.unlock();
    dropped.clear();
    Status read;
    if (!group.empty()) read = Read(layer, group);
    lock.lock();
    const uint64_t now_ns = MonotonicNs();
    for (const auto& rows : group) {
      TokenRows::Layer& of_layer = rows->layers_[layer];
      if (!read) of_layer.error = read.error();
      of_layer.over_ns = now_ns;
      of_layer.over.store(true, std::memory_order_release);
    }
    reading_ = nullptr;
    stalled_.store(false, std::memory_order_relaxed);
    lock.unlock();
    ready_.notify_all();
    group.clear();
    lock.lock();
  }
}

Status TokenRowReader::Read(uint32_t layer, const Group& group) {
  TableChain& chain = group.front()->base_->chain(layer);
  try {
    read_ids_.clear();
    for (const auto& rows : group)
      for (const uint32_t column : rows->layers_[layer].missing) read_ids_.push_back(IdsOf(*rows, layer)[column]);
    std::sort(read_ids_.begin(), read_ids_.end());
    read_ids_.erase(std::unique(read_ids_.begin(), read_ids_.end()), read_ids_.end());
    read_rows_.resize(std::max(read_rows_.size(), read_ids_.size() * row_bytes_));
    ENGRAM_CHECK_OK(chain.Read(read_ids_.data(), static_cast<uint32_t>(read_ids_.size()), read_rows_.data(), scratch_,
                               group.front()->layers_[layer].from_level));
    for (const auto& rows : group)
      for (const uint32_t column : rows->layers_[layer].missing) {
        const auto at = std::lower_bound(read_ids_.begin(), read_ids_.end(), IdsOf(*rows, layer)[column]);
        std::memcpy(rows->rows_.get() + layer * rows->layer_bytes_ + size_t{column} * row_bytes_,
                    read_rows_.data() + static_cast<size_t>(at - read_ids_.begin()) * row_bytes_, row_bytes_);
      }
    return {};
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory to read rows of layer " + std::to_string(chain.layer()));
  }
}

Status TokenRowReader::Wait(TokenRows& rows, uint32_t layer, steady_clock::time_point deadline,
                            std::chrono::milliseconds timeout) {
  TokenRows::Layer& of_layer = rows.layers_[layer];
  if (!rows.over(layer)) {
    std::unique_lock lock(mutex_);
    if (!ready_.wait_until(lock, deadline, [&] { return rows.over(layer); })) {
      if (reading_ == nullptr) return NoAnswer(nullptr, 0, timeout);
      stalled_.store(true, std::memory_order_relaxed);
      return NoAnswer(reading_, scratch_.level.load(std::memory_order_relaxed), timeout);
    }
  }
  if (of_layer.error) return *of_layer.error;
  return {};
}

}  // namespace engram
