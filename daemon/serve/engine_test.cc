// SPDX-License-Identifier: Apache-2.0
// The engine on the scripted backbone: its logits depend on every token of a sequence and it checks the contract.
#include "serve/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "serve/engine_directory.h"
#include "serve/test_generation.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::filesystem::path kTokenizer = std::filesystem::path(ENGRAM_TEST_SOURCE_DIR) / "tests/vectors/tokenizer.json";

class EngineTest : public testing::Test {
 protected:
  static ModelOptions Options(const TempDir& dir, PluginOptions backbone) {
    dir.Write("config.json", R"({"vocab_size": 4096, "eos_token_id": [4092]})");
    if (!std::filesystem::exists(dir.path() / "tokenizer.json"))
      std::filesystem::create_symlink(kTokenizer, dir.path() / "tokenizer.json");
    auto library = PluginLibrary::Load(std::filesystem::path(ENGRAM_TEST_PLUGIN_DIR) / "test/scripted_backbone.so",
                                       ENGRAM_PLUGIN_BACKBONE);
    EXPECT_TRUE(library.has_value()) << (library ? "" : library.error().message);
    return {"m", dir.path(), *library, std::move(backbone), {}};
  }
  std::unique_ptr<Model> LoadModel(PluginOptions backbone = {}) {
    Result<std::unique_ptr<Model>> model = Model::Load(Options(dir_, std::move(backbone)));
    EXPECT_TRUE(model.has_value()) << (model ? "" : model.error().message);
    return std::move(model).value();
  }
  std::unique_ptr<Engine> MakeEngine(EngineOptions options = {}, PluginOptions backbone = {}) {
    return std::make_unique<Engine>(LoadModel(std::move(backbone)), options, metrics_);
  }
  static GenerationRequest Request(std::vector<int32_t> prompt, uint32_t max_tokens) {
    GenerationRequest request;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.sampling.temperature = 0;
    return request;
  }
  static std::vector<int32_t> Prompt(size_t length, int32_t first = 100) {
    std::vector<int32_t> prompt(length);
    for (size_t i = 0; i < length; ++i) prompt[i] = first + static_cast<int32_t>(i * 7 % 900);
    return prompt;
  }
  // A request whose first event waits at the door, so that the engine thread stands still.
  static std::shared_ptr<RecordingListener> Hold(Engine& engine, Door& door, uint32_t max_tokens = 4) {
    auto first = std::make_shared<bool>(true);
    auto listener = SubmitRecorded(engine, Request({1}, max_tokens), [&door, first](const GenerationEvent&) {
      if (std::exchange(*first, false)) door.WaitOpen();
      return true;
    });
    door.WaitReached();
    return listener;
  }

  TempDir dir_;
  MetricRegistry metrics_;
};

// 32 requests of every sort.
std::vector<GenerationRequest> MixedRequests() {
  std::vector<GenerationRequest> requests;
  for (uint32_t i = 0; i < 32; ++i) {
    GenerationRequest request;
    request.client = "client" + std::to_string(i % 3);
    for (uint32_t t = 0; t < 1 + i * 5 % 61; ++t)
      request.prompt.push_back(static_cast<int32_t>((i * 131 + t * 17) % 4000));
    request.max_tokens = 1 + i % 13;
    request.num_choices = 1 + i % 3;
    request.ignore_eos = i % 2 == 0;
    request.sampling.temperature = i % 4 == 0 ? 0.0f : 0.5f + 0.1f * static_cast<float>(i % 5);
    request.sampling.top_k = i % 5 == 0 ? 40 : 0;
    request.sampling.top_p = i % 3 == 0 ? 0.9f : 1.0f;
    request.sampling.min_p = i % 7 == 0 ? 0.1f : 0.0f;
    request.sampling.frequency_penalty = i % 6 == 0 ? 0.5f : 0.0f;
    request.sampling.repetition_penalty = i % 8 == 0 ? 1.2f : 1.0f;
    request.sampling.seed = i;
    if (i % 4 == 1) request.logprobs = 2;
    request.prompt_logprobs = i % 8 == 1;
    requests.push_back(std::move(request));
  }
  return requests;
}

void ExpectSame(const GenerationRecord& a, const GenerationRecord& b) {
  ASSERT_EQ(a.choices.size(), b.choices.size());
  for (const auto& [index, choice] : a.choices) {
    const ChoiceRecord& other = b.choices.at(index);
    EXPECT_EQ(choice.tokens, other.tokens);
    EXPECT_EQ(choice.text, other.text);
    EXPECT_EQ(choice.reason, other.reason);
    EXPECT_EQ(choice.stop_token, other.stop_token);
    ASSERT_EQ(choice.logprobs.size(), other.logprobs.size());
    for (size_t i = 0; i < choice.logprobs.size(); ++i) EXPECT_EQ(choice.logprobs[i].top, other.logprobs[i].top);
  }
  ASSERT_EQ(a.prompt.has_value(), b.prompt.has_value());
  if (!a.prompt) return;
  ASSERT_EQ(a.prompt->prompt_logprobs.size(), b.prompt->prompt_logprobs.size());
  for (size_t i = 0; i < a.prompt->prompt_logprobs.size(); ++i) {
    ASSERT_EQ(a.prompt->prompt_logprobs[i].has_value(), b.prompt->prompt_logprobs[i].has_value());
    if (a.prompt->prompt_logprobs[i]) {
      EXPECT_EQ(a.prompt->prompt_logprobs[i]->logprob, b.prompt->prompt_logprobs[i]->logprob);
    }
  }
}

TEST_F(EngineTest, BatchOfOneEqualsBatchOfManyInAnyChunks) {
  std::vector<GenerationRecord> alone;
  {
    const auto engine = MakeEngine();
    for (const GenerationRequest& request : MixedRequests()) alone.push_back(Generate(*engine, request));
  }
  for (const uint32_t chunk : {1u, 3u, 7u, 256u}) {
    SCOPED_TRACE(chunk);
    EngineOptions options;
    options.prefill_chunk = chunk;
    options.max_batch_tokens = 40;
    options.max_running = 24;
    const auto engine = MakeEngine(options);
    std::vector<std::shared_ptr<RecordingListener>> listeners;
    for (const GenerationRequest& request : MixedRequests()) listeners.push_back(SubmitRecorded(*engine, request));
    for (size_t i = 0; i < listeners.size(); ++i) {
      SCOPED_TRACE(i);
      ExpectSame(listeners[i]->Wait(), alone[i]);
    }
    EXPECT_EQ(engine->stats().kv_used_tokens, 0u);
  }
}

TEST_F(EngineTest, ChoicesHaveTheirOwnStreamsAndShareThePrompt) {
  const auto engine = MakeEngine();
  GenerationRequest request = Request(Prompt(20), 6);
  request.num_choices = 4;
  request.sampling.temperature = 1;
  request.sampling.seed = 11;
  request.ignore_eos = true;
  const GenerationRecord first = Generate(*engine, request);
  ASSERT_EQ(first.choices.size(), 4u);
  EXPECT_NE(first.choices.at(0).tokens, first.choices.at(1).tokens);
  EXPECT_EQ(first.done->usage.prompt_tokens, 20u);
  EXPECT_EQ(first.done->usage.completion_tokens, 24u);
  ExpectSame(Generate(*engine, request), first);
  // 20 prompt tokens once, and all but the last token of every choice.
  EXPECT_EQ(engine->model().backbone().Stats()->num_tokens, 2 * (20u + 4 * 5));
  // Choice 0 is what one choice alone would be.
  request.num_choices = 1;
  EXPECT_EQ(Generate(*engine, request).choices.at(0).tokens, first.choices.at(0).tokens);
}

TEST_F(EngineTest, EveryWayToStop) {
  const auto engine = MakeEngine();
  const GenerationRecord plain = Generate(*engine, Request(Prompt(3), 8));
  const ChoiceRecord& choice = plain.choices.at(0);
  EXPECT_EQ(choice.reason, FinishReason::kLength);
  ASSERT_EQ(choice.tokens.size(), 8u);

  GenerationRequest stopped = Request(Prompt(3), 8);
  stopped.stop_token_ids = {choice.tokens[3]};
  const ChoiceRecord by_token = Generate(*engine, stopped).choices.at(0);
  EXPECT_EQ(by_token.reason, FinishReason::kStop);
  EXPECT_EQ(by_token.stop_token, choice.tokens[3]);
  EXPECT_EQ(by_token.tokens, std::vector<int32_t>(choice.tokens.begin(), choice.tokens.begin() + 3));

  // A stop string over the border of two tokens: the end of one and the start of the next.
  const std::string& text = choice.text;
  const size_t border = engine->model().tokenizer().Decode({choice.tokens.data(), 4}, true).size();
  ASSERT_GT(border, 1u);
  ASSERT_LT(border + 1, text.size());
  stopped = Request(Prompt(3), 8);
  stopped.stop = {text.substr(border - 1, 2)};
  const ChoiceRecord by_string = Generate(*engine, stopped).choices.at(0);
  EXPECT_EQ(by_string.reason, FinishReason::kStop);
  EXPECT_FALSE(by_string.stop_token.has_value());
  EXPECT_EQ(by_string.text, text.substr(0, text.find(stopped.stop[0])));
  EXPECT_LT(by_string.tokens.size(), 8u);

  // EOS, made certain by a bias, and ignored.
  GenerationRequest eos = Request(Prompt(3), 8);
  eos.sampling.logit_bias = {{4092, 100}};
  const GenerationRecord ended = Generate(*engine, eos);
  EXPECT_EQ(ended.choices.at(0).reason, FinishReason::kStop);
  EXPECT_EQ(ended.choices.at(0).stop_token, 4092);
  EXPECT_TRUE(ended.choices.at(0).tokens.empty());
  EXPECT_EQ(ended.done->usage.completion_tokens, 1u);
  eos.ignore_eos = true;
  const ChoiceRecord ignored = Generate(*engine, eos).choices.at(0);
  EXPECT_EQ(ignored.reason, FinishReason::kLength);
  EXPECT_EQ(ignored.tokens, std::vector<int32_t>(8, 4092));
}

TEST_F(EngineTest, NoNewTokensAndPromptLogprobs) {
  const auto engine = MakeEngine();
  GenerationRequest request = Request(Prompt(150), 0);
  const GenerationRecord silent = Generate(*engine, request);
  EXPECT_FALSE(silent.prompt.has_value());
  EXPECT_EQ(silent.choices.at(0).reason, FinishReason::kLength);
  EXPECT_EQ(silent.done->usage.completion_tokens, 0u);

  request.logprobs = 1;
  request.prompt_logprobs = true;
  request.num_choices = 2;
  const GenerationRecord scored = Generate(*engine, request);
  ASSERT_TRUE(scored.prompt.has_value());
  ASSERT_EQ(scored.prompt->prompt_logprobs.size(), 150u);
  EXPECT_FALSE(scored.prompt->prompt_logprobs[0].has_value());
  for (size_t i = 1; i < 150; ++i) {
    ASSERT_TRUE(scored.prompt->prompt_logprobs[i].has_value());
    EXPECT_EQ(scored.prompt->prompt_logprobs[i]->token, request.prompt[i]);
    EXPECT_EQ(scored.prompt->prompt_logprobs[i]->top.size(), 1u);
  }
  EXPECT_EQ(scored.choices.size(), 2u);
  // Scoring token i is the same as generating after i tokens.
  GenerationRequest generate = Request({request.prompt.begin(), request.prompt.begin() + 70}, 1);
  generate.logprobs = 1;
  EXPECT_EQ(Generate(*engine, generate).choices.at(0).logprobs.at(0).top, scored.prompt->prompt_logprobs[70]->top);
}

TEST_F(EngineTest, CancelAndVanishedClientsFreeTheirRoom) {
  const auto engine = MakeEngine();
  Engine* raw = engine.get();
  std::atomic<GenerationId> id{0};
  int tokens = 0;
  Door submitted;
  auto listener = std::make_shared<RecordingListener>([&](const GenerationEvent& event) {
    submitted.WaitOpen();
    if (event.kind == GenerationEvent::Kind::kToken && ++tokens == 3) raw->Cancel(id);
    return true;
  });
  GenerationRequest endless = Request(Prompt(5), 400);
  endless.ignore_eos = true;
  id = engine->Submit(endless, listener).value();
  submitted.Open();
  const GenerationRecord cancelled = listener->Wait();
  EXPECT_EQ(cancelled.choices.at(0).reason, FinishReason::kCancelled);
  EXPECT_EQ(cancelled.choices.at(0).tokens.size(), 3u);
  EXPECT_FALSE(cancelled.done->error.has_value());
  EXPECT_EQ(engine->stats().kv_used_tokens, 0u);

  endless.num_choices = 3;
  int events = 0;
  const GenerationRecord gone =
      SubmitRecorded(*engine, endless, [&](const GenerationEvent&) { return ++events < 7; })->Wait();
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(gone.choices.at(i).reason, FinishReason::kCancelled);
  EXPECT_EQ(gone.choices.at(0).tokens.size() + gone.choices.at(1).tokens.size() + gone.choices.at(2).tokens.size(), 7u);
  EXPECT_EQ(engine->stats().kv_used_tokens, 0u);
  engine->Cancel(12345);  // unknown
  EXPECT_EQ(Generate(*engine, Request(Prompt(5), 3)).choices.at(0).tokens.size(), 3u);
}

TEST_F(EngineTest, FullQueueRefusesAndQueuedOnesCanBeCancelled) {
  EngineOptions options;
  options.max_queued = 2;
  const auto engine = MakeEngine(options);
  Door door;
  const auto held = Hold(*engine, door);
  const auto second = std::make_shared<RecordingListener>();
  const GenerationId id = engine->Submit(Request({2}, 2), second).value();
  const auto third = SubmitRecorded(*engine, Request({3}, 2));
  const auto refused = engine->Submit(Request({4}, 2), std::make_shared<RecordingListener>());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(engine->stats().queued, 2u);
  engine->Cancel(id);
  door.Open();
  const GenerationRecord cancelled = second->Wait();
  EXPECT_EQ(cancelled.choices.at(0).reason, FinishReason::kCancelled);
  EXPECT_TRUE(cancelled.choices.at(0).tokens.empty());
  EXPECT_EQ(third->Wait().choices.at(0).tokens.size(), 2u);
  EXPECT_EQ(held->Wait().choices.at(0).tokens.size(), 4u);
  EXPECT_EQ(engine->stats().queued, 0u);
}

TEST_F(EngineTest, WaitsForKvRoomAndRefusesWhatNeverFits) {
  const auto engine = MakeEngine({}, {{"kv_tokens", "64"}});
  GenerationRequest request = Request(Prompt(20), 20);
  request.ignore_eos = true;
  std::vector<std::shared_ptr<RecordingListener>> listeners;
  for (int i = 0; i < 6; ++i) listeners.push_back(SubmitRecorded(*engine, request));
  for (const auto& listener : listeners) EXPECT_EQ(listener->Wait().choices.at(0).tokens.size(), 20u);
  request.num_choices = 2;
  const auto never = engine->Submit(request, std::make_shared<RecordingListener>());
  ASSERT_FALSE(never.has_value());
  EXPECT_EQ(never.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(never.error().message, HasSubstr("80 positions"));
  EXPECT_THAT(never.error().message, HasSubstr("64"));
  EXPECT_EQ(engine->stats().kv_capacity_tokens, 64u);
}

TEST_F(EngineTest, BadRequestsNameTheField) {
  const auto engine = MakeEngine();
  const auto bad = engine->Submit(Request({4096}, 1), std::make_shared<RecordingListener>());
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error().field, "prompt");
  GenerationRequest many = Request({1}, 1);
  many.num_choices = 17;
  EXPECT_EQ(engine->Submit(many, std::make_shared<RecordingListener>()).error().field, "n");
}

TEST_F(EngineTest, ClientsTakeTurns) {
  EngineOptions options;
  options.max_running = 1;
  const auto engine = MakeEngine(options);
  Door door;
  const auto held = Hold(*engine, door);
  std::mutex mutex;
  std::vector<std::string> order;
  std::vector<std::shared_ptr<RecordingListener>> listeners;
  const auto submit = [&](const std::string& client) {
    GenerationRequest request = Request({5}, 1);
    request.client = client;
    listeners.push_back(SubmitRecorded(*engine, request, [&, client](const GenerationEvent& event) {
      std::lock_guard lock(mutex);
      if (event.kind == GenerationEvent::Kind::kDone) order.push_back(client);
      return true;
    }));
  };
  for (int i = 0; i < 4; ++i) submit("a");
  submit("b");
  submit("c");
  submit("b");
  door.Open();
  for (const auto& listener : listeners) listener->Wait();
  std::lock_guard lock(mutex);
  EXPECT_EQ(order, (std::vector<std::string>{"a", "b", "c", "a", "b", "a", "a"}));
  held->Wait();
}

TEST_F(EngineTest, DrainFinishesWhatRunsAndRefusesNewOnes) {
  const auto engine = MakeEngine();
  Door door;
  const auto held = Hold(*engine, door, 30);
  const auto queued = SubmitRecorded(*engine, Request({2}, 2));
  std::thread drain([&] { engine->Drain(std::chrono::steady_clock::now() + std::chrono::hours(1)); });
  while (!engine->stats().draining) std::this_thread::yield();
  const auto refused = engine->Submit(Request({4}, 2), std::make_shared<RecordingListener>());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  door.Open();
  drain.join();
  EXPECT_EQ(held->Wait().choices.at(0).tokens.size(), 30u);
  EXPECT_EQ(queued->Wait().choices.at(0).reason, FinishReason::kLength);
  engine->Drain(std::chrono::steady_clock::now());
}

TEST_F(EngineTest, DrainCancelsAtItsDeadline) {
  const auto engine = MakeEngine();
  // The engine stands still until the deadline has certainly been acted on: Drain() marks all as cancelled.
  Door door;
  GenerationRequest endless = Request({1}, 500);
  endless.ignore_eos = true;
  auto first = std::make_shared<bool>(true);
  const auto listener = SubmitRecorded(*engine, endless, [&door, first](const GenerationEvent&) {
    if (std::exchange(*first, false)) door.WaitOpen();
    return true;
  });
  door.WaitReached();
  const auto queued = SubmitRecorded(*engine, endless);
  std::thread drain([&] { engine->Drain(std::chrono::steady_clock::now()); });
  while (!engine->stats().draining) std::this_thread::yield();
  door.Open();
  drain.join();
  EXPECT_EQ(listener->Wait().choices.at(0).reason, FinishReason::kCancelled);
  EXPECT_EQ(queued->Wait().choices.at(0).reason, FinishReason::kCancelled);
}

TEST_F(EngineTest, DestructionCancelsTheRest) {
  auto engine = MakeEngine();
  GenerationRequest endless = Request({1}, 500);
  endless.ignore_eos = true;
  std::vector<std::shared_ptr<RecordingListener>> listeners;
  for (int i = 0; i < 8; ++i) listeners.push_back(SubmitRecorded(*engine, endless));
  engine.reset();
  for (const auto& listener : listeners) {
    const FinishReason reason = *listener->Wait().choices.at(0).reason;
    EXPECT_TRUE(reason == FinishReason::kCancelled || reason == FinishReason::kLength);
  }
}

// Holds the engine until it is destroyed itself, as a connection does.
class OwningListener final : public GenerationListener {
 public:
  OwningListener(std::shared_ptr<Engine> engine, Door& gone) : engine_(std::move(engine)), gone_(gone) {}
  ~OwningListener() override {
    engine_.reset();
    gone_.Open();
  }
  bool OnEvent(GenerationEvent event) override {
    if (event.kind == GenerationEvent::Kind::kToken) door_.WaitOpen();
    return true;
  }
  Door& door() { return door_; }

 private:
  std::shared_ptr<Engine> engine_;
  Door& gone_;
  Door door_;
};

TEST_F(EngineTest, TheLastReferenceMayDieOnTheEngineThread) {
  Door gone;
  std::shared_ptr<Engine> engine = MakeEngine();
  auto listener = std::make_shared<OwningListener>(engine, gone);
  OwningListener* raw = listener.get();
  ASSERT_TRUE(engine->Submit(Request({1}, 2), std::move(listener)).has_value());
  raw->door().WaitReached();
  engine.reset();
  raw->door().Open();
  gone.WaitOpen();
}

TEST_F(EngineTest, AFailedStepEndsItsBatchOnly) {
  const auto engine = MakeEngine({}, {{"fail_token", "77"}});
  Door door;
  const auto held = Hold(*engine, door, 40);
  const auto bad = SubmitRecorded(*engine, Request({1, 77}, 3));
  GenerationRequest choices = Request({5, 6}, 30);
  choices.num_choices = 2;
  const auto beside = SubmitRecorded(*engine, choices);
  door.Open();
  for (const auto& listener : {held, bad, beside}) {
    const GenerationRecord record = listener->Wait();
    EXPECT_EQ(record.choices.at(0).reason, FinishReason::kError);
    ASSERT_TRUE(record.done->error.has_value());
    EXPECT_EQ(record.done->error->code, ErrorCode::kIo);
    EXPECT_THAT(record.done->error->message, HasSubstr("token 77 fails"));
  }
  EXPECT_EQ(engine->stats().kv_used_tokens, 0u);
  EXPECT_EQ(Generate(*engine, Request({1, 78}, 3)).choices.at(0).reason, FinishReason::kLength);
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(Generate(*engine, Request({77}, 3)).choices.at(0).reason, FinishReason::kError);
}

TEST_F(EngineTest, BrokenLogitsEndTheOneGeneration) {
  const auto engine = MakeEngine({}, {{"nan_token", "77"}});
  const GenerationRecord record = Generate(*engine, Request({1, 77}, 3));
  EXPECT_EQ(record.choices.at(0).reason, FinishReason::kError);
  EXPECT_THAT(record.done->error->message, HasSubstr("NaN"));
  GenerationRequest scored = Request({77, 1, 2}, 3);
  scored.logprobs = 0;
  scored.prompt_logprobs = true;
  EXPECT_THAT(Generate(*engine, scored).done->error->message, HasSubstr("NaN"));
  EXPECT_EQ(Generate(*engine, Request({77, 1}, 3)).choices.at(0).reason, FinishReason::kLength);
  EXPECT_EQ(engine->stats().kv_used_tokens, 0u);
}

TEST_F(EngineTest, AFailedForkEndsTheGeneration) {
  const auto engine = MakeEngine({}, {{"fork", "fails"}});
  GenerationRequest request = Request(Prompt(4), 5);
  request.num_choices = 3;
  const GenerationRecord record = Generate(*engine, request);
  EXPECT_EQ(record.choices.size(), 3u);
  EXPECT_THAT(record.done->error->message, HasSubstr("fork fails"));
  EXPECT_EQ(engine->stats().kv_used_tokens, 0u);
}

TEST_F(EngineTest, FewSequencesAndTokensBoundTheBatch) {
  const auto engine = MakeEngine({}, {{"max_sequences", "3"}, {"max_batch_tokens", "2"}});
  std::vector<std::shared_ptr<RecordingListener>> listeners;
  for (int i = 0; i < 7; ++i) listeners.push_back(SubmitRecorded(*engine, Request(Prompt(9, i), 9)));
  for (const auto& listener : listeners) EXPECT_EQ(listener->Wait().choices.at(0).reason, FinishReason::kLength);
  GenerationRequest three = Request({1}, 1);
  three.num_choices = 3;
  EXPECT_EQ(engine->Submit(three, std::make_shared<RecordingListener>()).error().field, "n");
}

TEST_F(EngineTest, CountsWhatItDid) {
  auto engine = MakeEngine();
  GenerationRequest request = Request(Prompt(10), 4);
  request.ignore_eos = true;
  Generate(*engine, request);
  std::string text = metrics_.Text();
  for (const char* line :
       {"engramd_requests_total{model=\"m\",finish_reason=\"length\"} 1\n",
        "engramd_requests_total{model=\"m\",finish_reason=\"error\"} 0\n",
        "engramd_prompt_tokens_total{model=\"m\"} 10\n", "engramd_generated_tokens_total{model=\"m\"} 4\n",
        "engramd_request_queue_seconds_count{model=\"m\"} 1\n",
        "engramd_time_to_first_token_seconds_count{model=\"m\"} 1\n",
        "engramd_time_per_output_token_seconds_count{model=\"m\"} 3\n",
        "engramd_request_duration_seconds_count{model=\"m\"} 1\n",
        "engramd_step_duration_seconds_count{model=\"m\"} 4\n", "engramd_batch_tokens_sum{model=\"m\"} 13\n",
        "engramd_batch_sequences_sum{model=\"m\"} 4\n", "engramd_kv_cache_used_tokens{model=\"m\"} 0\n",
        "engramd_kv_cache_capacity_tokens{model=\"m\"} 65536\n", "engramd_queue_depth{model=\"m\"} 0\n"})
    EXPECT_THAT(text, HasSubstr(line));
  engine.reset();
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr("engramd_queue_depth")));
}

TEST_F(EngineTest, DirectoryFindsAndReplaces) {
  EngineDirectory directory;
  EXPECT_EQ(directory.Find("").error().code, ErrorCode::kUnavailable);
  const std::shared_ptr<Engine> first = MakeEngine();
  directory.Publish(first);
  EXPECT_EQ(*directory.Find(""), first);
  EXPECT_EQ(*directory.Find("m"), first);
  const auto missing = directory.Find("x");
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(missing.error().field, "model");
  EXPECT_THAT(missing.error().message, HasSubstr("\"x\""));
  const std::shared_ptr<Engine> second = MakeEngine();
  directory.Publish(second);
  EXPECT_EQ(*directory.Find("m"), second);
  EXPECT_EQ(directory.List().size(), 1u);
}

using ModelTest = EngineTest;

TEST_F(ModelTest, ReadsEosFromBothFiles) {
  dir_.Write("generation_config.json", R"({"eos_token_id": [4095, 4092]})");
  const auto model = LoadModel();
  EXPECT_EQ(model->eos_token_ids(), (std::vector<int32_t>{4092, 4095}));
  EXPECT_EQ(model->name(), "m");
  EXPECT_EQ(model->memory(), nullptr);
  EXPECT_GT(model->created_unix_s(), 0);
}

TEST_F(ModelTest, RefusalsNameFileAndValues) {
  const auto error = [&](const std::string& config, PluginOptions backbone = {}) {
    ModelOptions options = Options(dir_, std::move(backbone));
    dir_.Write("config.json", config);
    const auto model = Model::Load(std::move(options));
    return model ? "" : model.error().message;
  };
  EXPECT_THAT(error("{"), HasSubstr("config.json: not valid JSON"));
  EXPECT_THAT(error("[]"), HasSubstr("config.json: must be a JSON object"));
  EXPECT_THAT(error("{}"), HasSubstr("vocab_size"));
  EXPECT_THAT(error(R"({"vocab_size": 4096, "eos_token_id": 4096})"), HasSubstr("eos_token_id is 4096"));
  EXPECT_THAT(error(R"({"vocab_size": 4096, "eos_token_id": "x"})"), HasSubstr("eos_token_id must be"));
  EXPECT_THAT(error(R"({"vocab_size": 4000})"), HasSubstr("ids up to 4095, but vocab_size"));
  EXPECT_THAT(error(R"({"vocab_size": 5000})"), HasSubstr("vocab_size is 4096 for the backbone, 5000"));
  EXPECT_THAT(error(R"({"vocab_size": 4096, "engram": 3})"), HasSubstr("config.json"));
  EXPECT_THAT(error(R"({"vocab_size": 4096, "engram": {"variant": "paper", "layer_ids": [1], "max_ngram_size": 3,
      "n_heads": 4, "head_dim": 32, "vocab_size": [500, 900], "pad_token_id": 4093, "kernel_size": 4, "seed": 0}})"),
              HasSubstr("no tier is configured"));
  EXPECT_EQ(error(R"({"vocab_size": 5000})", {{"vocab_size", "5000"}}), "");
}

}  // namespace
}  // namespace engram
