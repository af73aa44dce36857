/* SPDX-License-Identifier: Apache-2.0
 *
 * What the host offers a plugin: a logger and, to backbones, the rows of a batch. And the row formats both sides know.
 */
#ifndef ENGRAM_HOST_H_
#define ENGRAM_HOST_H_

#include <stddef.h>
#include <stdint.h>

#include "engram/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the head_dim values of one row are stored. row_bytes follows from (format, head_dim):
 *   BF16           2 * head_dim      little-endian bfloat16
 *   F32            4 * head_dim      little-endian IEEE float32
 *   FP8_E4M3_UE8M0 head_dim + ceil(head_dim / 32)
 *                  head_dim E4M3 codes (the "fn" variant: no infinity, 0x7f and 0xff are NaN), then one exponent byte
 *                  for 32 values: value = e4m3(code) * 2^(scale - 127). head_dim 256 gives 264 bytes.
 *   F16            2 * head_dim      little-endian IEEE float16 */
typedef uint32_t engram_row_format;
enum { ENGRAM_ROW_BF16 = 1, ENGRAM_ROW_F32 = 2, ENGRAM_ROW_FP8_E4M3_UE8M0 = 3, ENGRAM_ROW_F16 = 4 };

typedef uint32_t engram_log_level;
enum { ENGRAM_LOG_DEBUG = 1, ENGRAM_LOG_INFO = 2, ENGRAM_LOG_WARNING = 3, ENGRAM_LOG_ERROR = 4 };

/* One key=value option from the configuration. Strings are UTF-8, NUL-terminated, owned by the host and valid during
 * the call only. A plugin refuses a key it does not know with ENGRAM_INVALID_ARGUMENT and names it. */
typedef struct engram_option {
  const char* key;
  const char* value;
} engram_option;

/* The rows a backbone step needs, prepared by the host; opaque to the plugin. */
typedef struct engram_batch_rows engram_batch_rows;

/* The rows of one Engram layer for all tokens of a batch: uint8 data[num_tokens][num_columns][row_bytes], dense.
 * Rows of tokens whose slice has ENGRAM_SLICE_MEMORY_OFF are unspecified and must not be used.
 * Owned by the host; valid until the step() that got it returns. Aligned to 64 bytes at data only. */
typedef struct engram_row_view {
  uint32_t struct_size; /* set by the caller of await_rows */
  uint32_t num_tokens;
  uint32_t num_columns;
  uint32_t row_bytes;
  const uint8_t* data;
} engram_row_view;

/* Given to a plugin's open(); the struct and context outlive the opened instance. */
typedef struct engram_host {
  uint32_t struct_size;
  uint32_t reserved;
  void* context; /* pass as the first argument below */

  /* Writes one line to the host's log. Any thread; does not block for long; message need not outlive the call. */
  void (*log)(void* context, engram_log_level level, const char* message);

  /* Waits until the rows of `layer` (index into engram_backbone_info.engram_layers, not the model's layer number) are
   * in memory and returns a view of them. Call it once per Engram layer in a step(), from the thread that runs step(),
   * as late as possible: the time spent here is counted as the layer's stall. NULL for tier plugins.
   * Not called when every slice of the batch has ENGRAM_SLICE_MEMORY_OFF.
   * On error step() must give up and return the same status. */
  engram_status (*await_rows)(void* context, engram_batch_rows* rows, uint32_t layer, engram_row_view* view,
                              engram_message* message);
} engram_host;

#ifdef __cplusplus
}
#endif

#endif /* ENGRAM_HOST_H_ */
