// SPDX-License-Identifier: Apache-2.0
#include "ngram/geometry.h"

#include <algorithm>
#include <limits>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include <boost/json/object.hpp>

#include "ngram/compressed_map.h"
#include "ngram/int128.h"
#include "ngram/numpy_rng.h"
#include "ngram/primes.h"

namespace engram {
namespace json = boost::json;
namespace {

constexpr int64_t kMaxOrder = 32;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 1 << 20;
constexpr int64_t kMaxKernelSize = 1 << 16;
constexpr uint64_t kMaxColumns = 1 << 16;  // over all layers: below a second of prime search
constexpr uint64_t kMaxRowsPerHead = uint64_t{1} << 40;
constexpr uint64_t kLayerSeedStride = 10007;

// Sums of offsets stay far inside int64: kMaxColumns heads of less than 2^41 rows.
static_assert(kMaxColumns * (2 * kMaxRowsPerHead) < uint64_t{1} << 62);

Error KeyError(const std::string& key, const std::string& what) {
  const std::string path = "engram." + key;
  return InvalidArgument(path + ": " + what, path);
}

std::string Range(int64_t low, int64_t high) {
  return "[" + std::to_string(low) + ", " + std::to_string(high) + "]";
}

Result<int64_t> IntegerIn(const json::value& value, const std::string& key, int64_t low, int64_t high) {
  const int64_t* number = value.if_int64();
  if (number == nullptr || *number < low || *number > high) {
    return KeyError(key, "must be an integer in " + Range(low, high));
  }
  return *number;
}

Result<int64_t> RequiredInteger(const json::object& object, const char* key, int64_t low, int64_t high) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return KeyError(key, "is missing");
  return IntegerIn(*value, key, low, high);
}

// An absent or null key is `fallback`.
Result<int64_t> OptionalInteger(const json::object& object, const char* key, int64_t low, int64_t high,
                                int64_t fallback) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || value->is_null()) return fallback;
  return IntegerIn(*value, key, low, high);
}

Result<std::vector<uint32_t>> ParseLayerIds(const json::object& object) {
  const json::value* value = object.if_contains("layer_ids");
  if (value == nullptr) return KeyError("layer_ids", "is missing");
  const json::array* array = value->if_array();
  if (array == nullptr || array->empty() || array->size() > kMaxColumns) {
    return KeyError("layer_ids", "must be a list of 1 to " + std::to_string(kMaxColumns) + " layer numbers");
  }
  std::vector<uint32_t> layers;
  std::set<uint32_t> seen;
  for (size_t i = 0; i < array->size(); ++i) {
    const std::string key = "layer_ids[" + std::to_string(i) + "]";
    ENGRAM_TRY(const int64_t layer, IntegerIn((*array)[i], key, 0, std::numeric_limits<int32_t>::max()));
    if (!seen.insert(static_cast<uint32_t>(layer)).second) {
      return KeyError(key, "layer " + std::to_string(layer) + " is listed twice");
    }
    layers.push_back(static_cast<uint32_t>(layer));
  }
  return layers;
}

Result<std::vector<uint64_t>> ParseVocabSize(const json::object& object, size_t num_orders) {
  const json::value* value = object.if_contains("vocab_size");
  if (value == nullptr) return KeyError("vocab_size", "is missing");
  const json::array* array = value->if_array();
  if (array == nullptr) {
    ENGRAM_TRY(const int64_t size, IntegerIn(*value, "vocab_size", 1, kMaxRowsPerHead));
    return std::vector<uint64_t>(num_orders, static_cast<uint64_t>(size));
  }
  if (array->size() != num_orders) {
    return KeyError("vocab_size", "has " + std::to_string(array->size()) + " entries, but max_ngram_size makes " +
                                      std::to_string(num_orders) + " orders");
  }
  std::vector<uint64_t> sizes;
  for (size_t i = 0; i < array->size(); ++i) {
    ENGRAM_TRY(const int64_t size, IntegerIn((*array)[i], "vocab_size[" + std::to_string(i) + "]", 1, kMaxRowsPerHead));
    sizes.push_back(static_cast<uint64_t>(size));
  }
  return sizes;
}

// A seed is any unsigned 64-bit number, which Boost.JSON splits over two kinds.
Result<uint64_t> ParseSeed(const json::object& object) {
  const json::value* value = object.if_contains("seed");
  if (value == nullptr || value->is_null()) return uint64_t{0};
  if (value->is_uint64()) return value->get_uint64();
  if (value->is_int64() && value->get_int64() >= 0) return static_cast<uint64_t>(value->get_int64());
  return KeyError("seed", "must be an integer in [0, 2^64 - 1]");
}

// The bounds that Create() needs, whoever filled the config.
Status CheckBounds(const EngramConfig& config) {
  if (config.max_ngram_size < 2 || config.max_ngram_size > kMaxOrder) {
    return KeyError("max_ngram_size",
                    "must be in " + Range(2, kMaxOrder) + ", not " + std::to_string(config.max_ngram_size));
  }
  if (config.num_heads < 1 || config.num_heads > kMaxHeads) {
    return KeyError("n_heads", "must be in " + Range(1, kMaxHeads) + ", not " + std::to_string(config.num_heads));
  }
  if (config.layer_ids.empty() || config.layer_ids.size() * config.num_columns() > kMaxColumns) {
    return KeyError("layer_ids", std::to_string(config.layer_ids.size()) + " layers of " +
                                     std::to_string(config.num_columns()) + " columns; the sum must be in " +
                                     Range(1, kMaxColumns));
  }
  if (config.vocab_size.size() != config.max_ngram_size - 1) {
    return KeyError("vocab_size", "has " + std::to_string(config.vocab_size.size()) + " entries for " +
                                      std::to_string(config.max_ngram_size - 1) + " orders");
  }
  for (size_t i = 0; i < config.vocab_size.size(); ++i) {
    if (config.vocab_size[i] < 1 || config.vocab_size[i] > kMaxRowsPerHead) {
      return KeyError("vocab_size[" + std::to_string(i) + "]",
                      "must be in " + Range(1, kMaxRowsPerHead) + ", not " + std::to_string(config.vocab_size[i]));
    }
  }
  return {};
}

// 2r + 1 for r in [0, half): with half = (2^63 - 1) / C / 2, C * (2 * half - 1) < 2^63, so that a compressed id of up
// to C times a multiplier, and the XOR of such products, is never negative.
std::vector<int64_t> DrawMultipliers(const EngramConfig& config, uint32_t layer, uint32_t compressed_vocab_size) {
  const int64_t half =
      std::max<int64_t>(1, std::numeric_limits<int64_t>::max() / static_cast<int64_t>(compressed_vocab_size) / 2);
  NumpyRng rng(static_cast<Uint128>(config.seed) + kLayerSeedStride * layer);
  std::vector<int64_t> multipliers(config.max_ngram_size);
  for (int64_t& multiplier : multipliers) multiplier = 2 * rng.Integer(half) + 1;
  return multipliers;
}

}  // namespace

Result<EngramConfig> EngramConfig::FromJson(const json::value& engram_object) {
  const json::object* object = engram_object.if_object();
  if (object == nullptr) return InvalidArgument("engram: must be an object", "engram");
  EngramConfig config;
  const json::value* variant = object->if_contains("variant");
  if (variant == nullptr) return KeyError("variant", "is missing");
  if (!variant->is_string()) return KeyError("variant", "must be a string");
  config.variant = std::string(variant->get_string());
  if (config.variant != "paper" && config.variant != "deepseek_v41") {
    return Unsupported(
        "engram.variant: \"" + config.variant.substr(0, 64) + "\" is not one this build knows (paper, deepseek_v41)",
        "engram.variant");
  }
  ENGRAM_TRY(config.layer_ids, ParseLayerIds(*object));
  ENGRAM_TRY(config.max_ngram_size, RequiredInteger(*object, "max_ngram_size", 2, kMaxOrder));
  ENGRAM_TRY(config.num_heads, RequiredInteger(*object, "n_heads", 1, kMaxHeads));
  ENGRAM_TRY(config.head_dim, RequiredInteger(*object, "head_dim", 1, kMaxHeadDim));
  ENGRAM_TRY(config.vocab_size, ParseVocabSize(*object, config.max_ngram_size - 1));
  ENGRAM_TRY(config.pad_token_id, RequiredInteger(*object, "pad_token_id", 0, std::numeric_limits<int32_t>::max()));
  ENGRAM_TRY(config.compressed_vocab_size,
             OptionalInteger(*object, "compressed_vocab_size", 1, std::numeric_limits<int32_t>::max(), 0));
  ENGRAM_TRY(config.kernel_size, OptionalInteger(*object, "kernel_size", 0, kMaxKernelSize, 0));
  ENGRAM_TRY(config.seed, ParseSeed(*object));
  ENGRAM_CHECK_OK(CheckBounds(config));
  return config;
}

Result<Geometry> Geometry::Create(const EngramConfig& config, uint32_t compressed_vocab_size,
                                  int32_t pad_compressed_id) {
  ENGRAM_CHECK_OK(CheckBounds(config));
  if (config.compressed_vocab_size != 0 && config.compressed_vocab_size != compressed_vocab_size) {
    return KeyError("compressed_vocab_size", "the model states " + std::to_string(config.compressed_vocab_size) +
                                                 ", but its tokenizer compresses to " +
                                                 std::to_string(compressed_vocab_size) +
                                                 "; every row address depends on this number");
  }
  if (compressed_vocab_size < 1 || compressed_vocab_size > uint32_t{std::numeric_limits<int32_t>::max()}) {
    return KeyError("compressed_vocab_size", "must be in [1, 2^31 - 1], not " + std::to_string(compressed_vocab_size));
  }
  if (pad_compressed_id < 0 || static_cast<uint32_t>(pad_compressed_id) > compressed_vocab_size) {
    return KeyError("pad_token_id", "has compressed id " + std::to_string(pad_compressed_id) + " of " +
                                        std::to_string(compressed_vocab_size));
  }
  Geometry geometry;
  geometry.max_ngram_size = config.max_ngram_size;
  geometry.num_heads = config.num_heads;
  geometry.num_columns = config.num_columns();
  geometry.pad_compressed_id = pad_compressed_id;
  std::unordered_set<uint64_t> used;
  // Orders with near bounds pass the same primes again and again: each is searched for once.
  std::unordered_map<uint64_t, uint64_t> next_primes;
  std::vector<uint64_t> search_from(config.vocab_size);  // by order; only primes above these can be unused
  for (uint64_t& start : search_from) --start;
  for (uint32_t layer : config.layer_ids) {
    LayerGeometry& out = geometry.layers.emplace_back();
    out.layer = layer;
    out.multipliers = DrawMultipliers(config, layer, compressed_vocab_size);
    for (uint64_t& start : search_from) {
      for (uint32_t head = 0; head < config.num_heads; ++head) {
        // A layer starts each order anew, but all primes between the order's bound and the last one taken are used.
        do {
          const auto [next, is_new] = next_primes.try_emplace(start);
          if (is_new) next->second = NextPrime(start);
          start = next->second;
        } while (!used.insert(start).second);
        out.primes.push_back(static_cast<int64_t>(start));
        out.offsets.push_back(static_cast<int64_t>(out.num_rows));
        out.reciprocals.push_back(std::numeric_limits<uint64_t>::max() / start);
        out.num_rows += start;
      }
    }
  }
  return geometry;
}

Result<Geometry> Geometry::Create(const EngramConfig& config, const CompressedMap& map) {
  if (config.pad_token_id < 0 || config.pad_token_id >= map.num_tokens()) {
    return KeyError("pad_token_id", std::to_string(config.pad_token_id) + " is not in the vocabulary of " +
                                        std::to_string(map.num_tokens()) + " tokens");
  }
  return Create(config, map.compressed_vocab_size(), map[config.pad_token_id]);
}

}  // namespace engram
