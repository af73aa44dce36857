/* SPDX-License-Identifier: Apache-2.0
 *
 * A backbone: the transformer. It owns weights, KV cache and per-sequence convolution state; it gets row bytes from the
 * host and never hashes tokens or knows where rows live.
 *
 * Threads: open() and close() are called on any thread, never concurrently with another call on the same instance.
 * sequence_*() and step() are called by one engine thread. describe() and stats() may be called from any thread at any
 * time between open and close. Only open(), close() and step() may block. Compute threads belong to the plugin and are
 * joined by close().
 */
#ifndef ENGRAM_BACKBONE_H_
#define ENGRAM_BACKBONE_H_

#include "engram/abi.h"
#include "engram/host.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct engram_backbone engram_backbone; /* one opened model; the plugin's */
typedef uint64_t engram_sequence_id;            /* 0 is never a valid id */

/* What describe() fills in. Pointers are owned by the instance and constant until close(). */
typedef struct engram_backbone_info {
  uint32_t struct_size; /* set by the caller */
  uint32_t vocab_size;  /* logits per flagged token */
  uint32_t hidden_size;
  uint32_t num_layers;
  uint32_t num_streams;          /* hc_mult: residual streams, >= 1 */
  uint32_t max_positions;        /* longest sequence, tokens */
  uint32_t max_batch_tokens;     /* most tokens in one step() */
  uint32_t max_sequences;        /* most live sequences */
  uint32_t num_engram_layers;    /* 0: a plain model */
  uint32_t num_columns;          /* rows per token and Engram layer: (N-1)*K */
  uint32_t row_values;           /* values per row: head_dim */
  engram_row_format row_format;  /* how a row's values are stored, as the model's tables have them */
  const uint32_t* engram_layers; /* [num_engram_layers] model layer numbers, ascending */
  uint64_t weight_bytes;         /* resident weights */
  uint64_t kv_capacity_tokens;   /* positions the KV cache holds, over all sequences */
  uint64_t kv_bytes_per_token;
  const char* device;      /* e.g. "cpu avx512, 2 threads"; for people */
  const char* weight_type; /* e.g. "f32", "bf16", "int8"; what products are computed from */
} engram_backbone_info;

/* engram_slice.flags */
enum { ENGRAM_SLICE_MEMORY_OFF = 1u << 0 }; /* run these tokens as if the model had no Engram module */

/* Consecutive new tokens of one sequence. A sequence has at most one slice in a batch. A sequence is run either wholly
 * with or wholly without ENGRAM_SLICE_MEMORY_OFF. */
typedef struct engram_slice {
  engram_sequence_id sequence;
  uint32_t first_token; /* index of its first token in engram_batch.tokens */
  uint32_t num_tokens;  /* >= 1 */
  uint32_t position;    /* position of its first token in the sequence; must equal the sequence's length so far */
  uint32_t flags;       /* ENGRAM_SLICE_... */
} engram_slice;

/* engram_batch.flags */
enum {
  ENGRAM_BATCH_GATES = 1u << 0,  /* fill engram_step_output.gates */
  ENGRAM_BATCH_HIDDEN = 1u << 1, /* fill engram_step_output.hidden */
  /* since minor 2; a backbone that does not know it leaves the fields NULL: fill lens_logits and the norms. Costs a
   * product with the output head per layer and flagged token: for looking closely, not for serving. */
  ENGRAM_BATCH_LENS = 1u << 2
};

/* One step: prefill chunks and decode tokens of many sequences. Slices are in token order and cover all tokens. */
typedef struct engram_batch {
  uint32_t struct_size;
  uint32_t flags;
  uint32_t num_slices;
  uint32_t num_tokens;
  const engram_slice* slices;  /* [num_slices] */
  const int32_t* tokens;       /* [num_tokens], each in [0, vocab_size) */
  const uint8_t* wants_logits; /* [num_tokens], 0 or 1 */
  engram_batch_rows* rows;     /* for host->await_rows; NULL when no slice uses memory */
} engram_batch;

/* What step() fills in. Arrays are owned by the instance and valid until its next step() or close(). */
typedef struct engram_step_output {
  uint32_t struct_size; /* set by the caller */
  uint32_t num_logits;  /* number of flagged tokens */
  const float* logits;  /* [num_logits][vocab_size], in token order */
  const float* gates;   /* [num_engram_layers][num_tokens][num_streams], 0 where memory is off; NULL if not asked */
  const float* hidden;  /* [num_logits][hidden_size], after the final norm; NULL if not asked */
  /* since minor 2; NULL if not asked */
  /* [num_layers][num_logits][vocab_size]: what final norm and output head make of the residual stream as it is after
   * each layer (the "logit lens"); the last layer's are `logits`. */
  const float* lens_logits;
  /* [num_engram_layers][num_tokens][num_streams]: Euclidean norm of what the Engram module added to each residual
   * stream, and of the stream it was added to; 0 where memory is off. */
  const float* memory_norms;
  const float* stream_norms;
} engram_step_output;

typedef struct engram_backbone_stats {
  uint32_t struct_size; /* set by the caller */
  uint32_t num_sequences;
  uint64_t num_steps;
  uint64_t num_tokens;     /* tokens processed */
  uint64_t kv_used_tokens; /* positions reserved by live sequences */
  uint64_t step_ns;        /* time inside step(), without await_rows */
} engram_backbone_stats;

typedef struct engram_backbone_functions {
  uint32_t struct_size;
  uint32_t reserved;

  /* Opens the model in `model_dir` (config.json and safetensors in Hugging Face's layout). Reads every weight it needs
   * but no Engram table. May take minutes. On success the caller owns *out until close(); on error nothing. */
  engram_status (*open)(const engram_host* host, const char* model_dir, const engram_option* options,
                        uint32_t num_options, engram_backbone** out, engram_message* message);

  /* Joins the plugin's threads and frees everything, live sequences included. */
  void (*close)(engram_backbone* backbone);

  engram_status (*describe)(engram_backbone* backbone, engram_backbone_info* info);

  /* Starts an empty sequence and reserves KV cache for `reserve_tokens` positions (<= max_positions), so that no later
   * step() can run out. ENGRAM_RESOURCE_EXHAUSTED if the cache has no room now. Freed by sequence_free(). */
  engram_status (*sequence_new)(engram_backbone* backbone, uint32_t reserve_tokens, engram_sequence_id* out,
                                engram_message* message);
  /* Frees a sequence and its reservation. An unknown id is ignored. */
  void (*sequence_free)(engram_backbone* backbone, engram_sequence_id sequence);
  /* Forgets all positions >= length; `length` <= current length. State is then as if they had never been run. */
  engram_status (*sequence_truncate)(engram_backbone* backbone, engram_sequence_id sequence, uint32_t length,
                                     engram_message* message);
  /* A new sequence with the same tokens and state, with its own reservation. */
  engram_status (*sequence_fork)(engram_backbone* backbone, engram_sequence_id source, uint32_t reserve_tokens,
                                 engram_sequence_id* out, engram_message* message);

  /* Runs one batch. After an error, the sequences of the batch are in an unspecified state: the host frees them. All
   * other sequences are unharmed and the instance stays usable. Results for a token do not depend on what else is in
   * the batch, nor on how a prefill was cut into chunks. */
  engram_status (*step)(engram_backbone* backbone, const engram_batch* batch, engram_step_output* output,
                        engram_message* message);

  engram_status (*stats)(engram_backbone* backbone, engram_backbone_stats* stats);

  /* Optional pair (both or neither): memory into which the host gathers rows, e.g. pinned for a device. 64-byte
   * aligned. NULL when out of memory. */
  void* (*row_buffer_new)(engram_backbone* backbone, uint64_t num_bytes);
  void (*row_buffer_free)(engram_backbone* backbone, void* buffer);
} engram_backbone_functions;

#ifdef __cplusplus
}
#endif

#endif /* ENGRAM_BACKBONE_H_ */
