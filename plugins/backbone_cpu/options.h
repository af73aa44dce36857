// SPDX-License-Identifier: Apache-2.0
//
// The plugin's key=value options.
#ifndef BACKBONE_CPU_OPTIONS_H_
#define BACKBONE_CPU_OPTIONS_H_

#include <cstdint>
#include <string>

#include "engram/host.h"

namespace backbone_cpu {

struct Options {
  uint32_t threads = 0;             // compute threads; 0: one per core
  std::string weights = "native";   // products are float32, from the weights as stored
  uint64_t kv_cache_tokens = 0;     // positions over all sequences; 0: all at their longest, at most 2 GiB
  uint32_t max_sequences = 64;      // live at once
  uint32_t max_batch_tokens = 512;  // in one step
  std::string kernels;              // ref, avx2, avx512; empty: ENGRAM_KERNELS, or the best this processor runs
};

// Errors are PluginError with ENGRAM_INVALID_ARGUMENT and name the option.
Options ParseOptions(const engram_option* options, uint32_t num_options);

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_OPTIONS_H_
