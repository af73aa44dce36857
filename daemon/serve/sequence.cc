// SPDX-License-Identifier: Apache-2.0
#include "serve/sequence.h"

#include <algorithm>
#include <numeric>

namespace engram {

RowLayout::RowLayout(const Model& model) {
  num_streams = model.backbone().info().num_streams;
  if (model.memory() == nullptr) return;
  const Geometry& geometry = model.memory()->geometry();
  num_columns = geometry.num_columns;
  ids_per_token = static_cast<uint32_t>(geometry.layers.size()) * num_columns;
  layer_order.resize(geometry.layers.size());
  std::iota(layer_order.begin(), layer_order.end(), 0u);
  std::sort(layer_order.begin(), layer_order.end(),
            [&](uint32_t a, uint32_t b) { return geometry.layers[a].layer < geometry.layers[b].layer; });
}

bool Generation::ends_on(int32_t token, const std::vector<int32_t>& eos_token_ids) const {
  const auto contains = [token](const std::vector<int32_t>& ids) {
    return std::find(ids.begin(), ids.end(), token) != ids.end();
  };
  return (!request.ignore_eos && contains(eos_token_ids)) || contains(request.stop_token_ids);
}

Result<std::unique_ptr<Generation>> MakeGeneration(const Model& model, const RowLayout& layout,
                                                   GenerationRequest request,
                                                   std::shared_ptr<GenerationListener> listener, uint64_t seed) {
  auto generation = std::make_unique<Generation>();
  generation->submitted_at = std::chrono::steady_clock::now();
  generation->seed = request.sampling.seed.value_or(seed);
  generation->uses_memory = model.memory() != nullptr && request.memory.enabled;
  generation->traces_gates = generation->uses_memory && request.memory.gates;
  generation->traces_rows = generation->uses_memory && request.memory.rows;
  generation->request = std::move(request);
  generation->listener = std::move(listener);
  generation->choices.resize(generation->request.num_choices);
  const MemoryParams& memory = generation->request.memory;
  if (model.memory() != nullptr) {
    ENGRAM_TRY(generation->view, model.memory()->View(memory.as_of, memory.overlays));
  } else if (!memory.overlays.empty() || memory.as_of.value_or(0) != 0) {
    return NotFound("the model \"" + model.name() + "\" has no Engram tables, so no overlays and no version but 0",
                    memory.overlays.empty() ? "engram.as_of" : "engram.overlays[0]");
  }
  if (generation->uses_memory) {
    generation->has_guarded = generation->view.has_guarded();
    generation->progress = std::make_shared<PromptProgress>(0);
    generation->prompt_row_ids.reserve(generation->request.prompt.size() * layout.ids_per_token);
    generation->rows.emplace(model.memory()->geometry());
    model.memory()->AppendRowIds(*generation->rows, generation->request.prompt, generation->prompt_row_ids);
    if (generation->has_guarded)
      model.memory()->AppendGuarded(generation->view, generation->tail, generation->request.prompt, 0,
                                    generation->prompt_guarded);
  }
  return generation;
}

void LookAhead(const Model& model, Generation& generation, uint32_t begun) {
  if (!generation.uses_memory) return;
  generation.progress->store(begun, std::memory_order_relaxed);
  const uint64_t window = model.memory()->lookahead_tokens();
  const uint64_t prompt = generation.request.prompt.size();
  const auto end = static_cast<uint32_t>(std::min(begun + window, prompt));
  const uint32_t first = std::max(generation.num_looked_ahead, begun);
  // Not a few tokens at a time, each time.
  if (first >= end || (end < prompt && end - first < window / 4)) return;
  model.memory()->LookAhead(generation.view, generation.progress, generation.prompt_row_ids, first, end);
  generation.num_looked_ahead = end;
}

void StartChoice(const Model& model, Generation& generation, uint32_t index) {
  const GenerationRequest& request = generation.request;
  Choice& choice = generation.choices[index];
  choice.num_processed = generation.num_prefilled;
  choice.rows = generation.rows;
  choice.tail = generation.tail;
  const size_t known = std::min<size_t>(request.prompt.size(), kMaxTrackedOrder - 1);
  choice.recent.assign(request.prompt.end() - static_cast<ptrdiff_t>(known), request.prompt.end());
  choice.sampler.emplace(request.sampling, generation.seed, index, request.prompt, request.max_tokens,
                         model.backbone().info().vocab_size);
  if (request.constraint != nullptr) choice.matcher.emplace(request.constraint);
  choice.decoder.emplace(model.tokenizer(), request.skip_special_tokens);
  choice.stops.emplace(request.stop);
}

PositionTrace TracePosition(const RowLayout& layout, const float* gates, uint32_t num_tokens, uint32_t token,
                            const uint64_t* row_ids) {
  PositionTrace trace;
  if (gates != nullptr) {
    trace.gates.reserve(layout.layer_order.size() * layout.num_streams);
    for (size_t layer = 0; layer < layout.layer_order.size(); ++layer) {
      const float* at = gates + (layer * num_tokens + token) * layout.num_streams;
      trace.gates.insert(trace.gates.end(), at, at + layout.num_streams);
    }
  }
  if (row_ids != nullptr) {
    trace.rows.reserve(layout.ids_per_token);
    for (const uint32_t layer : layout.layer_order) {
      const uint64_t* at = row_ids + size_t{layer} * layout.num_columns;
      trace.rows.insert(trace.rows.end(), at, at + layout.num_columns);
    }
  }
  return trace;
}

}  // namespace engram
