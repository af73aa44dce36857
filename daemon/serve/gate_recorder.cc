// SPDX-License-Identifier: Apache-2.0
#include "serve/gate_recorder.h"

#include <algorithm>

namespace engram {

void GateRecorder::Record(const Batch& batch, const float* gates, engram_batch_rows* rows) {
  slices_.clear();
  for (const SliceOwner& owner : batch.owners) {
    const Generation& generation = *owner.generation;
    // Looking closely is no use of the model.
    if (!generation.uses_memory || generation.request.inspect) continue;
    GateSlice& slice = slices_.emplace_back();
    if (owner.prefill) {
      const uint32_t before = std::min(generation.num_prefilled, statistics_.max_order() - 1);
      slice.context = std::span(generation.request.prompt)
                          .subspan(generation.num_prefilled - before, size_t{before} + owner.num_tokens);
    } else {
      slice.context = generation.choices[owner.choice].recent;
    }
    slice.num_tokens = owner.num_tokens;
    slice.first_token = owner.first_token;
    slice.key = generation.request.client;
    for (const std::string& overlay : generation.request.memory.overlays) slice.overlays.push_back(overlay);
  }
  if (slices_.empty()) return;
  statistics_.Record(slices_, gates, static_cast<uint32_t>(batch.tokens.size()));
  if (num_batches_++ % kRowsEvery != 0) return;
  const uint64_t sample = num_batches_ / kRowsEvery;
  const GateSlice& sampled = slices_[sample % slices_.size()];
  RecordRows(sampled, sampled.first_token + static_cast<uint32_t>(sample / slices_.size() % sampled.num_tokens), rows);
}

void GateRecorder::RecordRows(const GateSlice& slice, uint32_t token, engram_batch_rows* rows) {
  ModelMemory& memory = *model_.memory();
  const uint32_t num_heads = memory.config().num_heads;
  const uint32_t num_columns = memory.geometry().num_columns;
  const RowCodec& codec = memory.codec();
  values_.resize(codec.head_dim());
  for (uint32_t layer = 0; layer < memory.layers().size(); ++layer) {
    // The step had them already, so this neither waits nor fails; if it does fail, there is nothing to count.
    const Result<engram_row_view> view = memory.AwaitRows(rows, layer);
    if (!view) return;
    squared_norms_.assign(num_columns / num_heads, 0);
    for (uint32_t column = 0; column < num_columns; ++column) {
      codec.Decode(view->data + (uint64_t{token} * num_columns + column) * view->row_bytes, values_.data());
      for (const float value : values_) squared_norms_[column / num_heads] += double{value} * value;
    }
    statistics_.RecordRows(layer, squared_norms_, slice);
  }
}

}  // namespace engram
