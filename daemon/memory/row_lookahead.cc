// SPDX-License-Identifier: Apache-2.0
#include "memory/row_lookahead.h"

#include <algorithm>
#include <new>

namespace engram {

Result<std::shared_ptr<RowLookahead>> RowLookahead::Create(std::vector<GatherLayer> layers, uint32_t num_columns) {
  std::shared_ptr<RowLookahead> lookahead(new RowLookahead(std::move(layers), num_columns));
  ENGRAM_TRY(lookahead->thread_, LeavableThread::Start("rows-ahead", [lookahead] { lookahead->Run(); }));
  return StopWhenDropped(std::move(lookahead));
}

void RowLookahead::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    waiting_.clear();
  }
  wake_.notify_one();
  thread_.End();
}

void RowLookahead::Request(std::shared_ptr<BaseTables> base, std::shared_ptr<const PromptProgress> progress,
                           uint32_t first_token, std::span<const uint64_t> ids) {
  const size_t piece_ids = size_t{kPieceTokens} * layers_.size() * num_columns_;
  {
    const std::lock_guard lock(mutex_);
    for (size_t first = 0; first < ids.size(); first += piece_ids, first_token += kPieceTokens) {
      const auto piece = ids.subspan(first, std::min(piece_ids, ids.size() - first));
      if (waiting_ids_ + piece.size() > kMaxWaitingIds) {
        ids_dropped_.fetch_add(ids.size() - first, std::memory_order_relaxed);
        break;
      }
      waiting_ids_ += piece.size();
      waiting_.push_back({base, progress, first_token, {piece.begin(), piece.end()}});
    }
  }
  wake_.notify_one();
}

void RowLookahead::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
    if (stop_) return;
    {
      const Piece piece = std::move(waiting_.front());
      waiting_.pop_front();
      waiting_ids_ -= piece.ids.size();
      lock.unlock();
      Read(piece);
    }
    lock.lock();
  }
}

void RowLookahead::Read(const Piece& piece) {
  const size_t per_token = layers_.size() * num_columns_;
  const uint32_t begun = piece.progress->load(std::memory_order_relaxed);
  const size_t num_tokens = piece.ids.size() / per_token;
  const size_t passed = begun > piece.first_token ? std::min<size_t>(begun - piece.first_token, num_tokens) : 0;
  if (passed == num_tokens) return;
  try {
    for (uint32_t index = 0; index < layers_.size(); ++index) {
      TableChain& chain = piece.base->chain(index);
      wanted_.clear();
      for (size_t token = passed; token < num_tokens; ++token) {
        const uint64_t* ids = piece.ids.data() + token * per_token + size_t{layers_[index].id_layer} * num_columns_;
        wanted_.insert(wanted_.end(), ids, ids + num_columns_);
      }
      std::sort(wanted_.begin(), wanted_.end());
      wanted_.erase(std::unique(wanted_.begin(), wanted_.end()), wanted_.end());
      if (wanted_.back() >= chain.num_rows()) return;  // the batch will say so
      rows_.resize(std::max(rows_.size(), wanted_.size() * chain.row_bytes()));
      // So will it say what is wrong with a tier.
      if (!chain.Read(wanted_.data(), static_cast<uint32_t>(wanted_.size()), rows_.data(), scratch_)) return;
      rows_read_.fetch_add(wanted_.size(), std::memory_order_relaxed);
    }
  } catch (const std::bad_alloc&) {
    // Nothing is owed to anybody.
  }
}

}  // namespace engram
