/* SPDX-License-Identifier: Apache-2.0
 *
 * The smallest useful tier: a read-only store that computes its rows instead of holding them. Byte j of row r is
 * (r * 31 + j + seed) mod 256. Shows everything a tier must do: descriptor, function table, options, errors with a
 * message, structs that may be of another edition.
 */
#include <engram/tier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct engram_tier {
  unsigned long seed;
};

struct engram_tier_table {
  const engram_tier* tier;
  uint64_t num_rows;
  uint32_t row_bytes;
};

/* Writes `text`, with `detail` in place of its %s, into the caller's buffer. */
static engram_status Fail(engram_message* message, engram_status status, const char* text, const char* detail) {
  if (message != NULL && message->capacity > 0) snprintf(message->text, message->capacity, text, detail);
  return status;
}

static engram_status Open(const engram_host* host, const engram_option* options, uint32_t num_options,
                          engram_tier** out, engram_message* message) {
  unsigned long seed = 0;
  for (uint32_t i = 0; i < num_options; ++i) {
    if (strcmp(options[i].key, "seed") != 0)
      return Fail(message, ENGRAM_INVALID_ARGUMENT, "unknown option \"%s\"; known: seed", options[i].key);
    char* end = NULL;
    seed = strtoul(options[i].value, &end, 10);
    if (end == options[i].value || *end != '\0')
      return Fail(message, ENGRAM_INVALID_ARGUMENT, "option seed is \"%s\", expected a number", options[i].value);
  }
  engram_tier* tier = malloc(sizeof(*tier));
  if (tier == NULL) return Fail(message, ENGRAM_RESOURCE_EXHAUSTED, "%s", "out of memory");
  tier->seed = seed;
  host->log(host->context, ENGRAM_LOG_INFO, "minimal tier opened");
  *out = tier;
  return ENGRAM_OK;
}

static void Close(engram_tier* tier) {
  free(tier);
}

static engram_status Describe(engram_tier* tier, engram_tier_info* info) {
  (void)tier;
  /* These four fields are in the first edition, which every host has; newer ones need a look at info->struct_size. */
  info->flags = ENGRAM_TIER_STORE;
  info->capacity_bytes = 0;
  info->medium = "computed";
  return ENGRAM_OK;
}

static engram_status Attach(engram_tier* tier, const engram_table_desc* desc, engram_tier_table** out,
                            engram_message* message) {
  engram_tier_table* table = malloc(sizeof(*table));
  if (table == NULL) return Fail(message, ENGRAM_RESOURCE_EXHAUSTED, "%s", "out of memory");
  table->tier = tier;
  table->num_rows = desc->num_rows;
  table->row_bytes = desc->row_bytes;
  *out = table;
  return ENGRAM_OK;
}

static void Detach(engram_tier_table* table) {
  free(table);
}

static engram_status Read(engram_tier_table* table, const uint64_t* ids, uint32_t num_ids, uint8_t* dst,
                          uint64_t dst_stride, uint8_t* found, engram_message* message) {
  (void)message; /* nothing can fail: every id is below num_rows by contract */
  for (uint32_t i = 0; i < num_ids; ++i) {
    for (uint32_t j = 0; j < table->row_bytes; ++j)
      dst[i * dst_stride + j] = (uint8_t)(ids[i] * 31 + j + table->tier->seed);
    found[i] = 1;
  }
  return ENGRAM_OK;
}

static engram_status Stats(engram_tier_table* table, engram_tier_stats* stats) {
  (void)table;
  const uint32_t size = stats->struct_size; /* the caller's edition: nothing beyond it may be written */
  memset(stats, 0, size);
  stats->struct_size = size;
  return ENGRAM_OK;
}

static const engram_tier_functions kFunctions = {
    .struct_size = sizeof(engram_tier_functions),
    .open = Open,
    .close = Close,
    .describe = Describe,
    .attach = Attach,
    .detach = Detach,
    .read = Read,
    .stats = Stats,
};

static const engram_plugin_descriptor kDescriptor = {
    .magic = ENGRAM_ABI_MAGIC,
    .abi_major = ENGRAM_ABI_MAJOR,
    .abi_minor = ENGRAM_ABI_MINOR,
    .struct_size = sizeof(engram_plugin_descriptor),
    .kind = ENGRAM_PLUGIN_TIER,
    .name = "minimal_tier",
    .version = "1.0.0",
    .description = "Rows computed from their ids",
    .functions = &kFunctions,
};

ENGRAM_EXPORT const engram_plugin_descriptor* engram_plugin_entry(void) {
  return &kDescriptor;
}
