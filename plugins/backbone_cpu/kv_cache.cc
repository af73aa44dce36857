// SPDX-License-Identifier: Apache-2.0
#include "kv_cache.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <string>

#include "engram/plugin_error.h"

namespace backbone_cpu {

using engram::sdk::PluginError;

uint64_t KvCache::FloatsPerToken(const ModelConfig& config) {
  const uint64_t conv_layers = config.engram.kernel_size == 0 ? 0 : config.engram.layers.size();
  return uint64_t{config.num_layers} * 2 * config.kv_width() +
         conv_layers * (uint64_t{config.hidden_size} + config.num_streams);
}

KvCache::KvCache(const ModelConfig& config, uint64_t num_tokens, uint32_t max_sequences)
    : num_kv_heads_(config.num_kv_heads),
      hidden_size_(config.hidden_size),
      num_streams_(config.num_streams),
      max_positions_(config.max_positions),
      max_sequences_(max_sequences),
      head_floats_(uint64_t{kBlockPositions} * config.head_dim),
      conv_offset_(uint64_t{config.num_layers} * 2 * config.num_kv_heads * head_floats_),
      block_floats_(FloatsPerToken(config) * kBlockPositions) {
  const uint64_t num_blocks = (num_tokens + kBlockPositions - 1) / kBlockPositions;
  uint64_t num_bytes = 0;
  if (num_blocks > std::numeric_limits<uint32_t>::max() ||
      __builtin_mul_overflow(num_blocks, block_floats_ * sizeof(float), &num_bytes)) {
    throw std::bad_alloc();
  }
  num_blocks_ = static_cast<uint32_t>(num_blocks);
  pool_ = AllocateAligned(num_bytes);
  free_blocks_.resize(num_blocks_);
  // Handed out from the back: low blocks first, so that few pages of the pool are ever touched.
  for (uint32_t i = 0; i < num_blocks_; ++i) free_blocks_[i] = num_blocks_ - 1 - i;
}

uint64_t KvCache::New(uint32_t reserve_tokens) {
  if (reserve_tokens > max_positions_) {
    throw PluginError(ENGRAM_INVALID_ARGUMENT, "reserve_tokens " + std::to_string(reserve_tokens) +
                                                   " is above max_positions " + std::to_string(max_positions_));
  }
  if (sequences_.size() >= max_sequences_) {
    throw PluginError(ENGRAM_RESOURCE_EXHAUSTED, "all " + std::to_string(max_sequences_) + " sequences are in use");
  }
  const size_t num_blocks = (size_t{reserve_tokens} + kBlockPositions - 1) / kBlockPositions;
  if (num_blocks > free_blocks_.size()) {
    throw PluginError(ENGRAM_RESOURCE_EXHAUSTED,
                      "KV cache has " + std::to_string(free_blocks_.size() * kBlockPositions) + " free positions, " +
                          std::to_string(reserve_tokens) + " were asked for");
  }
  Sequence sequence;
  sequence.blocks.assign(free_blocks_.rbegin(), free_blocks_.rbegin() + static_cast<std::ptrdiff_t>(num_blocks));
  sequence.reserved = reserve_tokens;
  const uint64_t id = next_id_;
  sequences_.emplace(id, std::move(sequence));
  ++next_id_;
  free_blocks_.resize(free_blocks_.size() - num_blocks);
  used_blocks_.fetch_add(num_blocks, std::memory_order_relaxed);
  num_sequences_.fetch_add(1, std::memory_order_relaxed);
  return id;
}

uint64_t KvCache::Fork(uint64_t source_id, uint32_t reserve_tokens) {
  const Sequence* source = Find(source_id);
  if (source == nullptr) throw PluginError(ENGRAM_NOT_FOUND, "sequence " + std::to_string(source_id) + " is unknown");
  if (reserve_tokens < source->length) {
    throw PluginError(ENGRAM_INVALID_ARGUMENT, "reserve_tokens " + std::to_string(reserve_tokens) +
                                                   " is below the source's length " + std::to_string(source->length));
  }
  const uint64_t id = New(reserve_tokens);
  source = Find(source_id);  // the map may have been rehashed
  Sequence* copy = Find(id);
  copy->length = source->length;
  copy->memory_off = source->memory_off;
  const size_t num_blocks = (size_t{source->length} + kBlockPositions - 1) / kBlockPositions;
  for (size_t i = 0; i < num_blocks; ++i) {
    std::memcpy(Block(copy->blocks[i]), Block(source->blocks[i]), block_floats_ * sizeof(float));
  }
  return id;
}

void KvCache::Truncate(uint64_t id, uint32_t length) {
  Sequence* sequence = Find(id);
  if (sequence == nullptr) throw PluginError(ENGRAM_NOT_FOUND, "sequence " + std::to_string(id) + " is unknown");
  if (length > sequence->length) {
    throw PluginError(ENGRAM_INVALID_ARGUMENT, "length " + std::to_string(length) + " is above the sequence's " +
                                                   std::to_string(sequence->length));
  }
  sequence->length = length;
}

void KvCache::Free(uint64_t id) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return;
  // Within capacity since construction, so this does not allocate.
  const std::vector<uint32_t>& blocks = found->second.blocks;
  free_blocks_.insert(free_blocks_.end(), blocks.rbegin(), blocks.rend());
  used_blocks_.fetch_sub(blocks.size(), std::memory_order_relaxed);
  num_sequences_.fetch_sub(1, std::memory_order_relaxed);
  sequences_.erase(found);
}

Sequence* KvCache::Find(uint64_t id) {
  const auto found = sequences_.find(id);
  return found == sequences_.end() ? nullptr : &found->second;
}

}  // namespace backbone_cpu
