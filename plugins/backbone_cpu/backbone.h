// SPDX-License-Identifier: Apache-2.0
//
// One opened model: what the ABI's functions do, with exceptions (PluginError) in place of statuses. Threads and
// ownership are those of engram/backbone.h.
#ifndef BACKBONE_CPU_BACKBONE_H_
#define BACKBONE_CPU_BACKBONE_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "attention.h"
#include "engram/backbone.h"
#include "engram_module.h"
#include "hyper_connections.h"
#include "kv_cache.h"
#include "matmul.h"
#include "mlp.h"
#include "model_config.h"
#include "options.h"
#include "step.h"
#include "thread_pool.h"
#include "weights.h"

namespace backbone_cpu {

class Backbone {
 public:
  Backbone(const engram_host* host, const std::string& model_dir, const Options& options);

  void Describe(engram_backbone_info* info) const;
  void Stats(engram_backbone_stats* stats) const;
  KvCache& sequences() { return cache_; }
  void RunStep(const engram_batch& batch, engram_step_output* output);

 private:
  // Checks the whole batch against the contract and plans the step; changes nothing on error.
  void Plan(const engram_batch& batch);
  void Embed(const engram_batch& batch);
  void RunLayer(uint32_t layer, const engram_batch& batch, uint64_t* wait_ns);
  void RunEngram(uint32_t layer, const engram_batch& batch, uint64_t* wait_ns);
  // normed_ [T][d] = a site's input: the stream, or the mix of streams, after the norm.
  void ReadSite(const MixWeights& mix, const Vector& norm);
  void UpdateSite();
  void Norm(const Vector& norm, const float* x, size_t num_tokens, float* out);
  // The flagged tokens' streams at the front of `from` [flagged][S][d] -> `hidden` [flagged][d] -> `logits`.
  void Head(const float* from, size_t num_logits, float* hidden, float* logits);
  void Finish(const engram_batch& batch, engram_step_output* output);
  // ENGRAM_BATCH_LENS: room for what follows; the head over the streams after `layer`; norms of what Engram added.
  void PrepareLens(const engram_batch& batch);
  void Look(uint32_t layer, const engram_batch& batch);
  void MeasureMemory(uint32_t engram_layer, size_t num_tokens);

  const engram_host* const host_;
  const ModelConfig config_;  // max_positions cut to what the KV cache holds
  const Weights weights_;
  const uint32_t max_batch_tokens_;
  const uint32_t max_sequences_;
  ThreadPool pool_;
  const Compute compute_;
  KvCache cache_;
  Attention attention_;
  Mlp mlp_;
  HyperConnections mix_;
  EngramModule engram_;
  std::string device_;
  const std::string weight_type_;

  Step step_;
  std::vector<float> streams_;   // [T][S][d]
  std::vector<float> normed_;    // [T][d]
  std::vector<float> site_out_;  // [T][d]
  std::vector<float> gates_;     // [Engram layers][T][S]
  std::vector<float> hidden_;    // [flagged][d]
  std::vector<float> logits_;    // [flagged][vocab]

  // Of steps with ENGRAM_BATCH_LENS only.
  bool lens_ = false;
  size_t lens_flagged_ = 0;
  std::vector<float> lens_streams_;  // [T][S][d]: flagged tokens at the front; the streams before an Engram module
  std::vector<float> lens_hidden_;   // [flagged][d]
  std::vector<float> lens_logits_;   // [layers][flagged][vocab]
  std::vector<float> memory_norms_;  // [Engram layers][T][S]
  std::vector<float> stream_norms_;  // [Engram layers][T][S]

  std::atomic<uint64_t> num_steps_{0};
  std::atomic<uint64_t> num_tokens_{0};
  std::atomic<uint64_t> step_ns_{0};
};

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_BACKBONE_H_
