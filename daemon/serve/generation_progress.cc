// SPDX-License-Identifier: Apache-2.0
#include "serve/generation_progress.h"

#include <algorithm>
#include <utility>

#include "core/log.h"
#include "serve/lens.h"

namespace engram {

GenerationProgress::GenerationProgress(const Model& model, const RowLayout& layout, EngineMetrics& metrics,
                                       std::function<void(uint64_t id)> on_finished)
    : model_(model),
      layout_(layout),
      metrics_(metrics),
      on_finished_(std::move(on_finished)),
      vocab_size_(model.backbone().info().vocab_size),
      scratch_(vocab_size_) {}

std::span<const float> GenerationProgress::LogitsRow(const StepResult& step, uint32_t row) const {
  return {step.output.logits + size_t{row} * vocab_size_, vocab_size_};
}

void GenerationProgress::Take(const SliceOwner& owner, const StepResult& step) {
  Generation& generation = *owner.generation;
  // A cancelled one is ended before the next step.
  if (generation.finished || generation.cancelled) return;
  if (owner.prefill) return TakePrefill(owner, step);
  Choice& choice = generation.choices[owner.choice];
  if (choice.done) return;
  choice.num_processed += owner.num_tokens;
  if (owner.replay) return;
  std::vector<PositionTrace> traces;
  if (generation.traces_gates || generation.traces_rows)
    traces.push_back(TracePosition(layout_, generation.traces_gates ? step.output.gates : nullptr, step.num_tokens,
                                   owner.first_token, generation.traces_rows ? choice.row_ids.data() : nullptr));
  SampleNext(generation, owner.choice, LogitsRow(step, owner.first_logits), step, std::move(traces));
}

void GenerationProgress::TakePrefill(const SliceOwner& owner, const StepResult& step) {
  Generation& generation = *owner.generation;
  const GenerationRequest& request = generation.request;
  const uint32_t begin = generation.num_prefilled;
  const bool looks = generation.looks_closely();
  const bool traced = request.inspect ? looks : generation.traces_gates || generation.traces_rows;
  for (uint32_t i = 0; traced && i < owner.num_tokens; ++i) {
    generation.prompt_traces.push_back(TracePosition(
        layout_, generation.traces_gates ? step.output.gates : nullptr, step.num_tokens, owner.first_token + i,
        generation.traces_rows ? generation.prompt_row_ids.data() + size_t{begin + i} * layout_.ids_per_token
                               : nullptr));
    if (!looks) continue;
    if (Status seen = Inspect(owner, i, step, generation.prompt_traces.back()); !seen)
      return Fail(generation, std::move(seen).error());
  }
  if (request.prompt_logprobs) {
    if (begin == 0) generation.prompt_logprobs.emplace_back();
    for (uint32_t i = 0; i < owner.num_tokens && begin + i + 1 < request.prompt.size(); ++i) {
      const std::span<const float> logits = LogitsRow(step, owner.first_logits + i);
      if (Status finite = CheckLogits(logits); !finite) return Fail(generation, std::move(finite).error());
      generation.prompt_logprobs.push_back(
          LogprobOf(logits, request.prompt[begin + i + 1], *request.logprobs, scratch_));
    }
  }
  generation.num_prefilled += owner.num_tokens;
  if (!generation.prefilled()) return;
  generation.prompt_row_ids = {};
  generation.prompt_guarded = {};
  if (request.prompt_logprobs || traced) {
    GenerationEvent event;
    event.kind = GenerationEvent::Kind::kPrompt;
    event.prompt_logprobs = std::move(generation.prompt_logprobs);
    event.prompt_traces = std::move(generation.prompt_traces);
    Emit(generation, std::move(event));
    if (generation.cancelled) return;
  }
  if (request.max_tokens == 0) return FinishAll(generation, FinishReason::kLength);
  StartDecoding(generation, LogitsRow(step, owner.first_logits + owner.num_logits - 1), step);
}

Status GenerationProgress::Inspect(const SliceOwner& owner, uint32_t i, const StepResult& step,
                                   PositionTrace& trace) const {
  const BackboneInfo& info = model_.backbone().info();
  const StepOutput& output = step.output;
  const auto norms_of = [&](const float* norms) {
    std::vector<float> of_token;
    for (size_t layer = 0; norms != nullptr && layer < info.engram_layers.size(); ++layer) {
      const float* at = norms + (layer * step.num_tokens + owner.first_token + i) * info.num_streams;
      of_token.insert(of_token.end(), at, at + info.num_streams);
    }
    return of_token;
  };
  if (owner.generation->uses_memory) {
    trace.memory_norms = norms_of(output.memory_norms);
    trace.stream_norms = norms_of(output.stream_norms);
  }
  if (output.lens_logits == nullptr) return {};
  std::vector<std::span<const float>> layers;
  for (size_t layer = 0; layer < info.num_layers; ++layer)
    layers.emplace_back(output.lens_logits + (layer * output.num_logits + owner.first_logits + i) * size_t{vocab_size_},
                        vocab_size_);
  ENGRAM_TRY(trace.lens, LensOf(layers, owner.generation->request.inspect->top));
  return {};
}

void GenerationProgress::StartDecoding(Generation& generation, std::span<const float> logits, const StepResult& step) {
  // The others only held room so far; on this thread nobody can take it between the two calls.
  for (uint32_t i = 1; i < generation.choices.size(); ++i) {
    model_.backbone().FreeSequence(std::exchange(generation.choices[i].sequence, engram_sequence_id{0}));
    Result<engram_sequence_id> fork =
        model_.backbone().ForkSequence(generation.choices[0].sequence, generation.reserve_tokens());
    if (!fork) return Fail(generation, std::move(fork).error());
    generation.choices[i].sequence = *fork;
  }
  for (uint32_t i = 0; i < generation.choices.size(); ++i) {
    StartChoice(model_, generation, i);
    SampleNext(generation, i, logits, step, {});
    if (generation.finished || generation.cancelled) return;
  }
}

void GenerationProgress::SampleNext(Generation& generation, uint32_t index, std::span<const float> logits,
                                    const StepResult& step, std::vector<PositionTrace> traces) {
  const GenerationRequest& request = generation.request;
  Choice& choice = generation.choices[index];
  Result<std::optional<int32_t>> chosen = Choose(request, choice, logits);
  if (!chosen) return Fail(generation, std::move(chosen).error());
  if (!*chosen) return FinishWithHeldText(generation, index, FinishReason::kStop, std::nullopt, std::move(traces));
  const int32_t token = **chosen;
  if (choice.num_generated++ == 0) {
    metrics_.time_to_first_token_seconds.Observe(Seconds(step.ended_at - generation.submitted_at));
  } else {
    metrics_.time_per_output_token_seconds.Observe(Seconds(step.ended_at - choice.last_token_at));
  }
  choice.last_token_at = step.ended_at;
  ++generation.completion_tokens;
  metrics_.generated_tokens.Add();
  if (generation.ends_on(token, model_.eos_token_ids()))
    return FinishWithHeldText(generation, index, FinishReason::kStop, token, std::move(traces));

  const bool last = choice.num_generated == request.max_tokens;
  choice.next_token = token;
  if (choice.recent.size() == kMaxTrackedOrder) choice.recent.erase(choice.recent.begin());
  choice.recent.push_back(token);
  choice.tokens.push_back(token);
  if (generation.uses_memory && !last) {
    choice.row_ids.clear();
    model_.memory()->AppendRowIds(*choice.rows, {&token, 1}, choice.row_ids);
    // Now, so that they come while the token becomes text and the next step is put together.
    choice.asked = model_.memory()->AskRows(generation.view, choice.row_ids);
    if (generation.has_guarded) {
      choice.guarded.clear();
      model_.memory()->AppendGuarded(generation.view, choice.tail, {&token, 1}, 0, choice.guarded);
    }
  }
  GenerationEvent event;
  event.kind = GenerationEvent::Kind::kToken;
  event.choice = index;
  event.token = token;
  if (request.logprobs) event.logprob = LogprobOf(logits, token, *request.logprobs, scratch_);
  StopStrings::Piece piece = choice.stops->Push(choice.decoder->Push(token));
  event.text = std::move(piece.text);
  event.traces = std::move(traces);
  Emit(generation, std::move(event));
  if (piece.stopped) return FinishChoice(generation, index, FinishReason::kStop, std::nullopt, {}, {});
  if (choice.matcher && !generation.cancelled) {
    // Where nothing may follow there is no need to ask the model for an end, which it may not even have.
    const Result<TokenMask> mask = choice.matcher->Mask();
    if (!mask) return Fail(generation, mask.error());
    if (mask->none && mask->can_end)
      return FinishWithHeldText(generation, index, FinishReason::kStop, std::nullopt, {});
  }
  if (last) FinishWithHeldText(generation, index, FinishReason::kLength, std::nullopt, {});
}

Result<std::optional<int32_t>> GenerationProgress::Choose(const GenerationRequest& request, Choice& choice,
                                                          std::span<const float> logits) {
  if (!choice.matcher) {
    ENGRAM_TRY(const int32_t token, choice.sampler->Sample(logits, scratch_));
    return std::optional(token);
  }
  ENGRAM_TRY(const TokenMask mask, choice.matcher->Mask());
  if (mask.none && mask.can_end) return std::optional<int32_t>();
  if (mask.none) return InvalidArgument("no token of the vocabulary goes on as the grammar asks", "grammar");
  std::span<const uint64_t> allowed = mask.allowed;
  const auto has = [&](int32_t token) {
    return (mask.allowed[static_cast<size_t>(token) / 64] >> (static_cast<size_t>(token) % 64) & 1) != 0;
  };
  if (mask.can_end) {
    allowed_.assign(allowed.begin(), allowed.end());
    const auto allow = [&](int32_t token) {
      allowed_[static_cast<size_t>(token) / 64] |= uint64_t{1} << (static_cast<size_t>(token) % 64);
    };
    if (!request.ignore_eos) std::for_each(model_.eos_token_ids().begin(), model_.eos_token_ids().end(), allow);
    std::for_each(request.stop_token_ids.begin(), request.stop_token_ids.end(), allow);
    allowed = allowed_;
  }
  ENGRAM_TRY(const int32_t token, choice.sampler->Sample(logits, scratch_, allowed));
  // One that only ends the text is no part of it.
  if (has(token)) ENGRAM_CHECK_OK(choice.matcher->Accept(token));
  return std::optional(token);
}

void GenerationProgress::Emit(Generation& generation, GenerationEvent event) {
  if (generation.listener->OnEvent(std::move(event))) return;
  generation.cancelled = true;
}

void GenerationProgress::FinishWithHeldText(Generation& generation, uint32_t index, FinishReason reason,
                                            std::optional<int32_t> stop_token, std::vector<PositionTrace> traces) {
  Choice& choice = generation.choices[index];
  std::string text;
  if (choice.decoder) {
    StopStrings::Piece piece = choice.stops->Push(choice.decoder->Finish());
    text = std::move(piece.text);
    if (!piece.stopped) text += choice.stops->Finish();
    if (piece.stopped && reason == FinishReason::kLength) reason = FinishReason::kStop;
  }
  FinishChoice(generation, index, reason, stop_token, std::move(text), std::move(traces));
}

void GenerationProgress::FinishChoice(Generation& generation, uint32_t index, FinishReason reason,
                                      std::optional<int32_t> stop_token, std::string text,
                                      std::vector<PositionTrace> traces) {
  Choice& choice = generation.choices[index];
  if (choice.sequence != 0) model_.backbone().FreeSequence(std::exchange(choice.sequence, engram_sequence_id{0}));
  choice.done = true;
  choice.asked = nullptr;
  choice.reason = reason;
  GenerationEvent event;
  event.kind = GenerationEvent::Kind::kChoiceDone;
  event.choice = index;
  event.text = std::move(text);
  event.traces = std::move(traces);
  event.finish_reason = reason;
  event.stop_token = stop_token;
  event.skipped_from = choice.skipped_from;
  event.skip_reason = generation.skip_reason;
  Emit(generation, std::move(event));
  if (std::all_of(generation.choices.begin(), generation.choices.end(), [](const Choice& c) { return c.done; }))
    FinishGeneration(generation);
}

void GenerationProgress::FinishAll(Generation& generation, FinishReason reason) {
  for (uint32_t i = 0; i < generation.choices.size(); ++i)
    if (!generation.choices[i].done) FinishWithHeldText(generation, i, reason, std::nullopt, {});
}

void GenerationProgress::Fail(Generation& generation, Error error) {
  generation.error = std::move(error);
  FinishAll(generation, FinishReason::kError);
}

Status GenerationProgress::RenewSequence(const Generation& generation, Choice& choice) {
  // On this thread nobody can take the room between the two calls.
  model_.backbone().FreeSequence(std::exchange(choice.sequence, engram_sequence_id{0}));
  ENGRAM_TRY(choice.sequence, model_.backbone().NewSequence(generation.reserve_tokens()));
  return {};
}

void GenerationProgress::Restart(Generation& generation) {
  if (!generation.prefilled()) {
    generation.num_prefilled = 0;
    generation.prompt_logprobs.clear();
    generation.prompt_traces.clear();
    if (Status renewed = RenewSequence(generation, generation.choices[0]); !renewed)
      Fail(generation, std::move(renewed).error());
    return;
  }
  for (Choice& choice : generation.choices) {
    if (choice.done) continue;
    choice.num_processed = 0;
    if (Status renewed = RenewSequence(generation, choice); !renewed)
      return Fail(generation, std::move(renewed).error());
  }
}

void GenerationProgress::SkipMemory(Generation& generation, const Error& reason) {
  generation.uses_memory = generation.traces_gates = generation.traces_rows = generation.has_guarded = false;
  generation.skip_reason = reason.message;
  generation.progress->store(UINT32_MAX, std::memory_order_relaxed);
  for (Choice& choice : generation.choices) {
    choice.asked = nullptr;
    if (!choice.done) choice.skipped_from = choice.num_generated;
  }
  metrics_.memory_skips.Add();
  Restart(generation);
}

void GenerationProgress::FinishGeneration(Generation& generation) {
  // One reason per request: the worst of its choices.
  FinishReason reason = generation.choices[0].reason;
  for (const Choice& choice : generation.choices) reason = std::max(reason, choice.reason);
  metrics_.requests[static_cast<size_t>(reason)]->Add();
  metrics_.request_seconds.Observe(Seconds(std::chrono::steady_clock::now() - generation.submitted_at));
  log::Debug("generation {} of {} done: {}, {} prompt and {} generated tokens", generation.request.request_id,
             model_.name(), FinishReasonName(reason), generation.request.prompt.size(), generation.completion_tokens);
  GenerationEvent event;
  event.kind = GenerationEvent::Kind::kDone;
  event.finish_reason = reason;
  event.usage = {static_cast<uint32_t>(generation.request.prompt.size()), generation.completion_tokens, 0};
  event.memory_version = generation.view.version();
  event.error = std::move(generation.error);
  if (generation.progress) generation.progress->store(UINT32_MAX, std::memory_order_relaxed);
  // Who hears that it is done may rely on what it held being let go.
  generation.has_guarded = false;
  generation.view = {};
  Emit(generation, std::move(event));
  generation.finished = true;
  on_finished_(generation.id);
}

}  // namespace engram
