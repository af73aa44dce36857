// SPDX-License-Identifier: Apache-2.0
// POST /admin/v1/inspect: a close look at what memory does at the tokens of a prompt.
#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <limits>

#include "core/json_text.h"
#include "http/endpoints.h"
#include "http/event_queue.h"
#include "http/generation_params.h"
#include "http/generation_reply.h"
#include "http/json_body.h"
#include "http/json_fields.h"
#include "http/json_out.h"

namespace engram {
namespace {

// Of one request. Each costs a product with the output head per layer, and some kilobytes of answer.
constexpr uint32_t kMaxInspected = 4096;
constexpr int64_t kMaxTop = 20;
constexpr int64_t kWholePrompt = UINT32_MAX;  // `count` where none is given

// Runs the prompt with memory, and without it to compare, and writes both once they are done.
class InspectReply final : public ReplySource {
 public:
  InspectReply(std::shared_ptr<Engine> engine, GenerationRequest request, bool compare)
      : engine_(std::move(engine)),
        request_(std::move(request)),
        queue_(std::make_shared<EventQueue>(std::numeric_limits<size_t>::max())),
        runs_(compare ? 2 : 1) {}
  ~InspectReply() override {
    queue_->Detach();
    for (const Run& run : runs_)
      if (run.id != 0 && !run.done) engine_->Cancel(run.id);
  }

  Status Submit() {
    const ModelMemory* memory = engine_->model().memory();
    if (memory != nullptr) {
      // Where rows lie is asked of the version that is run, even if another commit comes in between.
      ENGRAM_TRY(view_, memory->View(request_.memory.as_of, request_.memory.overlays));
      request_.memory.as_of = view_.version();
      if (view_.has_guarded()) {
        SuffixTail tail;
        memory->AppendGuarded(view_, tail, request_.prompt, 0, guarded_);
      }
    }
    for (uint32_t i = 0; i < runs_.size(); ++i) {
      GenerationRequest request = request_;
      request.memory.enabled = i == 0;
      ENGRAM_TRY(runs_[i].id, engine_->Submit(std::move(request), std::make_shared<QueueListener>(queue_, i)));
    }
    return {};
  }
  void Start(std::function<void()> wake) override { queue_->SetWake(std::move(wake)); }
  Step Poll() override;

 private:
  struct Run {
    GenerationId id = 0;
    bool done = false;
    std::vector<PositionTrace> traces;  // [tokens from InspectParams::from on]
  };
  std::string Body() const;
  void AppendPosition(std::string& out, size_t t) const;
  void AppendByLayer(std::string& out, const std::vector<float>& values) const;
  void AppendLens(std::string& out, const std::vector<LensLayer>& lens) const;
  void AppendRows(std::string& out, const std::vector<uint64_t>& rows) const;

  const std::shared_ptr<Engine> engine_;
  GenerationRequest request_;
  MemoryView view_;
  std::vector<GuardedMatch> guarded_;  // of the prompt's tokens, ascending
  const std::shared_ptr<EventQueue> queue_;
  std::vector<Run> runs_;  // with memory, then without
  std::optional<ApiError> error_;
};

ReplySource::Step InspectReply::Poll() {
  bool overflowed = false;
  for (EventQueue::Item& item : queue_->TakeAll(overflowed)) {
    Run& run = runs_[item.prompt];
    if (item.event.kind == GenerationEvent::Kind::kPrompt) run.traces = std::move(item.event.prompt_traces);
    if (item.event.kind != GenerationEvent::Kind::kDone) continue;
    run.done = true;
    if (item.event.error)
      error_.emplace(*item.event.error);
    else if (item.event.finish_reason == FinishReason::kCancelled)
      error_.emplace(503, "the model is shutting down");
  }
  Step step;
  if (!error_ && std::any_of(runs_.begin(), runs_.end(), [](const Run& run) { return !run.done; })) return step;
  step.done = true;
  step.head.emplace();
  if (error_) {
    step.head = ErrorResponse(*error_);
  } else {
    step.head->body = Body();
  }
  return step;
}

void InspectReply::AppendByLayer(std::string& out, const std::vector<float>& values) const {
  const std::vector<uint32_t>& layers = engine_->model().memory()->layers();
  const size_t num_streams = values.size() / layers.size();
  out += '{';
  for (size_t l = 0; l < layers.size(); ++l) {
    out += fmt::format("{}\"{}\":[", l == 0 ? "" : ",", layers[l]);
    for (size_t s = 0; s < num_streams; ++s) {
      if (s > 0) out += ',';
      AppendFloat(out, values[l * num_streams + s]);
    }
    out += ']';
  }
  out += '}';
}

void InspectReply::AppendLens(std::string& out, const std::vector<LensLayer>& lens) const {
  out += '[';
  for (size_t layer = 0; layer < lens.size(); ++layer) {
    out += fmt::format("{}{{\"layer\":{},\"kl\":", layer == 0 ? "" : ",", layer);
    AppendFloat(out, lens[layer].kl);
    out += ",\"top\":[";
    for (size_t i = 0; i < lens[layer].top.size(); ++i) {
      const auto& [token, probability] = lens[layer].top[i];
      out += fmt::format("{}{{\"token\":{},\"text\":", i == 0 ? "" : ",", token) +
             JsonQuote(TokenText(engine_->model().tokenizer(), token)) + ",\"p\":";
      AppendFloat(out, probability);
      out += '}';
    }
    out += "]}";
  }
  out += ']';
}

void InspectReply::AppendRows(std::string& out, const std::vector<uint64_t>& rows) const {
  const ModelMemory& memory = *engine_->model().memory();
  const size_t num_columns = memory.geometry().num_columns;
  out += '{';
  for (uint32_t l = 0; l < memory.layers().size(); ++l) {
    const auto ids = std::span(rows).subspan(l * num_columns, num_columns);
    const std::vector<RowPlace> places = memory.FindPlaces(view_, l, ids);
    out += fmt::format("{}\"{}\":[", l == 0 ? "" : ",", memory.layers()[l]);
    for (size_t c = 0; c < num_columns; ++c) {
      out += fmt::format("{}{{\"row\":{},\"order\":{},\"head\":{},\"from\":", c == 0 ? "" : ",", ids[c],
                         c / memory.config().num_heads + 2, c % memory.config().num_heads) +
             JsonQuote(RowPlaceKindName(places[c].kind));
      if (!places[c].name.empty()) out += ",\"name\":" + JsonQuote(places[c].name);
      if (places[c].kind == RowPlace::Kind::kCommit) out += fmt::format(",\"version\":{}", places[c].version);
      out += '}';
    }
    out += ']';
  }
  out += '}';
}

void InspectReply::AppendPosition(std::string& out, size_t t) const {
  const size_t index = t - request_.inspect->from;
  const PositionTrace& on = runs_[0].traces[index];
  const int32_t token = request_.prompt[t];
  out += fmt::format("{{\"position\":{},\"token\":{},\"text\":", t, token) +
         JsonQuote(TokenText(engine_->model().tokenizer(), token));
  if (!on.gates.empty()) {
    out += ",\"gates\":";
    AppendByLayer(out, on.gates);
    out += ",\"rows\":";
    AppendRows(out, on.rows);
  }
  for (const GuardedMatch& match : guarded_)
    if (match.token == t && !on.gates.empty())
      out += fmt::format(",\"guarded\":{{\"suffix_tokens\":{}}}", match.entry->suffix.size());
  if (!on.memory_norms.empty()) {
    out += ",\"memory_norms\":";
    AppendByLayer(out, on.memory_norms);
    out += ",\"stream_norms\":";
    AppendByLayer(out, on.stream_norms);
  }
  out += ",\"lens\":";
  AppendLens(out, on.lens);
  if (runs_.size() > 1) {
    out += ",\"off\":{\"lens\":";
    AppendLens(out, runs_[1].traces[index].lens);
    out += '}';
  }
  out += '}';
}

std::string InspectReply::Body() const {
  const Model& model = engine_->model();
  std::string out =
      "{\"model\":" + JsonQuote(model.name()) +
      fmt::format(",\"memory_version\":{},\"num_layers\":{},\"num_streams\":{},\"engram_layers\":[", view_.version(),
                  model.backbone().info().num_layers, model.backbone().info().num_streams);
  const std::vector<uint32_t>& layers = model.backbone().info().engram_layers;
  for (size_t l = 0; l < layers.size(); ++l) out += (l == 0 ? "" : ",") + std::to_string(layers[l]);
  out += "],\"tokens\":";
  AppendInts(out, request_.prompt);
  out += ",\"positions\":[";
  for (size_t t = request_.inspect->from; t < request_.prompt.size(); ++t) {
    if (t > request_.inspect->from) out += ',';
    AppendPosition(out, t);
  }
  out += "]}\n";
  return out;
}

Result<std::unique_ptr<ReplySource>> Inspect(const EngineDirectory& engines, const Request& request) {
  ENGRAM_TRY(const boost::json::object body, ParseJsonObject(request.body));
  JsonFields fields(body);
  ENGRAM_TRY(std::shared_ptr<Engine> engine, FindEngine(fields, engines));
  const Model& model = engine->model();
  const ModelLimits limits = LimitsOf(model);
  GenerationRequest look;
  ReadMemoryParams(fields, look.memory);
  look.inspect.emplace();
  look.inspect->top = static_cast<uint32_t>(fields.Int("top", 5, 0, kMaxTop));
  const bool compare = fields.Bool("compare", true);
  const bool add_special_tokens = fields.Bool("add_special_tokens", true);
  look.inspect->from = static_cast<uint32_t>(fields.Int("from", 0, 0, UINT32_MAX));
  const auto count = static_cast<size_t>(fields.Int("count", kWholePrompt, 1, kWholePrompt));
  const boost::json::value* prompt = fields.Value("prompt");
  if (prompt == nullptr) fields.Fail("prompt", "is required");
  ENGRAM_CHECK_OK(fields.Finish());
  ENGRAM_TRY(auto prompts, ReadPrompts(*prompt, model.tokenizer(), add_special_tokens, limits, /*max_prompts=*/1));
  look.prompt = std::move(prompts.front());
  const size_t from = look.inspect->from;
  if (from >= look.prompt.size())
    return InvalidArgument(fmt::format("from is {}, the prompt has {} tokens", from, look.prompt.size()), "from");
  // What comes after the window has no part in it.
  if (count < look.prompt.size() - from) look.prompt.resize(from + count);
  if (look.prompt.size() - from > kMaxInspected)
    return InvalidArgument(fmt::format("{} tokens are to be inspected, at most {} are at once (\"from\", \"count\")",
                                       look.prompt.size() - from, kMaxInspected),
                           count == kWholePrompt ? "prompt" : "count");
  look.request_id = request.request_id;
  look.client = request.client;
  AttachKeyOverlays(request.key.get(), fields, model, look.memory);
  look.max_tokens = 0;
  look.memory.gates = look.memory.rows = true;
  const bool has_memory = model.memory() != nullptr && look.memory.enabled;
  auto reply = std::make_unique<InspectReply>(std::move(engine), std::move(look), compare && has_memory);
  ENGRAM_CHECK_OK(reply->Submit());
  return std::unique_ptr<ReplySource>(std::move(reply));
}

}  // namespace

void AddInspectEndpoints(Router& router, const EndpointEnvironment& environment) {
  router.Add("POST", "/admin/v1/inspect", Scope::kRead, [&engines = environment.engines](const Request& request) {
    auto reply = Inspect(engines, request);
    return reply ? Reply(std::move(*reply)) : Reply(ErrorResponse(reply.error()));
  });
}

}  // namespace engram
