// SPDX-License-Identifier: Apache-2.0
// GateRecorder: feeds GateStatistics from the batches of one engine. Engine thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "plugin/backbone.h"
#include "serve/batch_builder.h"
#include "serve/gate_statistics.h"
#include "serve/model.h"

namespace engram {

class GateRecorder {
 public:
  static constexpr uint64_t kRowsEvery = 8;

  // Both must outlive it. The model has Engram memory.
  GateRecorder(const Model& model, GateStatistics& statistics) : model_(model), statistics_(statistics) {}

  // Counts the tokens of a batch that was run with gates, before its rows are let go. In the first batch and each
  // kRowsEvery-th after it one token, another each time, has its rows looked at for the shares of the n-gram orders.
  void Record(const Batch& batch, const float* gates, engram_batch_rows* rows);

 private:
  void RecordRows(const GateSlice& slice, uint32_t token, engram_batch_rows* rows);

  const Model& model_;
  GateStatistics& statistics_;
  uint64_t num_batches_ = 0;
  // Work space.
  std::vector<GateSlice> slices_;
  std::vector<float> values_;
  std::vector<double> squared_norms_;
};

}  // namespace engram
