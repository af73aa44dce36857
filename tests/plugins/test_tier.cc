// SPDX-License-Identifier: Apache-2.0
// A tier for tests: a store that reads through to the table's source, or a cache in a map, with faults on demand. See
// test_tier.h.
#include "tests/plugins/test_tier.h"

#include <engram/plugin_error.h>
#include <engram/tier.h>

#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>

using engram::sdk::Fence;
using engram::sdk::PluginError;

struct engram_tier {
  TestTierControl* control;
};

struct engram_tier_table {
  TestTierControl* control;
  engram_row_source source;
  uint32_t row_bytes;
  std::unordered_map<uint64_t, std::string> rows;  // guarded by control->mutex: a cache's contents
  uint64_t hits = 0;                               // guarded by control->mutex
};

namespace {

engram_status Open(const engram_host*, const engram_option* options, uint32_t num_options, engram_tier** out,
                   engram_message* message) {
  return Fence(message, [&] {
    if (num_options != 1 || std::strcmp(options[0].key, "control") != 0)
      throw PluginError(ENGRAM_INVALID_ARGUMENT, "expected the one option control");
    auto* control = reinterpret_cast<TestTierControl*>(std::stoull(options[0].value));
    *out = new engram_tier{control};
  });
}

void Close(engram_tier* tier) {
  delete tier;
}

engram_status Describe(engram_tier* tier, engram_tier_info* info) {
  info->flags = tier->control->flags;
  info->medium = "test";
  return ENGRAM_OK;
}

engram_status Attach(engram_tier* tier, const engram_table_desc* desc, engram_tier_table** out,
                     engram_message* message) {
  return Fence(message, [&] {
    auto table = std::make_unique<engram_tier_table>();
    table->control = tier->control;
    table->source = desc->source;
    table->row_bytes = desc->row_bytes;
    const std::lock_guard lock(tier->control->mutex);
    ++tier->control->attached;
    *out = table.release();
  });
}

void Detach(engram_tier_table* table) {
  {
    const std::lock_guard lock(table->control->mutex);
    --table->control->attached;
  }
  delete table;
}

engram_status Read(engram_tier_table* table, const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride,
                   uint8_t* found, engram_message* message) {
  return Fence(message, [&] {
    TestTierControl& control = *table->control;
    std::unique_lock lock(control.mutex);
    const uint64_t read = ++control.reads;
    control.asked.insert(control.asked.end(), ids, ids + num_ids);
    control.changed.notify_all();
    control.changed.wait(lock, [&] { return !control.hold_reads || read < control.hold_from; });
    if (read == control.fail_at_read) throw PluginError(ENGRAM_DATA_LOSS, "fault on demand");
    if (read >= control.unavailable_from && read < control.unavailable_until) {
      for (uint32_t i = 0; i < num_ids; i += 2) {
        std::memset(dst + i * dst_stride, 0xee, (table->row_bytes + 1) / 2);
        found[i] = 1;
      }
      throw PluginError(ENGRAM_UNAVAILABLE, "out of reach on demand");
    }
    for (uint32_t i = 0; i < num_ids; ++i) {
      uint8_t* row = dst + i * dst_stride;
      if (read == control.short_at_read && i + 1 == num_ids) continue;
      if ((control.flags & ENGRAM_TIER_STORE) != 0) {
        const engram_status status = table->source.read(table->source.context, ids[i], 1, row, message);
        if (status != ENGRAM_OK) throw PluginError(status, "source failed");
      } else {
        const auto entry = table->rows.find(ids[i]);
        if (entry == table->rows.end()) continue;
        std::memcpy(row, entry->second.data(), table->row_bytes);
      }
      found[i] = 1;
      ++table->hits;
    }
  });
}

engram_status Write(engram_tier_table* table, const uint64_t* ids, uint32_t num_ids, const uint8_t* src,
                    uint64_t src_stride, engram_message* message) {
  return Fence(message, [&] {
    const std::lock_guard lock(table->control->mutex);
    ++table->control->writes;
    if (table->control->fail_writes) throw PluginError(ENGRAM_UNAVAILABLE, "write fault on demand");
    for (uint32_t i = 0; i < num_ids; ++i)
      table->rows[ids[i]].assign(reinterpret_cast<const char*>(src + i * src_stride), table->row_bytes);
  });
}

engram_status Invalidate(engram_tier_table* table, const uint64_t* ids, uint32_t num_ids, engram_message*) {
  const std::lock_guard lock(table->control->mutex);
  if (num_ids == 0) table->rows.clear();
  for (uint32_t i = 0; i < num_ids; ++i) table->rows.erase(ids[i]);
  return ENGRAM_OK;
}

engram_status Stats(engram_tier_table* table, engram_tier_stats* stats) {
  const std::lock_guard lock(table->control->mutex);
  stats->hits = table->hits;
  return ENGRAM_OK;
}

constexpr engram_tier_functions kFunctions = {
    sizeof(engram_tier_functions), 0, Open, Close, Describe, Attach, Detach, Read, Write, Invalidate, Stats, nullptr,
};

constexpr engram_plugin_descriptor kDescriptor = {
    ENGRAM_ABI_MAGIC,
    ENGRAM_ABI_MAJOR,
    ENGRAM_ABI_MINOR,
    sizeof(engram_plugin_descriptor),
    ENGRAM_PLUGIN_TIER,
    0,
    0,
    "test_tier",
    "1.0.0",
    nullptr,
    &kFunctions,
};

}  // namespace

extern "C" const engram_plugin_descriptor* engram_plugin_entry(void) {
  return &kDescriptor;
}
