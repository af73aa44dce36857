/* SPDX-License-Identifier: Apache-2.0
 * A backbone built for an ABI that does not exist: the daemon must refuse it before it calls anything else. */
#include <engram/abi.h>

static const engram_plugin_descriptor kDescriptor = {ENGRAM_ABI_MAGIC,
                                                     ENGRAM_ABI_MAJOR + 7,
                                                     0,
                                                     sizeof(engram_plugin_descriptor),
                                                     ENGRAM_PLUGIN_BACKBONE,
                                                     0,
                                                     0,
                                                     "wrong_abi",
                                                     "1.0",
                                                     "from the future",
                                                     &kDescriptor};

ENGRAM_EXPORT const engram_plugin_descriptor* engram_plugin_entry(void) {
  return &kDescriptor;
}
