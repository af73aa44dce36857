/* SPDX-License-Identifier: Apache-2.0
 *
 * A tier: a place where rows of tables live. Tiers are chained by the host, caches first, one complete store last.
 *
 * Threads: open(), close(), attach() and detach() are never concurrent with another call on the same instance.
 * read(), write(), invalidate(), stats() and hot_rows() may run on many threads at once; the plugin does its own locking. Only
 * calls whose tier sets ENGRAM_TIER_MAY_BLOCK (and open, close, attach) may block on a device or peer.
 */
#ifndef ENGRAM_TIER_H_
#define ENGRAM_TIER_H_

#include "engram/abi.h"
#include "engram/host.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct engram_tier engram_tier;             /* one opened tier; the plugin's */
typedef struct engram_tier_table engram_tier_table; /* one table attached to it; the plugin's */

/* engram_tier_info.flags */
enum {
  ENGRAM_TIER_CACHE = 1u << 0,      /* may not hold every row: read() can report rows as not found */
  ENGRAM_TIER_STORE = 1u << 1,      /* holds every row of an attached table */
  ENGRAM_TIER_PERSISTENT = 1u << 2, /* contents outlive the process */
  ENGRAM_TIER_WRITABLE = 1u << 3,   /* write() works */
  ENGRAM_TIER_MAY_BLOCK = 1u << 4   /* read() and write() may wait for a device or peer */
};

/* Where a store fills itself from at attach(); implemented by the host. */
typedef struct engram_row_source {
  void* context;
  /* Copies rows [first_row, first_row + num_rows) to dst, dense, row_bytes each. Any thread; may block. */
  engram_status (*read)(void* context, uint64_t first_row, uint64_t num_rows, uint8_t* dst, engram_message* message);
} engram_row_source;

/* A table to attach. Valid during attach() only, except source, which is valid until detach(). */
typedef struct engram_table_desc {
  uint32_t struct_size;
  uint32_t layer;    /* model layer number */
  const char* model; /* name of the model, for messages and keys */
  const char* path;  /* packed table file for tiers that read one; NULL when rows come from `source` only */
  uint64_t num_rows;
  uint32_t row_bytes;
  engram_row_format row_format;
  engram_row_source source; /* source.read is never NULL */
} engram_table_desc;

typedef struct engram_tier_info {
  uint32_t struct_size; /* set by the caller */
  uint32_t flags;       /* ENGRAM_TIER_... */
  uint64_t capacity_bytes;
  const char* medium; /* e.g. "dram", "file"; owned by the instance */
} engram_tier_info;

/* Buckets of a latency histogram, four an octave: bucket b counts what took 2^(b/4) * (1 + b%4 / 4) microseconds or more
 * (b/4 rounded down) and less than that of b + 1; bucket 0 also what took less, the last also what took more. */
#define ENGRAM_LATENCY_BUCKETS 80

/* Counters since attach(), monotonic, except the gauges resident_bytes and queue_depth. */
typedef struct engram_tier_stats {
  uint32_t struct_size; /* set by the caller */
  uint32_t queue_depth; /* requests in flight now */
  uint64_t resident_bytes;
  uint64_t reads; /* read() calls */
  uint64_t rows;  /* rows asked for */
  uint64_t hits;
  uint64_t misses;
  uint64_t fills; /* rows written by write() */
  uint64_t evictions;
  uint64_t errors;
  uint64_t bytes_read; /* from the medium, overhead included */
  /* since minor 1; a tier without a device leaves them 0 */
  uint64_t retries;                              /* failed reads of the medium that were tried again */
  uint64_t read_latency[ENGRAM_LATENCY_BUCKETS]; /* single reads of the medium, each a try */
} engram_tier_stats;

typedef struct engram_tier_functions {
  uint32_t struct_size;
  uint32_t reserved;

  /* On success *out is owned by the caller until close(); on error nothing is. */
  engram_status (*open)(const engram_host* host, const engram_option* options, uint32_t num_options, engram_tier** out,
                        engram_message* message);
  /* All tables have been detached before. Joins the plugin's threads. */
  void (*close)(engram_tier* tier);
  engram_status (*describe)(engram_tier* tier, engram_tier_info* info);

  /* Makes a table known; a store reads all of it from desc->source unless it finds the rows itself. May take minutes.
   * On success *out is owned by the caller until detach(). */
  engram_status (*attach)(engram_tier* tier, const engram_table_desc* desc, engram_tier_table** out,
                          engram_message* message);
  void (*detach)(engram_tier_table* table);

  /* Copies row ids[i] to dst + i * dst_stride for i < num_ids (dst_stride >= row_bytes). Every id is < num_rows; ids
   * are usually distinct and in no order. found[i] is set to 1 where the row was written, else 0 (then dst is
   * untouched); a store sets all to 1 or fails. On error the contents of dst and found are unspecified. */
  engram_status (*read)(engram_tier_table* table, const uint64_t* ids, uint32_t num_ids, uint8_t* dst,
                        uint64_t dst_stride, uint8_t* found, engram_message* message);

  /* Optional (NULL: not writable). Offers rows to a cache, which may decline, or stores them in a writable store. */
  engram_status (*write)(engram_tier_table* table, const uint64_t* ids, uint32_t num_ids, const uint8_t* src,
                         uint64_t src_stride, engram_message* message);
  /* Optional for stores. Forgets rows, so that the next read() misses. num_ids 0: all rows. */
  engram_status (*invalidate)(engram_tier_table* table, const uint64_t* ids, uint32_t num_ids, engram_message* message);

  engram_status (*stats)(engram_tier_table* table, engram_tier_stats* stats);

  /* Optional: address of row 0 of a dense array [num_rows][row_bytes], stable until detach(), or NULL. */
  const uint8_t* (*map)(engram_tier_table* table);

  /* Since minor 2; optional, for caches. Which rows are worth having again after a restart: those asked for more than
   * once, the most wanted first. Writes at most `capacity` ids, *num_ids of them. A snapshot of a cache at work: a row
   * that comes, goes or moves meanwhile may be missing or come twice. May take a second; must not hold up read(). */
  engram_status (*hot_rows)(engram_tier_table* table, uint64_t* ids, uint64_t capacity, uint64_t* num_ids,
                            engram_message* message);
} engram_tier_functions;

#ifdef __cplusplus
}
#endif

#endif /* ENGRAM_TIER_H_ */
