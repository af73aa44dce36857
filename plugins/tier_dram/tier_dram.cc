// SPDX-License-Identifier: Apache-2.0
// The tier "dram": see README.md.
#include <engram/plugin_error.h>
#include <engram/tier.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "row_cache.h"
#include "table.h"

using engram::sdk::Fence;
using engram::sdk::PluginError;
using engram::tier_dram::CacheTable;
using engram::tier_dram::kRowBits;
using engram::tier_dram::RowCache;
using engram::tier_dram::StoreTable;

struct engram_tier {
  const engram_host* host;
  engram::tier_dram::MemoryOptions memory;
  uint32_t load_threads = 1;
  bool is_cache = false;
  uint64_t capacity_bytes = 0;      // of the cache
  std::unique_ptr<RowCache> cache;  // made for the rows of the first table attached
};

namespace {

bool ParseBool(std::string_view key, std::string_view value) {
  if (value == "true") return true;
  if (value == "false") return false;
  throw PluginError(ENGRAM_INVALID_ARGUMENT,
                    "option " + std::string(key) + " is \"" + std::string(value) + "\", expected true or false");
}

uint64_t ParseNumber(std::string_view key, std::string_view value, uint64_t min, uint64_t max) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < min || number > max)
    throw PluginError(ENGRAM_INVALID_ARGUMENT, "option " + std::string(key) + " is \"" + std::string(value) +
                                                   "\", expected a number from " + std::to_string(min) + " to " +
                                                   std::to_string(max));
  return number;
}

engram_status Open(const engram_host* host, const engram_option* options, uint32_t num_options, engram_tier** out,
                   engram_message* message) {
  return Fence(message, [&] {
    auto tier = std::make_unique<engram_tier>();
    tier->host = host;
    tier->load_threads = std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
    for (uint32_t i = 0; i < num_options; ++i) {
      const std::string_view key = options[i].key;
      const std::string_view value = options[i].value;
      if (key == "huge_pages") {
        tier->memory.huge_pages = ParseBool(key, value);
      } else if (key == "numa") {
        if (value != "local" && value != "interleave")
          throw PluginError(ENGRAM_INVALID_ARGUMENT,
                            "option numa is \"" + std::string(value) + "\", expected local or interleave");
        tier->memory.interleave = value == "interleave";
      } else if (key == "load_threads") {
        tier->load_threads = static_cast<uint32_t>(ParseNumber(key, value, 1, 64));
      } else if (key == "mode") {
        if (value != "store" && value != "cache")
          throw PluginError(ENGRAM_INVALID_ARGUMENT,
                            "option mode is \"" + std::string(value) + "\", expected store or cache");
        tier->is_cache = value == "cache";
      } else if (key == "capacity") {
        tier->capacity_bytes = ParseNumber(key, value, RowCache::kMinCapacityBytes, uint64_t{1} << 48);
      } else {
        throw PluginError(ENGRAM_INVALID_ARGUMENT, "unknown option \"" + std::string(key) +
                                                       "\"; known: huge_pages, load_threads, mode, capacity, numa");
      }
    }
    if (tier->is_cache && tier->capacity_bytes == 0)
      throw PluginError(ENGRAM_INVALID_ARGUMENT, "option capacity is missing: the bytes the cache may take");
    if (!tier->is_cache && tier->capacity_bytes != 0)
      throw PluginError(ENGRAM_INVALID_ARGUMENT,
                        "option capacity is for mode cache; a store is as large as its tables");
    *out = tier.release();
  });
}

void Close(engram_tier* tier) {
  delete tier;
}

engram_status Describe(engram_tier* tier, engram_tier_info* info) {
  engram_tier_info filled = {};
  filled.struct_size = info->struct_size;
  filled.flags = tier->is_cache ? ENGRAM_TIER_CACHE | ENGRAM_TIER_WRITABLE : ENGRAM_TIER_STORE;
  filled.capacity_bytes = tier->capacity_bytes;  // 0: as large as the attached tables
  filled.medium = "dram";
  std::memcpy(info, &filled, std::min<size_t>(info->struct_size, sizeof(filled)));
  return ENGRAM_OK;
}

std::unique_ptr<engram_tier_table> AttachToCache(engram_tier& tier, const engram_table_desc& desc) {
  if (desc.num_rows >> kRowBits != 0)
    throw PluginError(ENGRAM_INVALID_ARGUMENT, "a table of " + std::to_string(desc.num_rows) +
                                                   " rows cannot be cached, at most 2^" + std::to_string(kRowBits));
  if (tier.cache != nullptr && tier.cache->num_tables() == 0) tier.cache.reset();
  if (tier.cache == nullptr) {
    tier.cache = std::make_unique<RowCache>(tier.capacity_bytes, desc.row_bytes, tier.memory);
    const std::string line = "cache of " + std::to_string(tier.cache->num_slots()) + " rows of " +
                             std::to_string(desc.row_bytes) + " bytes in " +
                             std::to_string(tier.cache->memory_bytes()) + " bytes, " + tier.cache->memory_description();
    tier.host->log(tier.host->context, ENGRAM_LOG_INFO, line.c_str());
  }
  if (tier.cache->row_bytes() != desc.row_bytes)
    throw PluginError(ENGRAM_INVALID_ARGUMENT,
                      "rows of " + std::to_string(desc.row_bytes) + " bytes, but the cache holds rows of " +
                          std::to_string(tier.cache->row_bytes()) + " bytes; use another tier");
  return std::make_unique<CacheTable>(desc, *tier.cache);
}

std::unique_ptr<engram_tier_table> AttachToStore(const engram_tier& tier, const engram_table_desc& desc,
                                                 const std::string& place) {
  auto table = std::make_unique<StoreTable>(desc, tier.memory, tier.load_threads);
  const std::string line = place + ": " + std::to_string(desc.num_rows) + " rows, " +
                           std::to_string(desc.num_rows * desc.row_bytes) + " bytes in memory, " +
                           table->memory_description();
  tier.host->log(tier.host->context, ENGRAM_LOG_INFO, line.c_str());
  return table;
}

engram_status Attach(engram_tier* tier, const engram_table_desc* desc, engram_tier_table** out,
                     engram_message* message) {
  return Fence(message, [&] {
    const std::string place =
        "layer " + std::to_string(desc->layer) + " of " + (desc->model == nullptr ? "a model" : desc->model);
    uint64_t num_bytes = 0;
    if (desc->num_rows == 0 || desc->row_bytes == 0 ||
        __builtin_mul_overflow(desc->num_rows, uint64_t{desc->row_bytes}, &num_bytes))
      throw PluginError(ENGRAM_INVALID_ARGUMENT, place + ": a table of " + std::to_string(desc->num_rows) +
                                                     " rows of " + std::to_string(desc->row_bytes) +
                                                     " bytes cannot be held");
    try {
      *out = (tier->is_cache ? AttachToCache(*tier, *desc) : AttachToStore(*tier, *desc, place)).release();
    } catch (const PluginError& error) {
      throw PluginError(error.status(), place + ": " + error.what());
    }
  });
}

void Detach(engram_tier_table* table) {
  delete table;
}

engram_status Read(engram_tier_table* table, const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride,
                   uint8_t* found, engram_message* message) {
  return Fence(message, [&] { table->Read(ids, num_ids, dst, dst_stride, found); });
}

engram_status Write(engram_tier_table* table, const uint64_t* ids, uint32_t num_ids, const uint8_t* src,
                    uint64_t src_stride, engram_message* message) {
  return Fence(message, [&] { table->Write(ids, num_ids, src, src_stride); });
}

engram_status Invalidate(engram_tier_table* table, const uint64_t* ids, uint32_t num_ids, engram_message* message) {
  return Fence(message, [&] { table->Invalidate(ids, num_ids); });
}

engram_status Stats(engram_tier_table* table, engram_tier_stats* stats) {
  engram_tier_stats filled = table->Stats();
  filled.struct_size = stats->struct_size;
  std::memcpy(stats, &filled, std::min<size_t>(stats->struct_size, sizeof(filled)));
  return ENGRAM_OK;
}

const uint8_t* Map(engram_tier_table* table) {
  return table->Map();
}

engram_status HotRows(engram_tier_table* table, uint64_t* ids, uint64_t capacity, uint64_t* num_ids, engram_message*) {
  *num_ids = table->HotRows(ids, capacity);
  return ENGRAM_OK;
}

constexpr engram_tier_functions kFunctions = {
    sizeof(engram_tier_functions),
    0,
    Open,
    Close,
    Describe,
    Attach,
    Detach,
    Read,
    Write,
    Invalidate,
    Stats,
    Map,
    HotRows,
};

constexpr engram_plugin_descriptor kDescriptor = {
    ENGRAM_ABI_MAGIC,
    ENGRAM_ABI_MAJOR,
    ENGRAM_ABI_MINOR,
    sizeof(engram_plugin_descriptor),
    ENGRAM_PLUGIN_TIER,
    0,
    0,
    "tier_dram",
    "0.1.0",
    "Tables in memory: a full copy, or a cache of a given size",
    &kFunctions,
};

}  // namespace

extern "C" const engram_plugin_descriptor* engram_plugin_entry(void) {
  return &kDescriptor;
}
