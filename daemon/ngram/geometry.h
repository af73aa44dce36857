// SPDX-License-Identifier: Apache-2.0
// Geometry: the constants by which token ids become row ids (ENGRAM addressing): multipliers, primes and offsets of
// every Engram layer. Plain immutable values; any thread.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace engram {

// The `engram` object of a config.json, checked but not yet expanded.
struct EngramConfig {
  std::string variant;                 // "paper" or "deepseek_v41"
  std::vector<uint32_t> layer_ids;     // model layers, in file order, distinct
  uint32_t max_ngram_size = 0;         // N: orders 2..N
  uint32_t num_heads = 0;              // K: hash functions per order
  uint32_t head_dim = 0;               // values per row
  std::vector<uint64_t> vocab_size;    // [N-1] lower bound of rows per head, by order
  int32_t pad_token_id = 0;            // raw token id that fills positions before the start
  uint32_t compressed_vocab_size = 0;  // 0: not stated by the file
  uint32_t kernel_size = 0;
  uint64_t seed = 0;

  uint32_t num_columns() const { return (max_ngram_size - 1) * num_heads; }
  // Parses the object; errors name the key, as "engram.KEY". Unknown keys are ignored (models carry more than
  // addressing). vocab_size may be one number for all orders. Required: variant, layer_ids, max_ngram_size, n_heads,
  // head_dim, vocab_size, pad_token_id. Bounds: 2 <= N <= 32, K <= 1024, 65,536 columns over all layers, 2^40 rows per
  // head.
  static Result<EngramConfig> FromJson(const boost::json::value& engram_object);
};

struct LayerGeometry {
  uint32_t layer = 0;                 // model layer number
  std::vector<int64_t> multipliers;   // [N] by look-back 0..N-1; odd
  std::vector<int64_t> primes;        // [columns], column = (order-2)*K + head
  std::vector<int64_t> offsets;       // [columns] first row of each column
  std::vector<uint64_t> reciprocals;  // [columns] floor((2^64 - 1) / prime), for RowAddresser
  uint64_t num_rows = 0;              // sum of primes
};

class CompressedMap;

// Create() alone makes one: RowAddresser relies on what it checks.
struct Geometry {
  uint32_t max_ngram_size = 0;  // N
  uint32_t num_heads = 0;       // K
  uint32_t num_columns = 0;     // (N-1)*K
  int32_t pad_compressed_id = 0;
  std::vector<LayerGeometry> layers;  // in layer_ids order

  // Expands `config` for a tokenizer of `compressed_vocab_size` compressed ids (the multipliers depend on it).
  // kInvalidArgument with both numbers when config states another size; also for sizes whose row ids would overflow or
  // that are above the bounds of FromJson(). The error's field is the key at fault.
  static Result<Geometry> Create(const EngramConfig& config, uint32_t compressed_vocab_size, int32_t pad_compressed_id);
  // The same for the map of the model's tokenizer; also refuses a pad_token_id outside the map.
  static Result<Geometry> Create(const EngramConfig& config, const CompressedMap& map);
};

}  // namespace engram
