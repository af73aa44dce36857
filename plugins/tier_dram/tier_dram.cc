// SPDX-License-Identifier: Apache-2.0
// The tier "dram": see README.md.
#include <engram/plugin_error.h>
#include <engram/tier.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "row_gather.h"
#include "table_memory.h"

using engram::sdk::Fence;
using engram::sdk::PluginError;
using engram::tier_dram::GatherFor;
using engram::tier_dram::GatherFunction;
using engram::tier_dram::TableMemory;

struct engram_tier {
  const engram_host* host;
  bool huge_pages = true;
  uint32_t load_threads = 1;
};

struct engram_tier_table {
  engram_tier_table(uint64_t rows, uint32_t bytes, bool huge_pages)
      : memory(rows * bytes, huge_pages),
        data(memory.data()),
        num_rows(rows),
        row_bytes(bytes),
        gather(GatherFor(bytes)) {}

  TableMemory memory;
  const uint8_t* const data;
  const uint64_t num_rows;
  const uint32_t row_bytes;
  const GatherFunction gather;
  // Updated once per read() by many threads: on a line of their own, away from what every read() loads.
  alignas(64) std::atomic<uint64_t> reads{0};
  std::atomic<uint64_t> rows{0};
  std::atomic<uint64_t> errors{0};
};

namespace {

bool ParseBool(std::string_view key, std::string_view value) {
  if (value == "true") return true;
  if (value == "false") return false;
  throw PluginError(ENGRAM_INVALID_ARGUMENT,
                    "option " + std::string(key) + " is \"" + std::string(value) + "\", expected true or false");
}

uint32_t ParseNumber(std::string_view key, std::string_view value, uint32_t min, uint32_t max) {
  uint32_t number = 0;
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
      if (key == "huge_pages") {
        tier->huge_pages = ParseBool(key, options[i].value);
      } else if (key == "load_threads") {
        tier->load_threads = ParseNumber(key, options[i].value, 1, 64);
      } else {
        throw PluginError(ENGRAM_INVALID_ARGUMENT,
                          "unknown option \"" + std::string(key) + "\"; known: huge_pages, load_threads");
      }
    }
    *out = tier.release();
  });
}

void Close(engram_tier* tier) {
  delete tier;
}

engram_status Describe(engram_tier*, engram_tier_info* info) {
  engram_tier_info filled = {};
  filled.struct_size = info->struct_size;
  filled.flags = ENGRAM_TIER_STORE;
  filled.capacity_bytes = 0;  // as large as the attached tables
  filled.medium = "dram";
  std::memcpy(info, &filled, std::min<size_t>(info->struct_size, sizeof(filled)));
  return ENGRAM_OK;
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
      auto table = std::make_unique<engram_tier_table>(desc->num_rows, desc->row_bytes, tier->huge_pages);
      table->memory.Fill(desc->source, desc->num_rows, desc->row_bytes, tier->load_threads);
      table->memory.Seal();
      const std::string line = place + ": " + std::to_string(desc->num_rows) + " rows, " + std::to_string(num_bytes) +
                               " bytes in memory, huge pages " + (table->memory.huge_pages() ? "on" : "off");
      tier->host->log(tier->host->context, ENGRAM_LOG_INFO, line.c_str());
      *out = table.release();
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
  const uint32_t copied = table->gather(table->data, table->num_rows, table->row_bytes, ids, num_ids, dst, dst_stride);
  table->reads.fetch_add(1, std::memory_order_relaxed);
  table->rows.fetch_add(copied, std::memory_order_relaxed);
  if (copied != num_ids) {
    table->errors.fetch_add(1, std::memory_order_relaxed);
    return Fence(message, [&] {
      throw PluginError(ENGRAM_INVALID_ARGUMENT, "row " + std::to_string(ids[copied]) + " of a table of " +
                                                     std::to_string(table->num_rows) + " rows");
    });
  }
  std::memset(found, 1, num_ids);
  return ENGRAM_OK;
}

engram_status Stats(engram_tier_table* table, engram_tier_stats* stats) {
  engram_tier_stats filled = {};
  filled.struct_size = stats->struct_size;
  filled.resident_bytes = table->num_rows * table->row_bytes;
  filled.reads = table->reads.load(std::memory_order_relaxed);
  filled.rows = filled.hits = table->rows.load(std::memory_order_relaxed);
  filled.errors = table->errors.load(std::memory_order_relaxed);
  filled.bytes_read = filled.rows * table->row_bytes;
  std::memcpy(stats, &filled, std::min<size_t>(stats->struct_size, sizeof(filled)));
  return ENGRAM_OK;
}

const uint8_t* Map(engram_tier_table* table) {
  return table->data;
}

constexpr engram_tier_functions kFunctions = {
    sizeof(engram_tier_functions), 0,     Open, Close, Describe, Attach, Detach, Read, nullptr /* write */,
    nullptr /* invalidate */,      Stats, Map,
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
    "A full copy of each table in memory, with huge pages",
    &kFunctions,
};

}  // namespace

extern "C" const engram_plugin_descriptor* engram_plugin_entry(void) {
  return &kDescriptor;
}
