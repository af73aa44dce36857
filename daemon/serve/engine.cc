// SPDX-License-Identifier: Apache-2.0
#include "serve/engine.h"

#include <pthread.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <unordered_map>

#include "core/log.h"
#include "serve/batch_builder.h"
#include "serve/engine_metrics.h"
#include "serve/fair_queue.h"
#include "serve/gate_recorder.h"
#include "serve/generation_progress.h"
#include "serve/request_check.h"
#include "serve/sequence.h"

namespace engram {
namespace {

EngineOptions Effective(EngineOptions options, const BackboneInfo& info) {
  options.max_batch_tokens = std::max(1u, std::min(options.max_batch_tokens, info.max_batch_tokens));
  options.prefill_chunk = std::max(1u, options.prefill_chunk);
  // Every running choice must fit in every step, or some would starve.
  options.max_running = std::max(1u, std::min({options.max_running, info.max_sequences, options.max_batch_tokens}));
  options.max_choices = std::max(1u, std::min(options.max_choices, options.max_running));
  return options;
}

// Tokens of a step that looks closely: its logits of every layer take at most 64 MiB, or one token's.
uint32_t InspectChunk(const BackboneInfo& info) {
  const uint64_t floats = uint64_t{info.num_layers} * info.vocab_size;
  return static_cast<uint32_t>(std::clamp<uint64_t>((uint64_t{16} << 20) / floats, 1, 32));
}

std::unique_ptr<GateStatistics> MakeGateStatistics(const GateStatisticsOptions& options, const Model& model) {
  const ModelMemory* memory = model.memory();
  if (memory == nullptr || !options.enabled) return nullptr;
  return std::make_unique<GateStatistics>(options, memory->layers(), model.backbone().info().num_streams,
                                          memory->config().max_ngram_size);
}

uint64_t RandomSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// Ends the batch however the step went.
class BatchRows {
 public:
  BatchRows(ModelMemory* memory, const Batch& batch) : memory_(memory) {
    if (!batch.rows.empty()) rows_ = memory_->BeginBatch(static_cast<uint32_t>(batch.tokens.size()), batch.rows);
  }
  ~BatchRows() {
    if (rows_ != nullptr) memory_->EndBatch(rows_);
  }
  BatchRows(const BatchRows&) = delete;
  BatchRows& operator=(const BatchRows&) = delete;
  engram_batch_rows* get() const { return rows_; }

 private:
  ModelMemory* memory_;
  engram_batch_rows* rows_ = nullptr;
};

}  // namespace

struct Engine::Impl {
  Impl(std::unique_ptr<Model> m, EngineOptions o, MetricRegistry& registry);

  // Any thread.
  Result<GenerationId> Submit(GenerationRequest request, std::shared_ptr<GenerationListener> listener);
  void Cancel(GenerationId id);
  void CancelAllLocked();
  Stats ReadStats() const;

  // Engine thread.
  void Run();
  bool WaitForWork(std::vector<std::unique_ptr<Generation>>& cancelled);
  void Iterate();
  void Admit();
  Status Reserve(Generation& generation);
  void Step();
  Result<StepOutput> RunBackbone();
  Status AwaitAllRows(engram_batch_rows* rows) const;
  void StepFailed(const Error& error);
  void MemoryFailed(Generation& generation, const Error& error);
  void LeaveQueue(size_t count);
  void Forget(GenerationId id);

  const std::unique_ptr<Model> model;
  const EngineOptions options;
  const RowLayout layout;
  EngineMetrics metrics;
  const std::unique_ptr<GateStatistics> gates;  // nullptr: not counted

  mutable std::mutex mutex;
  std::condition_variable wake;  // the engine thread: work came
  std::condition_variable idle;  // Drain(): live became empty
  // Guarded by mutex.
  FairQueue queue;
  uint32_t num_queued = 0;                             // in the queue or next to be admitted
  std::unordered_map<GenerationId, Generation*> live;  // from Submit() until kDone was sent
  GenerationId next_id = 1;
  bool cancel_requested = false;
  bool draining = false;
  bool stopping = false;

  // The engine thread's.
  std::unique_ptr<Generation> next;  // left the queue, waits for room
  std::vector<std::unique_ptr<Generation>> running;
  uint32_t num_running = 0;  // sequences of `running`
  BatchBuilder builder;
  Batch batch;
  bool stepped = false;               // the backbone has seen the batch
  std::optional<Error> rows_failure;  // why the batch had no rows
  std::optional<Error> last_rows_failure;
  GenerationProgress progress;
  std::optional<GateRecorder> recorder;  // with `gates`

  std::atomic<uint32_t> running_now{0};  // num_running for stats()
  std::thread thread;
  std::shared_ptr<void> collector;  // last: reads the members above
};

Engine::Impl::Impl(std::unique_ptr<Model> m, EngineOptions o, MetricRegistry& registry)
    : model(std::move(m)),
      options(Effective(o, model->backbone().info())),
      layout(*model),
      metrics(registry, model->name()),
      gates(MakeGateStatistics(options.gates, *model)),
      builder({options.max_batch_tokens, options.prefill_chunk, InspectChunk(model->backbone().info())},
              layout.ids_per_token),
      progress(*model, layout, metrics, [this](GenerationId id) { Forget(id); }) {
  if (gates != nullptr) recorder.emplace(*model, *gates);
  collector = registry.AddCollector([this](MetricSink& sink) {
    const Stats stats = ReadStats();
    CollectGauges(sink, model->name(),
                  {static_cast<double>(stats.queued), static_cast<double>(stats.running),
                   static_cast<double>(stats.kv_used_tokens), static_cast<double>(stats.kv_capacity_tokens)});
    if (model->memory() != nullptr) CollectMemory(sink, model->name(), *model->memory());
    if (gates != nullptr) CollectGates(sink, model->name(), *gates);
  });
}

Result<GenerationId> Engine::Impl::Submit(GenerationRequest request, std::shared_ptr<GenerationListener> listener) {
  const BackboneInfo& info = model->backbone().info();
  ENGRAM_CHECK_OK(CheckRequest(request, {info.vocab_size, info.max_positions, options.max_choices}));
  const auto admissible = [this]() -> Status {
    if (draining) return Unavailable("the model \"" + model->name() + "\" is shutting down");
    if (num_queued >= options.max_queued)
      return ResourceExhausted(fmt::format("{} requests are waiting already, which is the limit", num_queued));
    return {};
  };
  {
    // Asked before the row ids are computed, so that a flood of requests costs little, and again when queueing.
    std::lock_guard lock(mutex);
    ENGRAM_CHECK_OK(admissible());
  }
  ENGRAM_TRY(std::unique_ptr<Generation> generation,
             MakeGeneration(*model, layout, std::move(request), std::move(listener), RandomSeed()));
  const uint64_t needed = uint64_t{generation->reserve_tokens()} * generation->num_sequences();
  if (needed > info.kv_capacity_tokens)
    return ResourceExhausted(
        fmt::format("the request needs {} positions of KV cache (n {} times prompt {} + max_tokens "
                    "{}), all of the cache holds {}",
                    needed, generation->num_sequences(), generation->request.prompt.size(),
                    generation->request.max_tokens, info.kv_capacity_tokens));
  LookAhead(*model, *generation, 0);
  GenerationId id = 0;
  {
    std::lock_guard lock(mutex);
    ENGRAM_CHECK_OK(admissible());
    id = generation->id = next_id++;
    live.emplace(id, generation.get());
    queue.Push(std::move(generation));
    ++num_queued;
  }
  wake.notify_one();
  return id;
}

void Engine::Impl::Cancel(GenerationId id) {
  {
    std::lock_guard lock(mutex);
    const auto found = live.find(id);
    if (found == live.end()) return;
    found->second->cancelled = true;
    cancel_requested = true;
  }
  wake.notify_one();
}

void Engine::Impl::CancelAllLocked() {
  for (const auto& [id, generation] : live) generation->cancelled = true;
  cancel_requested = true;
}

Engine::Stats Engine::Impl::ReadStats() const {
  Stats stats;
  {
    std::lock_guard lock(mutex);
    stats.queued = num_queued;
    stats.draining = draining;
  }
  stats.running = running_now;
  stats.kv_capacity_tokens = model->backbone().info().kv_capacity_tokens;
  if (const Result<engram_backbone_stats> backbone = model->backbone().Stats())
    stats.kv_used_tokens = backbone->kv_used_tokens;
  return stats;
}

void Engine::Impl::Run() {
  pthread_setname_np(pthread_self(), "engine");
  std::vector<std::unique_ptr<Generation>> cancelled;
  while (WaitForWork(cancelled)) {
    LeaveQueue(cancelled.size());
    for (const std::unique_ptr<Generation>& generation : cancelled)
      progress.FinishAll(*generation, FinishReason::kCancelled);
    cancelled.clear();
    try {
      Iterate();
    } catch (const std::exception& e) {
      // The thread root: only the allocator throws here, so what was running gives its memory back.
      log::Error("engine of {}: {}", model->name(), e.what());
      for (const std::unique_ptr<Generation>& generation : running)
        if (!generation->finished) progress.Fail(*generation, ResourceExhausted(std::string("engine: ") + e.what()));
    }
    std::erase_if(running, [](const std::unique_ptr<Generation>& generation) { return generation->finished; });
    num_running = 0;
    for (const std::unique_ptr<Generation>& generation : running) num_running += generation->num_sequences();
    running_now = num_running;
  }
}

bool Engine::Impl::WaitForWork(std::vector<std::unique_ptr<Generation>>& cancelled) {
  std::unique_lock lock(mutex);
  wake.wait(lock, [this] { return stopping || cancel_requested || num_queued > 0 || !running.empty(); });
  if (stopping && live.empty()) return false;
  if (std::exchange(cancel_requested, false)) cancelled = queue.TakeCancelled();
  return true;
}

void Engine::Impl::LeaveQueue(size_t count) {
  std::lock_guard lock(mutex);
  num_queued -= static_cast<uint32_t>(count);
}

void Engine::Impl::Forget(GenerationId id) {
  std::lock_guard lock(mutex);
  live.erase(id);
  if (live.empty()) idle.notify_all();
}

void Engine::Impl::Iterate() {
  for (const std::unique_ptr<Generation>& generation : running)
    if (generation->cancelled && !generation->finished) progress.FinishAll(*generation, FinishReason::kCancelled);
  Admit();
  Step();
}

void Engine::Impl::Admit() {
  while (true) {
    if (next == nullptr) {
      std::lock_guard lock(mutex);
      next = queue.Pop();
    }
    if (next == nullptr) return;
    if (next->cancelled) {
      LeaveQueue(1);
      progress.FinishAll(*next, FinishReason::kCancelled);
      next = nullptr;
      continue;
    }
    if (num_running + next->num_sequences() > options.max_running) return;
    if (Status reserved = Reserve(*next); !reserved) {
      // Who comes first waits for room rather than being overtaken: later, smaller requests could keep it out forever.
      // With nothing running no room will ever come.
      const bool may_pass = reserved.error().code == ErrorCode::kResourceExhausted && num_running > 0;
      if (may_pass) return;
      LeaveQueue(1);
      progress.Fail(*next, std::move(reserved).error());
      next = nullptr;
      continue;
    }
    LeaveQueue(1);
    if (next->uses_memory && model->memory()->stalled()) {
      // In a batch it would only take the others' time.
      MemoryFailed(*next, last_rows_failure.value_or(Unavailable("a tier of the model's memory does not answer")));
      if (next->finished) {
        next = nullptr;
        continue;
      }
    }
    next->admitted_at = std::chrono::steady_clock::now();
    metrics.queue_seconds.Observe(Seconds(next->admitted_at - next->submitted_at));
    metrics.prompt_tokens.Add(next->request.prompt.size());
    num_running += next->num_sequences();
    running.push_back(std::move(next));
    running_now = num_running;
  }
}

Status Engine::Impl::Reserve(Generation& generation) {
  for (uint32_t i = 0; i < generation.num_sequences(); ++i) {
    Result<engram_sequence_id> sequence = model->backbone().NewSequence(generation.reserve_tokens());
    if (sequence) {
      generation.choices[i].sequence = *sequence;
      continue;
    }
    for (uint32_t j = 0; j < i; ++j)
      model->backbone().FreeSequence(std::exchange(generation.choices[j].sequence, engram_sequence_id{0}));
    return std::move(sequence).error();
  }
  return {};
}

void Engine::Impl::Step() {
  builder.Build(running, batch);
  if (batch.tokens.empty()) return;
  for (const SliceOwner& owner : batch.owners)
    if (owner.prefill) LookAhead(*model, *owner.generation, owner.generation->num_prefilled + owner.num_tokens);
  const SteadyTime started_at = std::chrono::steady_clock::now();
  Result<StepOutput> output = RunBackbone();
  const SteadyTime ended_at = std::chrono::steady_clock::now();
  metrics.step_seconds.Observe(Seconds(ended_at - started_at));
  metrics.batch_tokens.Observe(static_cast<double>(batch.tokens.size()));
  metrics.batch_sequences.Observe(static_cast<double>(batch.slices.size()));
  if (!output) return StepFailed(output.error());
  const StepResult result{*output, static_cast<uint32_t>(batch.tokens.size()), ended_at};
  for (const SliceOwner& owner : batch.owners) progress.Take(owner, result);
}

void Engine::Impl::StepFailed(const Error& error) {
  log::Error("step of {} with {} tokens of {} sequences failed: {}", model->name(), batch.tokens.size(),
             batch.slices.size(), error.message);
  // A generation has one owner for each of its choices.
  std::vector<Generation*> generations;
  for (const SliceOwner& owner : batch.owners)
    if (std::find(generations.begin(), generations.end(), owner.generation) == generations.end())
      generations.push_back(owner.generation);
  if (rows_failure) last_rows_failure = rows_failure;
  for (Generation* generation : generations) {
    if (generation->finished || generation->cancelled) continue;
    if (!rows_failure) {
      progress.Fail(*generation, error);
    } else if (generation->uses_memory) {
      MemoryFailed(*generation, *rows_failure);
    } else if (stepped) {
      progress.Restart(*generation);
    }
  }
}

void Engine::Impl::MemoryFailed(Generation& generation, const Error& error) {
  if (generation.request.memory.skip_on_error) return progress.SkipMemory(generation, error);
  progress.Fail(generation, error);
}

Status Engine::Impl::AwaitAllRows(engram_batch_rows* rows) const {
  for (uint32_t layer = 0; layer < model->memory()->layers().size(); ++layer)
    if (auto view = model->memory()->AwaitRows(rows, layer); !view) return std::move(view).error();
  return {};
}

Result<StepOutput> Engine::Impl::RunBackbone() {
  BatchRows rows(model->memory(), batch);
  rows_failure.reset();
  stepped = false;
  // A step that fails on its way costs every sequence in it; where that is likely, rows come first.
  if (rows.get() != nullptr && model->memory()->failing()) {
    if (Status come = AwaitAllRows(rows.get()); !come) {
      rows_failure = come.error();
      return std::move(come).error();
    }
  }
  stepped = true;
  engram_batch step{};
  const bool counts_gates = recorder && gates->counting() && rows.get() != nullptr;
  step.flags = batch.wants_gates || counts_gates ? uint32_t{ENGRAM_BATCH_GATES} : 0u;
  if (batch.wants_lens) step.flags |= ENGRAM_BATCH_LENS;
  step.num_slices = static_cast<uint32_t>(batch.slices.size());
  step.num_tokens = static_cast<uint32_t>(batch.tokens.size());
  step.slices = batch.slices.data();
  step.tokens = batch.tokens.data();
  step.wants_logits = batch.wants_logits.data();
  step.rows = rows.get();
  Result<StepOutput> done = model->backbone().Step(step);
  if (!done) {
    if (rows.get() != nullptr) rows_failure = model->memory()->BatchFailure();
    return done;
  }
  StepOutput output = *std::move(done);
  if (output.num_logits != batch.num_logits || (output.logits == nullptr && batch.num_logits > 0))
    return Internal(
        fmt::format("the backbone returned {} rows of logits, {} were asked for", output.num_logits, batch.num_logits));
  if (batch.wants_gates && output.gates == nullptr)
    return Internal("the backbone returned no gates when asked for them");
  if (counts_gates) recorder->Record(batch, output.gates, rows.get());
  return output;
}

Engine::Engine(std::unique_ptr<Model> model, EngineOptions options, MetricRegistry& metrics)
    : impl_(std::make_shared<Impl>(std::move(model), options, metrics)) {
  impl_->thread = std::thread([impl = impl_] { impl->Run(); });
}

Engine::~Engine() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->draining = impl_->stopping = true;
    impl_->CancelAllLocked();
  }
  impl_->wake.notify_one();
  if (impl_->thread.get_id() == std::this_thread::get_id()) {
    impl_->thread.detach();
  } else {
    impl_->thread.join();
  }
}

const Model& Engine::model() const {
  return *impl_->model;
}

GateStatistics* Engine::gate_statistics() const {
  return impl_->gates.get();
}

Result<GenerationId> Engine::Submit(GenerationRequest request, std::shared_ptr<GenerationListener> listener) {
  return impl_->Submit(std::move(request), std::move(listener));
}

void Engine::Cancel(GenerationId id) {
  impl_->Cancel(id);
}

void Engine::Drain(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(impl_->mutex);
  impl_->draining = true;
  const auto none_left = [this] { return impl_->live.empty(); };
  // A deadline already over is acted on at once, without giving the lock away in between.
  if (std::chrono::steady_clock::now() < deadline && impl_->idle.wait_until(lock, deadline, none_left)) return;
  impl_->CancelAllLocked();
  impl_->wake.notify_one();
  impl_->idle.wait(lock, none_left);
}

Engine::Stats Engine::stats() const {
  return impl_->ReadStats();
}

}  // namespace engram
