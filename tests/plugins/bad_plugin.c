/* SPDX-License-Identifier: Apache-2.0
 *
 * Plugins that break one rule of engram/abi.h each; FLAW_<RULE> says which. FLAW_NONE breaks none; allowed too are
 * FLAW_LONG_TABLE, a table longer than this host knows, FLAW_KEEP_LOADED, and FLAW_EDITION_<minor>, a plugin of an older
 * edition of the ABI, whose table ends before what came later.
 */
#include <engram/backbone.h>
#include <engram/tier.h>
#include <stdlib.h>
#include <string.h>

static engram_status Open(const engram_host* host, const engram_option* options, uint32_t num_options,
                          engram_tier** out, engram_message* message) {
  static int instance;
  (void)host, (void)options, (void)num_options, (void)message;
  *out = (engram_tier*)&instance;
  return ENGRAM_OK;
}
static void Close(engram_tier* tier) {
  (void)tier;
}
static engram_status Describe(engram_tier* tier, engram_tier_info* info) {
  (void)tier;
  info->flags = ENGRAM_TIER_STORE;
  info->medium = "none";
  return ENGRAM_OK;
}
static engram_status Attach(engram_tier* tier, const engram_table_desc* desc, engram_tier_table** out,
                            engram_message* message) {
  (void)desc, (void)message;
  *out = (engram_tier_table*)tier;
  return ENGRAM_OK;
}
static void Detach(engram_tier_table* table) {
  (void)table;
}
#ifndef FLAW_NO_READ
static engram_status Read(engram_tier_table* table, const uint64_t* ids, uint32_t num_ids, uint8_t* dst,
                          uint64_t dst_stride, uint8_t* found, engram_message* message) {
  (void)table, (void)ids, (void)dst, (void)dst_stride, (void)message;
  memset(found, 1, num_ids);
  return ENGRAM_OK;
}
#endif
static engram_status Stats(engram_tier_table* table, engram_tier_stats* stats) {
  (void)table, (void)stats;
  return ENGRAM_OK;
}

#if defined(FLAW_EDITION_0) || defined(FLAW_EDITION_1)
static engram_status NotThere(engram_tier_table* table, uint64_t* ids, uint64_t capacity, uint64_t* num_ids,
                              engram_message* message) {
  (void)table, (void)ids, (void)capacity, (void)num_ids, (void)message;
  abort();
}
#endif

struct table {
  engram_tier_functions functions;
  void* later_functions[4];
};

static const struct table kTable = {
    .functions =
        {
#if defined(FLAW_TABLE_SIZE)
            .struct_size = 48,
#elif defined(FLAW_LONG_TABLE)
            .struct_size = sizeof(struct table),
#elif defined(FLAW_EDITION_0) || defined(FLAW_EDITION_1)
            .struct_size = offsetof(engram_tier_functions, hot_rows),
            .hot_rows = NotThere, /* what lies behind the table is no function of it */
#else
            .struct_size = sizeof(engram_tier_functions),
#endif
            .open = Open,
            .close = Close,
            .describe = Describe,
            .attach = Attach,
            .detach = Detach,
#ifndef FLAW_NO_READ
            .read = Read,
#endif
            .stats = Stats,
        },
};

#ifdef FLAW_ONE_OF_PAIR
static engram_status BackboneOpen(const engram_host* host, const char* model_dir, const engram_option* options,
                                  uint32_t num_options, engram_backbone** out, engram_message* message) {
  (void)host, (void)model_dir, (void)options, (void)num_options, (void)out, (void)message;
  return ENGRAM_UNSUPPORTED;
}
static void BackboneClose(engram_backbone* backbone) {
  (void)backbone;
}
static engram_status BackboneDescribe(engram_backbone* backbone, engram_backbone_info* info) {
  (void)backbone, (void)info;
  return ENGRAM_UNSUPPORTED;
}
static engram_status SequenceNew(engram_backbone* backbone, uint32_t reserve, engram_sequence_id* out,
                                 engram_message* message) {
  (void)backbone, (void)reserve, (void)out, (void)message;
  return ENGRAM_UNSUPPORTED;
}
static void SequenceFree(engram_backbone* backbone, engram_sequence_id sequence) {
  (void)backbone, (void)sequence;
}
static engram_status SequenceTruncate(engram_backbone* backbone, engram_sequence_id sequence, uint32_t length,
                                      engram_message* message) {
  (void)backbone, (void)sequence, (void)length, (void)message;
  return ENGRAM_UNSUPPORTED;
}
static engram_status SequenceFork(engram_backbone* backbone, engram_sequence_id source, uint32_t reserve,
                                  engram_sequence_id* out, engram_message* message) {
  (void)backbone, (void)source, (void)reserve, (void)out, (void)message;
  return ENGRAM_UNSUPPORTED;
}
static engram_status Step(engram_backbone* backbone, const engram_batch* batch, engram_step_output* output,
                          engram_message* message) {
  (void)backbone, (void)batch, (void)output, (void)message;
  return ENGRAM_UNSUPPORTED;
}
static engram_status BackboneStats(engram_backbone* backbone, engram_backbone_stats* stats) {
  (void)backbone, (void)stats;
  return ENGRAM_UNSUPPORTED;
}
static void* RowBufferNew(engram_backbone* backbone, uint64_t num_bytes) {
  (void)backbone, (void)num_bytes;
  return NULL;
}
static const engram_backbone_functions kBackbone = {
    .struct_size = sizeof(engram_backbone_functions),
    .open = BackboneOpen,
    .close = BackboneClose,
    .describe = BackboneDescribe,
    .sequence_new = SequenceNew,
    .sequence_free = SequenceFree,
    .sequence_truncate = SequenceTruncate,
    .sequence_fork = SequenceFork,
    .step = Step,
    .stats = BackboneStats,
    .row_buffer_new = RowBufferNew,
};
#endif

#ifdef FLAW_UNRESOLVED
extern void engram_function_that_no_library_has(void);
#endif

static const engram_plugin_descriptor kDescriptor = {
#ifdef FLAW_MAGIC
    .magic = 0x12345678,
#else
    .magic = ENGRAM_ABI_MAGIC,
#endif
#ifdef FLAW_MAJOR
    .abi_major = ENGRAM_ABI_MAJOR + 1,
#else
    .abi_major = ENGRAM_ABI_MAJOR,
#endif
#ifdef FLAW_MINOR
    .abi_minor = ENGRAM_ABI_MINOR + 1,
#elif defined(FLAW_EDITION_0)
    .abi_minor = 0,
#elif defined(FLAW_EDITION_1)
    .abi_minor = 1,
#else
    .abi_minor = ENGRAM_ABI_MINOR,
#endif
#ifdef FLAW_DESCRIPTOR_SIZE
    .struct_size = 24,
#else
    .struct_size = sizeof(engram_plugin_descriptor),
#endif
#if defined(FLAW_UNKNOWN_KIND)
    .kind = 77,
#elif defined(FLAW_ONE_OF_PAIR)
    .kind = ENGRAM_PLUGIN_BACKBONE,
#else
    .kind = ENGRAM_PLUGIN_TIER,
#endif
#if defined(FLAW_NO_NAME)
    .name = NULL,
#elif defined(FLAW_LONG_NAME)
    .name = "a name of more than sixty-four bytes, which no log line and no metric wants",
#else
    .name = "bad",
#endif
#ifndef FLAW_NO_VERSION
    .version = "1.0.0",
#endif
#ifdef FLAW_KEEP_LOADED
    .flags = ENGRAM_PLUGIN_KEEP_LOADED,
#endif
#if defined(FLAW_ONE_OF_PAIR)
    .functions = &kBackbone,
#elif !defined(FLAW_NO_TABLE)
    .functions = &kTable,
#endif
};

#ifdef FLAW_NO_SYMBOL
ENGRAM_EXPORT const engram_plugin_descriptor* some_other_entry(void);
ENGRAM_EXPORT const engram_plugin_descriptor* some_other_entry(void) {
  return &kDescriptor;
}
#else
ENGRAM_EXPORT const engram_plugin_descriptor* engram_plugin_entry(void) {
#ifdef FLAW_UNRESOLVED
  engram_function_that_no_library_has();
#endif
#ifdef FLAW_NULL_DESCRIPTOR
  (void)kDescriptor;
  return NULL;
#else
  return &kDescriptor;
#endif
}
#endif
