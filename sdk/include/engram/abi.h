/* SPDX-License-Identifier: Apache-2.0
 *
 * Entry point and version rules of an engramd plugin.
 *
 * A plugin is a shared object that exports exactly one symbol, engram_plugin_entry(). It returns a constant
 * descriptor that the host reads before it calls anything else. The host refuses a plugin, with a readable reason, when
 *   - magic differs,
 *   - abi_major differs from the host's ENGRAM_ABI_MAJOR,
 *   - abi_minor is larger than the host's ENGRAM_ABI_MINOR (the plugin expects functions the host lacks),
 *   - descriptor.struct_size or the function table's struct_size is smaller than the first edition's,
 *   - kind is not the one asked for, name or version is NULL, or a function not marked optional is NULL.
 *
 * Growth: structs and function tables only grow at their end. Each begins with struct_size, set by whoever fills it in;
 * the reader uses no field beyond it. So a plugin built for minor n runs on any host of the same major with minor >= n.
 *   minor 1: engram_tier_stats.retries and .read_latency
 *   minor 2: engram_tier_functions.hot_rows
 *
 * Nothing but plain C data crosses: no exception, no C++ type, no memory that one side allocates and the other frees.
 * The host never unloads a library whose descriptor sets ENGRAM_PLUGIN_KEEP_LOADED (one that started threads it cannot
 * prove joined, registered atexit handlers, or uses a runtime that cannot be unloaded).
 */
#ifndef ENGRAM_ABI_H_
#define ENGRAM_ABI_H_

#include <stddef.h>
#include <stdint.h>

#include "engram/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ENGRAM_ABI_MAGIC 0x4d52474eu /* "NGRM", little endian */
#define ENGRAM_ABI_MAJOR 1u
#define ENGRAM_ABI_MINOR 2u

#if defined(__GNUC__)
#define ENGRAM_EXPORT __attribute__((visibility("default")))
#else
#define ENGRAM_EXPORT
#endif

typedef uint32_t engram_plugin_kind;
enum { ENGRAM_PLUGIN_BACKBONE = 1, ENGRAM_PLUGIN_TIER = 2 };

/* engram_plugin_descriptor.flags */
enum { ENGRAM_PLUGIN_KEEP_LOADED = 1u << 0 };

typedef struct engram_plugin_descriptor {
  uint32_t magic;          /* ENGRAM_ABI_MAGIC */
  uint16_t abi_major;      /* ENGRAM_ABI_MAJOR the plugin was built with */
  uint16_t abi_minor;      /* ENGRAM_ABI_MINOR the plugin was built with */
  uint32_t struct_size;    /* sizeof(engram_plugin_descriptor) */
  engram_plugin_kind kind; /* what `functions` points to */
  uint32_t flags;          /* ENGRAM_PLUGIN_... */
  uint32_t reserved;       /* 0 */
  const char* name;        /* short identifier, e.g. "backbone_cpu"; static storage */
  const char* version;     /* e.g. "0.1.0"; static storage */
  const char* description; /* one line for people; static storage; may be NULL */
  const void* functions;   /* engram_backbone_functions or engram_tier_functions; static storage */
} engram_plugin_descriptor;

/* The exported symbol. Called once after dlopen(), on any thread; must not block, allocate or start threads.
 * The descriptor stays valid and unchanged until dlclose(). */
ENGRAM_EXPORT const engram_plugin_descriptor* engram_plugin_entry(void);
#define ENGRAM_PLUGIN_ENTRY_SYMBOL "engram_plugin_entry"

#ifdef __cplusplus
}
#endif

#endif /* ENGRAM_ABI_H_ */
