// SPDX-License-Identifier: Apache-2.0
#include "memory/token_rows.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "core/monotonic.h"

namespace engram {

using std::chrono::steady_clock;

struct TokenRows::Reader {
  ChainScratch scratch;
  std::vector<uint64_t> ids;
  std::vector<uint8_t> rows;
  const TableChain* chain = nullptr;  // guarded by the mutex: what it reads
  bool abandoned = false;             // guarded by the mutex: nobody waits for it any more
  LeavableThread thread;
};

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
  for (uint32_t i = 0; i < kThreads; ++i) reader->readers_.push_back(std::make_unique<TokenRows::Reader>());
  // From here on, so that those already started end if another cannot.
  auto owned = StopWhenDropped(reader);
  for (uint32_t i = 0; i < kThreads; ++i) {
    TokenRows::Reader* const self = reader->readers_[i].get();
    const std::string name = "rows-next-" + std::to_string(i);
    ENGRAM_TRY(self->thread, LeavableThread::Start(name.c_str(), [reader, self] { reader->Run(*self); }));
  }
  return owned;
}

void TokenRowReader::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  const auto deadline = steady_clock::now() + LeavableThread::kPatience;
  for (const auto& reader : readers_) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - steady_clock::now());
    reader->thread.End(std::max(left, std::chrono::milliseconds(0)));
  }
}

std::shared_ptr<TokenRows> TokenRowReader::Ask(const std::shared_ptr<BaseTables>& base, std::span<const uint64_t> ids) {
  if (!base->may_block() || stalled()) return nullptr;
  try {
    const auto num_layers = static_cast<uint32_t>(layers_.size());
    std::shared_ptr<TokenRows> rows(new TokenRows(*this, base, num_layers, uint64_t{num_columns_} * row_bytes_));
    rows->ids_.assign(ids.begin(), ids.end());
    for (uint32_t layer = 0; layer < num_layers; ++layer) {
      const auto of_layer = IdsOf(*rows, layer);
      if (*std::max_element(of_layer.begin(), of_layer.end()) >= base->chain(layer).num_rows()) return nullptr;
    }
    uint32_t num_waiting = 0;
    for (uint32_t layer = 0; layer < num_layers; ++layer) {
      AskNear(*rows, layer);
      if (!rows->over(layer)) ++num_waiting;
    }
    tokens_asked_.fetch_add(1, std::memory_order_relaxed);
    if (num_waiting == 0) return rows;
    {
      const std::lock_guard lock(mutex_);
      for (uint32_t layer = 0; layer < num_layers; ++layer)
        if (!rows->over(layer)) waiting_.push_back({rows, layer});
    }
    for (uint32_t i = 0; i < num_waiting; ++i) wake_.notify_one();
    return rows;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void TokenRowReader::AskNear(TokenRows& rows, uint32_t layer) {
  TokenRows::Layer& of_layer = rows.layers_[layer];
  TableChain& chain = rows.base_->chain(layer);
  const auto ids = IdsOf(rows, layer);
  chain.heat().Record(ids);
  found_.assign(num_columns_, 0);
  if (chain.has_near()) {
    uint8_t* const dst = rows.rows_.get() + layer * rows.layer_bytes_;
    // What is wrong with it, if anything, a reader will say, which asks all tiers.
    if (chain.ReadNear(ids.data(), num_columns_, dst, found_.data())) {
      of_layer.from_level = 1;
    } else {
      found_.assign(num_columns_, 0);
    }
  }
  for (uint32_t column = 0; column < num_columns_; ++column)
    if (found_[column] == 0) of_layer.missing.push_back(column);
  if (!of_layer.missing.empty()) return;
  of_layer.over_ns = MonotonicNs();
  of_layer.over.store(true, std::memory_order_release);
}

// With mutex_ held: all that waits for the table that has waited longest. Returns its layer; `group` is empty when
// nobody wants any of that any more.
uint32_t TokenRowReader::TakeGroup(std::vector<std::shared_ptr<TokenRows>>& group,
                                   std::vector<std::shared_ptr<TokenRows>>& dropped) {
  const uint32_t layer = waiting_.front().layer;
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

void TokenRowReader::Run(TokenRows::Reader& self) {
  std::vector<std::shared_ptr<TokenRows>> group;
  std::vector<std::shared_ptr<TokenRows>> dropped;
  group.reserve(kTokensAtOnce);
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
    if (stop_) return;
    const uint32_t layer = TakeGroup(group, dropped);
    if (!group.empty()) {
      self.chain = &group.front()->base_->chain(layer);
      for (const auto& rows : group) rows->layers_[layer].reader = &self;
    }
    lock.unlock();
    dropped.clear();
    Status read;
    if (!group.empty()) read = Read(self, layer, group);
    lock.lock();
    const uint64_t now_ns = MonotonicNs();
    for (const auto& rows : group) {
      TokenRows::Layer& of_layer = rows->layers_[layer];
      if (!read) of_layer.error = read.error();
      of_layer.over_ns = now_ns;
      of_layer.reader = nullptr;
      of_layer.over.store(true, std::memory_order_release);
    }
    self.chain = nullptr;
    if (std::exchange(self.abandoned, false)) num_abandoned_.fetch_sub(1, std::memory_order_relaxed);
    lock.unlock();
    ready_.notify_all();
    group.clear();
    lock.lock();
  }
}

Status TokenRowReader::Read(TokenRows::Reader& self, uint32_t layer,
                            std::span<const std::shared_ptr<TokenRows>> group) const {
  TableChain& chain = group.front()->base_->chain(layer);
  try {
    self.ids.clear();
    for (const auto& rows : group)
      for (const uint32_t column : rows->layers_[layer].missing) self.ids.push_back(IdsOf(*rows, layer)[column]);
    std::sort(self.ids.begin(), self.ids.end());
    self.ids.erase(std::unique(self.ids.begin(), self.ids.end()), self.ids.end());
    self.rows.resize(std::max(self.rows.size(), self.ids.size() * row_bytes_));
    ENGRAM_CHECK_OK(chain.Read(self.ids.data(), static_cast<uint32_t>(self.ids.size()), self.rows.data(), self.scratch,
                               group.front()->layers_[layer].from_level));
    for (const auto& rows : group)
      for (const uint32_t column : rows->layers_[layer].missing) {
        const auto at = std::lower_bound(self.ids.begin(), self.ids.end(), IdsOf(*rows, layer)[column]);
        std::memcpy(rows->rows_.get() + layer * rows->layer_bytes_ + size_t{column} * row_bytes_,
                    self.rows.data() + static_cast<size_t>(at - self.ids.begin()) * row_bytes_, row_bytes_);
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
      TokenRows::Reader* const reader = of_layer.reader;
      if (reader == nullptr) return NoAnswer(nullptr, 0, timeout);
      if (!std::exchange(reader->abandoned, true)) num_abandoned_.fetch_add(1, std::memory_order_relaxed);
      return NoAnswer(reader->chain, reader->scratch.level.load(std::memory_order_relaxed), timeout);
    }
  }
  if (of_layer.error) return *of_layer.error;
  return {};
}

}  // namespace engram
