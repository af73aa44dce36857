// SPDX-License-Identifier: Apache-2.0
// How engines end and what they do when the backbone fails; their metrics, their directory, and loading a model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "serve/engine_directory.h"
#include "serve/test_engine.h"

namespace engram {
namespace {

using testing::HasSubstr;
using testing::Not;

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
