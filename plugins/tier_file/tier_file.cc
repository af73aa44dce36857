// SPDX-License-Identifier: Apache-2.0
// The tier "file": see README.md.
#include <engram/plugin_error.h>
#include <engram/tier.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "async_reads.h"
#include "file_table.h"
#include "lanes.h"

using engram::sdk::Fence;
using engram::sdk::PluginError;
using engram::tier_file::LanePool;
using engram::tier_file::MakePreadReads;
using engram::tier_file::MakeUringReads;
using engram::tier_file::PreadPool;

struct engram_tier {
  const engram_host* host;
  uint32_t queue_depth = 32;
  bool verify = true;
  std::unique_ptr<PreadPool> pread_pool;  // where there is no ring
  std::unique_ptr<LanePool> lanes;        // may use pread_pool
};

namespace {

// More threads than this find no disk that they could keep busier.
constexpr uint32_t kMaxPreadThreads = 32;

void OpenLanes(engram_tier& tier, std::string_view io) {
  const uint32_t depth = tier.queue_depth;
  if (io != "pread") {
    try {
      tier.lanes = std::make_unique<LanePool>([depth] { return MakeUringReads(depth); }, depth);
      return;
    } catch (const PluginError& error) {
      if (io == "uring") throw;
      const std::string line = std::string(error.what()) + "; reading with threads instead";
      tier.host->log(tier.host->context, ENGRAM_LOG_WARNING, line.c_str());
    }
  }
  tier.pread_pool = std::make_unique<PreadPool>(std::min(depth, kMaxPreadThreads));
  PreadPool& pool = *tier.pread_pool;
  tier.lanes = std::make_unique<LanePool>([&pool, depth] { return MakePreadReads(pool, depth); }, depth);
}

engram_status Open(const engram_host* host, const engram_option* options, uint32_t num_options, engram_tier** out,
                   engram_message* message) {
  return Fence(message, [&] {
    auto tier = std::make_unique<engram_tier>();
    tier->host = host;
    std::string_view io = "auto";
    for (uint32_t i = 0; i < num_options; ++i) {
      const std::string_view key = options[i].key;
      const std::string_view value = options[i].value;
      const auto refuse = [&](const std::string& expected) {
        return PluginError(ENGRAM_INVALID_ARGUMENT,
                           "option " + std::string(key) + " is \"" + std::string(value) + "\", expected " + expected);
      };
      if (key == "io") {
        if (value != "auto" && value != "uring" && value != "pread") throw refuse("auto, uring or pread");
        io = value;
      } else if (key == "queue_depth") {
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), tier->queue_depth);
        if (error != std::errc() || end != value.data() + value.size() || tier->queue_depth < 1 ||
            tier->queue_depth > 1024)
          throw refuse("a number from 1 to 1024");
      } else if (key == "verify") {
        if (value != "true" && value != "false") throw refuse("true or false");
        tier->verify = value == "true";
      } else {
        throw PluginError(ENGRAM_INVALID_ARGUMENT,
                          "unknown option \"" + std::string(key) + "\"; known: io, queue_depth, verify");
      }
    }
    OpenLanes(*tier, io);
    *out = tier.release();
  });
}

void Close(engram_tier* tier) {
  delete tier;
}

engram_status Describe(engram_tier*, engram_tier_info* info) {
  engram_tier_info filled = {};
  filled.struct_size = info->struct_size;
  filled.flags = ENGRAM_TIER_STORE | ENGRAM_TIER_PERSISTENT | ENGRAM_TIER_MAY_BLOCK;
  filled.capacity_bytes = 0;  // as large as the attached tables
  filled.medium = "file";
  std::memcpy(info, &filled, std::min<size_t>(info->struct_size, sizeof(filled)));
  return ENGRAM_OK;
}

engram_status Attach(engram_tier* tier, const engram_table_desc* desc, engram_tier_table** out,
                     engram_message* message) {
  return Fence(message, [&] {
    const std::string place =
        "layer " + std::to_string(desc->layer) + " of " + (desc->model == nullptr ? "a model" : desc->model);
    if (desc->path == nullptr)
      throw PluginError(ENGRAM_INVALID_ARGUMENT,
                        place + ": no packed table is given, and this tier reads nothing else");
    try {
      auto table = std::make_unique<engram_tier_table>(*desc, *tier->lanes, tier->verify);
      const std::string line = place + ": " + desc->path + ", " + std::to_string(desc->num_rows) + " rows, " +
                               (tier->pread_pool == nullptr ? "io_uring" : "pread") + ", " +
                               (table->file().direct() ? "direct" : "through the page cache");
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
  return Fence(message, [&] { table->Read(ids, num_ids, dst, dst_stride, found); });
}

engram_status Stats(engram_tier_table* table, engram_tier_stats* stats) {
  engram_tier_stats filled = table->Stats();
  filled.struct_size = stats->struct_size;
  std::memcpy(stats, &filled, std::min<size_t>(stats->struct_size, sizeof(filled)));
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
    nullptr /* write */,
    nullptr /* invalidate */,
    Stats,
    nullptr /* map */,
};

constexpr engram_plugin_descriptor kDescriptor = {
    ENGRAM_ABI_MAGIC,
    ENGRAM_ABI_MAJOR,
    ENGRAM_ABI_MINOR,
    sizeof(engram_plugin_descriptor),
    ENGRAM_PLUGIN_TIER,
    0,
    0,
    "tier_file",
    "0.1.0",
    "Packed tables in files, read past the page cache with io_uring",
    &kFunctions,
};

}  // namespace

extern "C" const engram_plugin_descriptor* engram_plugin_entry(void) {
  return &kDescriptor;
}
