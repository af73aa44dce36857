// SPDX-License-Identifier: Apache-2.0
//
// The tokens of one step() as the layers see them.
#ifndef BACKBONE_CPU_STEP_H_
#define BACKBONE_CPU_STEP_H_

#include <cstdint>
#include <vector>

#include "kv_cache.h"

namespace backbone_cpu {

struct StepSlice {
  const Sequence* sequence;
  uint32_t first_token;
  uint32_t num_tokens;
  uint32_t position;  // of the first token
};

struct StepToken {
  const Sequence* sequence;
  uint32_t position;

  uint32_t block() const { return sequence->blocks[position / KvCache::kBlockPositions]; }
  uint32_t slot() const { return position % KvCache::kBlockPositions; }
};

struct Step {
  std::vector<StepSlice> slices;
  std::vector<StepToken> tokens;
  std::vector<uint32_t> memory_tokens;  // indices of the tokens that use Engram, ascending
};

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_STEP_H_
