/* SPDX-License-Identifier: Apache-2.0
 *
 * Status codes and error messages that cross the plugin boundary.
 *
 * Every fallible function returns an engram_status and takes an `engram_message*` (may be NULL) into which it writes
 * one NUL-terminated English sentence when, and only when, it does not return ENGRAM_OK. The buffer belongs to the
 * caller; a message that does not fit is cut.
 */
#ifndef ENGRAM_STATUS_H_
#define ENGRAM_STATUS_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Values are frozen: a code is never renumbered or reused. A host treats an unknown code as ENGRAM_INTERNAL. */
typedef int32_t engram_status;
enum {
  ENGRAM_OK = 0,
  ENGRAM_INVALID_ARGUMENT = 1,    /* the caller passed something out of contract */
  ENGRAM_NOT_FOUND = 2,           /* a file, tensor, sequence or row that does not exist */
  ENGRAM_FAILED_PRECONDITION = 3, /* right call, wrong state */
  ENGRAM_RESOURCE_EXHAUSTED = 4,  /* memory, KV cache or another bounded resource is used up; may pass */
  ENGRAM_UNAVAILABLE = 5,         /* a device or peer is out of reach; may pass */
  ENGRAM_DEADLINE_EXCEEDED = 6,   /* gave up waiting */
  ENGRAM_CANCELLED = 7,           /* the host asked to stop */
  ENGRAM_DATA_LOSS = 8,           /* a file or row is corrupt */
  ENGRAM_UNSUPPORTED = 9,         /* well-formed, but this plugin does not do it */
  ENGRAM_IO = 10,                 /* the operating system reported an error */
  ENGRAM_INTERNAL = 11            /* a defect in the plugin or the host */
};

/* A caller-owned buffer for one error message. */
typedef struct engram_message {
  char* text;      /* capacity bytes; NUL-terminated by the callee */
  size_t capacity; /* bytes, including the NUL */
} engram_message;

#ifdef __cplusplus
}
#endif

#endif /* ENGRAM_STATUS_H_ */
