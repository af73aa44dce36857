// SPDX-License-Identifier: Apache-2.0
// GenerationProgress: moves generations on by what a step of the backbone put out (traces, log-probabilities, sampling,
// stop conditions) and ends them, however they end. Tells their listeners. Engine thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plugin/backbone.h"
#include "serve/batch_builder.h"
#include "serve/engine_metrics.h"
#include "serve/generation.h"
#include "serve/model.h"
#include "serve/sampler.h"
#include "serve/sequence.h"

namespace engram {

struct StepResult {
  StepOutput output;
  uint32_t num_tokens = 0;  // in the batch
  SteadyTime ended_at;
};

class GenerationProgress {
 public:
  // The references must outlive it. `on_finished` is called with the id of each generation after its kDone was sent.
  GenerationProgress(const Model& model, const RowLayout& layout, EngineMetrics& metrics,
                     std::function<void(uint64_t id)> on_finished);

  // Takes what the step made of one slice. Those that are cancelled are left alone.
  void Take(const SliceOwner& owner, const StepResult& step);
  // Ends all choices that have not ended, which ends the generation.
  void FinishAll(Generation& generation, FinishReason reason);
  void Fail(Generation& generation, Error error);
  // For one whose sequences are lost: new ones take in all its tokens again before it goes on. Only without memory.
  void Restart(Generation& generation);
  // Goes on without memory from here, because of `reason`; what was sampled so far stays.
  void SkipMemory(Generation& generation, const Error& reason);

 private:
  void TakePrefill(const SliceOwner& owner, const StepResult& step);
  // Adds what a step with the lens tells of token `i` of the slice.
  Status Inspect(const SliceOwner& owner, uint32_t i, const StepResult& step, PositionTrace& trace) const;
  void StartDecoding(Generation& generation, std::span<const float> logits, const StepResult& step);
  void SampleNext(Generation& generation, uint32_t index, std::span<const float> logits, const StepResult& step,
                  std::vector<PositionTrace> traces);
  // The next token, of those that the choice's constraint allows if it has one. Nothing when the text is whole and no
  // token could follow.
  Result<std::optional<int32_t>> Choose(const GenerationRequest& request, Choice& choice,
                                        std::span<const float> logits);
  void Emit(Generation& generation, GenerationEvent event);
  void FinishChoice(Generation& generation, uint32_t index, FinishReason reason, std::optional<int32_t> stop_token,
                    std::string text, std::vector<PositionTrace> traces);
  void FinishWithHeldText(Generation& generation, uint32_t index, FinishReason reason,
                          std::optional<int32_t> stop_token, std::vector<PositionTrace> traces);
  void FinishGeneration(Generation& generation);
  Status RenewSequence(const Generation& generation, Choice& choice);
  std::span<const float> LogitsRow(const StepResult& step, uint32_t row) const;

  const Model& model_;
  const RowLayout& layout_;
  EngineMetrics& metrics_;
  const std::function<void(uint64_t id)> on_finished_;
  const uint32_t vocab_size_;
  SamplerScratch scratch_;
  std::vector<uint64_t> allowed_;  // of the choice in work
};

}  // namespace engram
