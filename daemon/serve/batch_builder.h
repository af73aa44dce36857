// SPDX-License-Identifier: Apache-2.0
// BatchBuilder: chooses the tokens of the next step. Engine thread only.
//
// Every running choice that waits for its next token comes first: decoding never stalls behind a prompt. What is left
// of the token budget goes to prompts, one chunk after another: clients take turns from one step to the next, each
// client's prompts in order of arrival. A sequence has at most one chunk in a step.
//
// The tokens of a prompt that are inspected run in small steps of their own, between two of the others, so that what looking costs in
// time and memory is bounded.
#pragma once

#include <engram/backbone.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "memory/model_memory.h"
#include "serve/sequence.h"

namespace engram {

// Rows of logits that prompt log-probabilities may ask for in one step: 64 rows of 152k floats are 39 MB.
inline constexpr uint32_t kMaxPromptLogitsPerStep = 64;

struct BatchLimits {
  uint32_t max_tokens = 1;  // per step; at least the number of running choices
  uint32_t prefill_chunk = 1;
  uint32_t inspect_chunk = 1;  // prompt tokens of a step that looks closely
};

// Who a slice of the batch belongs to.
struct SliceOwner {
  Generation* generation = nullptr;
  uint32_t choice = 0;
  bool prefill = false;
  uint32_t first_token = 0;  // index in the batch
  uint32_t num_tokens = 0;
  uint32_t first_logits = 0;  // index of its first row of logits
  uint32_t num_logits = 0;
  bool replay = false;  // of what a choice had already processed once
};

// One step's input. Reused from step to step, so that building one allocates nothing in the long run.
struct Batch {
  std::vector<engram_slice> slices;
  std::vector<SliceOwner> owners;  // as slices
  std::vector<int32_t> tokens;
  std::vector<uint8_t> wants_logits;  // as tokens
  std::vector<BatchRowIds> rows;      // of the slices that use memory
  uint32_t num_logits = 0;
  bool wants_gates = false;
  bool wants_lens = false;

  void Clear();
};

class BatchBuilder {
 public:
  BatchBuilder(BatchLimits limits, uint32_t ids_per_token) : limits_(limits), ids_per_token_(ids_per_token) {}

  // `running` in order of admission. The batch refers to their row ids until the step is over.
  void Build(std::span<const std::unique_ptr<Generation>> running, Batch& batch);

 private:
  void AddDecode(Generation& generation, uint32_t choice, Batch& batch) const;
  // The next chunk of a prompt, of at most `budget` tokens and `logits_budget` rows of prompt logits; false if that
  // leaves none.
  bool AddPrefill(Generation& generation, uint32_t budget, uint32_t& logits_budget, Batch& batch) const;
  // The next chunk of what a choice processes again; false if `budget` leaves none.
  bool AddReplay(Generation& generation, uint32_t choice, uint32_t budget, Batch& batch);
  void AddSlice(Generation& generation, uint32_t choice, uint32_t position, std::span<const int32_t> tokens,
                const uint64_t* row_ids, std::span<const GuardedMatch> guarded, uint32_t guarded_from, Batch& batch,
                TokenRows* asked = nullptr) const;

  BatchLimits limits_;
  uint32_t ids_per_token_;
  bool inspected_last_ = false;
  std::string last_client_;  // whose prompt was served last
  // Of one Build().
  std::vector<Generation*> prefilling_;
  std::vector<std::pair<Generation*, uint32_t>> replaying_;
  std::vector<int32_t> history_;
};

}  // namespace engram
