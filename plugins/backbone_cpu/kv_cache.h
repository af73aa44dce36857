// SPDX-License-Identifier: Apache-2.0
//
// Per-sequence state: keys and values of attention, and what the Engram convolution needs of the past.
//
// One pool of fixed-size blocks of kBlockPositions positions. A sequence owns all blocks of its reservation from its
// start, so a step never runs out. Pool memory is taken from the system when first touched.
//
// Floats per block:
//   for each layer: keys [num_kv_heads][kBlockPositions][head_dim], then values, the same;
//   for each Engram layer with a convolution: v0 [kBlockPositions][d], then scales [kBlockPositions][S].
// The convolution reads rms(V) of past positions, S * d floats each. But V of stream s is g_s * v0, so rms(V) of it is
// v0 * scale_s * conv_norm with scale_s = g_s / sqrt(g_s^2 mean(v0^2) + eps): d + S floats a position and Engram layer
// hold the whole history exactly, which makes truncation to any length and forks exact too. In bytes a position and
// Engram layer: 4 * (d + S).
//
// Not thread-safe, but for the counters of stats.
#ifndef BACKBONE_CPU_KV_CACHE_H_
#define BACKBONE_CPU_KV_CACHE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "model_config.h"
#include "weights.h"

namespace backbone_cpu {

struct Sequence {
  std::vector<uint32_t> blocks;  // the whole reservation, in position order
  uint32_t reserved = 0;         // positions
  uint32_t length = 0;           // positions run
  bool memory_off = false;       // how its positions were run; meaningless at length 0
};

class KvCache {
 public:
  static constexpr uint32_t kBlockPositions = 16;

  // Floats of state per position.
  static uint64_t FloatsPerToken(const ModelConfig& config);

  KvCache(const ModelConfig& config, uint64_t num_tokens, uint32_t max_sequences);

  uint64_t capacity_tokens() const { return uint64_t{num_blocks_} * kBlockPositions; }
  uint64_t used_tokens() const { return used_blocks_.load(std::memory_order_relaxed) * kBlockPositions; }
  uint32_t num_sequences() const { return num_sequences_.load(std::memory_order_relaxed); }

  // Errors are PluginError: ENGRAM_RESOURCE_EXHAUSTED without room, ENGRAM_NOT_FOUND for an unknown id,
  // ENGRAM_INVALID_ARGUMENT for lengths out of range. After an error nothing has changed.
  uint64_t New(uint32_t reserve_tokens);
  uint64_t Fork(uint64_t source, uint32_t reserve_tokens);
  void Truncate(uint64_t id, uint32_t length);
  void Free(uint64_t id);

  // Null for an unknown id. Valid until the sequence is freed.
  Sequence* Find(uint64_t id);

  // [kBlockPositions][head_dim]
  float* Keys(uint32_t block, uint32_t layer, uint32_t kv_head) {
    return Block(block) + (uint64_t{layer} * 2 * num_kv_heads_ + kv_head) * head_floats_;
  }
  float* Values(uint32_t block, uint32_t layer, uint32_t kv_head) {
    return Block(block) + ((uint64_t{layer} * 2 + 1) * num_kv_heads_ + kv_head) * head_floats_;
  }
  // [kBlockPositions][d]; `engram_layer` counts Engram layers.
  float* ConvValues(uint32_t block, uint32_t engram_layer) {
    return Block(block) + conv_offset_ + uint64_t{engram_layer} * kBlockPositions * (hidden_size_ + num_streams_);
  }
  // [kBlockPositions][S]
  float* ConvScales(uint32_t block, uint32_t engram_layer) {
    return ConvValues(block, engram_layer) + uint64_t{kBlockPositions} * hidden_size_;
  }

 private:
  float* Block(uint32_t block) { return static_cast<float*>(pool_.get()) + block * block_floats_; }

  const uint32_t num_kv_heads_;
  const uint32_t hidden_size_;
  const uint32_t num_streams_;
  const uint32_t max_positions_;
  const uint32_t max_sequences_;
  const uint64_t head_floats_;  // kBlockPositions * head_dim
  const uint64_t conv_offset_;  // floats before the convolution's part of a block
  const uint64_t block_floats_;
  uint32_t num_blocks_ = 0;
  std::unique_ptr<void, FreeDeleter> pool_;
  std::vector<uint32_t> free_blocks_;
  std::unordered_map<uint64_t, Sequence> sequences_;
  uint64_t next_id_ = 1;
  std::atomic<uint64_t> used_blocks_{0};
  std::atomic<uint32_t> num_sequences_{0};
};

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_KV_CACHE_H_
