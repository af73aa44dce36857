// SPDX-License-Identifier: Apache-2.0
// Engine: serves one model. Owns the engine thread, which admits requests, builds batches (continuous batching, chunked
// prefill), steps the backbone, samples, and reports events. Everything handed in is bounded.
//
// Threads: Submit(), Cancel(), Drain() and stats() from any thread; listeners are called on the engine thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "core/metrics.h"
#include "core/result.h"
#include "serve/gate_statistics.h"
#include "serve/generation.h"
#include "serve/model.h"

namespace engram {

struct EngineOptions {
  uint32_t max_queued = 256;        // requests waiting for admission; more: kResourceExhausted
  uint32_t max_running = 64;        // choices in the batch at once; also bounded by the backbone and the next
  uint32_t max_batch_tokens = 512;  // tokens per step; also bounded by the backbone
  uint32_t prefill_chunk = 256;     // most prompt tokens of one sequence per step
  uint32_t max_choices = 16;        // n per request
  GateStatisticsOptions gates;
  bool operator==(const EngineOptions&) const = default;
};

using GenerationId = uint64_t;

class Engine {
 public:
  // Takes the model; starts the thread. Metrics of serve/ and memory/ are registered in `metrics`, which must outlive
  // the engine.
  Engine(std::unique_ptr<Model> model, EngineOptions options, MetricRegistry& metrics);
  // Cancels what is left (their listeners get their last events) and joins. On the engine thread itself, when a
  // listener held the last reference, the thread ends on its own right after.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const Model& model() const;
  // What the memory's gates did; nullptr when they are not counted (a plain model, or switched off).
  GateStatistics* gate_statistics() const;

  // Checks the request (kInvalidArgument with the field: token ids, lengths, ranges), computes its row ids on the
  // calling thread and queues it. kResourceExhausted when the queue is full or the request can never fit the KV cache,
  // kUnavailable while draining. Events may come before it returns.
  Result<GenerationId> Submit(GenerationRequest request, std::shared_ptr<GenerationListener> listener);
  // Stops a generation at the next token; unknown ids are ignored.
  void Cancel(GenerationId id);

  // Refuses new requests and waits until all are done or the deadline has passed, then cancels the rest and waits until
  // they have ended too (at most one step). Idempotent. Not to be called by a listener.
  void Drain(std::chrono::steady_clock::time_point deadline);

  struct Stats {
    uint32_t queued = 0;
    uint32_t running = 0;
    uint64_t kv_used_tokens = 0;
    uint64_t kv_capacity_tokens = 0;
    bool draining = false;
  };
  Stats stats() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // the engine thread holds the other reference
};

}  // namespace engram
