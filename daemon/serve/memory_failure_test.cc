// SPDX-License-Identifier: Apache-2.0
// What becomes of generations when rows cannot be read: a reference model over a tier that fails on demand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/json.hpp>
#include <filesystem>
#include <thread>

#include "core/file.h"
#include "serve/engine.h"
#include "serve/test_generation.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path kVectors = fs::path(ENGRAM_TEST_SOURCE_DIR) / "tests/vectors";
constexpr char kModel[] = "dense-paper-hc4";

class MemoryFailure : public testing::Test {
 protected:
  void SetUp() override {
    const fs::path source = kVectors / "models" / kModel;
    const auto link = [&](const fs::path& file, const char* name) {
      if (!fs::exists(dir_.path() / name)) fs::create_symlink(file, dir_.path() / name);
    };
    for (const char* name : {"config.json", "model.safetensors"}) link(source / name, name);
    link(kVectors / "tokenizer.json", "tokenizer.json");
    expected_ = json::parse(ReadFile(source / "expected.json", 64u << 20).value());
    const auto load = [](const char* name, engram_plugin_kind kind) {
      auto library = PluginLibrary::Load(fs::path(ENGRAM_TEST_PLUGIN_DIR) / name, kind);
      EXPECT_TRUE(library.has_value()) << (library ? "" : library.error().message);
      return *library;
    };
    ModelOptions options;
    options.name = "vectors";
    options.directory = dir_.path();
    options.backbone = load("backbone_cpu.so", ENGRAM_PLUGIN_BACKBONE);
    options.backbone_options = {{"threads", "1"}, {"weights", "native"}};
    options.tiers.push_back(
        {"far", load("test/fault_tier.so", ENGRAM_PLUGIN_TIER), {{"control", (dir_.path() / "faults").string()}}});
    options.read_timeout = std::chrono::milliseconds(500);
    options.lookahead_tokens = lookahead_tokens_;
    Result<std::unique_ptr<Model>> model = Model::Load(std::move(options));
    ASSERT_TRUE(model.has_value()) << model.error().message;
    engine_ = std::make_unique<Engine>(std::move(model).value(), EngineOptions{.prefill_chunk = 8}, metrics_);
  }
  void TearDown() override { SetFaults(""); }

  // From the next read on, which counts as the first.
  void SetFaults(const std::string& text) const {
    dir_.Write("faults.new", text);
    fs::rename(dir_.path() / "faults.new", dir_.path() / "faults");
  }
  const ModelMemory& memory() const { return *engine_->model().memory(); }
  // Until nothing is left of the last fault.
  void AwaitGood() const {
    SetFaults("");
    while (memory().failing() || memory().stalled()) std::this_thread::yield();
  }

  static std::vector<int32_t> Tokens(const json::value& list) { return json::value_to<std::vector<int32_t>>(list); }
  const json::value& LongCase() const { return expected_.at("cases").at(4); }
  GenerationRequest Greedy(bool memory = true) const {
    GenerationRequest request;
    request.prompt = Tokens(LongCase().at("prompt"));
    request.max_tokens = static_cast<uint32_t>(Tokens(LongCase().at("greedy")).size());
    request.ignore_eos = true;
    request.sampling.temperature = 0;
    request.memory.enabled = memory;
    return request;
  }
  std::vector<int32_t> GreedyTokens() const { return Tokens(LongCase().at("greedy")); }
  std::vector<int32_t> OffTokens() const { return Tokens(LongCase().at("greedy_engram_off")); }
  void ExpectGood() {
    AwaitGood();
    EXPECT_EQ(Generate(*engine_, Greedy()).choices.at(0).tokens, GreedyTokens());
  }
  // Sets faults when token number `count` is reported, so that the next step meets them.
  RecordingListener::Hook FaultAfter(int count, const std::string& faults) const {
    auto left = std::make_shared<std::atomic<int>>(count);
    return [this, left, faults](const GenerationEvent& event) {
      if (event.kind == GenerationEvent::Kind::kToken && --*left == 0) SetFaults(faults);
      return true;
    };
  }
  // What a run without memory makes of the prompt and `given` tokens after it.
  std::vector<int32_t> WithoutMemory(GenerationRequest request, const std::vector<int32_t>& given) {
    request.memory.enabled = false;
    request.prompt.insert(request.prompt.end(), given.begin(), given.end());
    request.max_tokens -= static_cast<uint32_t>(given.size());
    std::vector<int32_t> tokens = given;
    const ChoiceRecord rest = Generate(*engine_, request).choices.at(0);
    tokens.insert(tokens.end(), rest.tokens.begin(), rest.tokens.end());
    return tokens;
  }

  // 0: rows are read by the steps that need them, so that it is known which one a fault meets.
  uint32_t lookahead_tokens_ = 0;
  TempDir dir_;
  json::value expected_;
  MetricRegistry metrics_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(MemoryFailure, ARequestFailsWithTierAndLayerAndOthersWithoutMemoryGoOn) {
  for (const int after : {1, 5}) {
    SCOPED_TRACE(after);
    // Stands at the door, so that both are in the batch from its first step.
    Door door;
    const auto first = SubmitRecorded(*engine_, Greedy(false), [&](const GenerationEvent& event) {
      if (event.kind == GenerationEvent::Kind::kToken) door.WaitOpen();
      return true;
    });
    door.WaitReached();
    const auto off = SubmitRecorded(*engine_, Greedy(false));
    const auto on = SubmitRecorded(*engine_, Greedy(), FaultAfter(after, "error_at=1\n"));
    door.Open();
    const GenerationRecord failed = on->Wait();
    ASSERT_TRUE(failed.done->error.has_value());
    EXPECT_EQ(failed.done->error->code, ErrorCode::kDataLoss);
    EXPECT_THAT(failed.done->error->message, HasSubstr("tier \"far\", layer "));
    EXPECT_EQ(failed.choices.at(0).tokens.size(), static_cast<size_t>(after));
    EXPECT_EQ(first->Wait().choices.at(0).tokens, OffTokens());
    EXPECT_EQ(off->Wait().choices.at(0).tokens, OffTokens());
    ExpectGood();
  }
}

TEST_F(MemoryFailure, AWholePromptWithoutMemoryIsUnharmedToo) {
  // Scores of the prompt are asked for, so that those of the lost chunks must come again.
  GenerationRequest scored = Greedy(false);
  scored.prompt_logprobs = true;
  scored.logprobs = 0;
  const GenerationRecord expected = Generate(*engine_, scored);
  Door door;
  const auto first = SubmitRecorded(*engine_, Greedy(), [&](const GenerationEvent& event) {
    if (event.kind == GenerationEvent::Kind::kToken) door.WaitOpen();
    return true;
  });
  door.WaitReached();
  const auto off = SubmitRecorded(*engine_, scored);
  SetFaults("error_at=3\n");  // two layers a step: in the second one, when a chunk of the prompt is done
  door.Open();
  EXPECT_TRUE(first->Wait().done->error.has_value());
  const GenerationRecord record = off->Wait();
  EXPECT_EQ(record.choices.at(0).tokens, OffTokens());
  ASSERT_EQ(record.prompt->prompt_logprobs.size(), expected.prompt->prompt_logprobs.size());
  for (size_t i = 1; i < expected.prompt->prompt_logprobs.size(); ++i)
    EXPECT_EQ(record.prompt->prompt_logprobs[i]->logprob, expected.prompt->prompt_logprobs[i]->logprob) << i;
  ExpectGood();
}

TEST_F(MemoryFailure, SkippingGoesOnWithoutMemoryFromTheSameTokens) {
  for (const int after : {1, 4, 11}) {
    SCOPED_TRACE(after);
    GenerationRequest request = Greedy();
    request.memory.skip_on_error = true;
    request.memory.gates = true;
    const auto listener = SubmitRecorded(*engine_, request, FaultAfter(after, "error_every=1\n"));
    const GenerationRecord record = listener->Wait();
    EXPECT_FALSE(record.done->error.has_value());
    const ChoiceRecord& choice = record.choices.at(0);
    ASSERT_TRUE(choice.skipped_from.has_value());
    EXPECT_EQ(*choice.skipped_from, static_cast<uint32_t>(after));
    EXPECT_THAT(choice.skip_reason, HasSubstr("tier \"far\", layer "));
    const std::vector<int32_t> greedy = GreedyTokens();
    EXPECT_EQ(choice.tokens, WithoutMemory(Greedy(), {greedy.begin(), greedy.begin() + after}));
    EXPECT_EQ(choice.traces.size(), static_cast<size_t>(after - 1));
    ExpectGood();
  }
}

TEST_F(MemoryFailure, SkippingInThePromptIsARunWithoutMemory) {
  GenerationRequest request = Greedy();
  request.memory.skip_on_error = true;
  SetFaults("error_at=3\n");  // in the second of five chunks
  const GenerationRecord record = Generate(*engine_, request);
  EXPECT_EQ(record.choices.at(0).skipped_from, 0u);
  EXPECT_EQ(record.choices.at(0).tokens, OffTokens());
  ExpectGood();
  EXPECT_FALSE(Generate(*engine_, request).choices.at(0).skipped_from.has_value());
}

TEST_F(MemoryFailure, EveryChoiceSkips) {
  GenerationRequest request = Greedy();
  request.num_choices = 3;
  request.sampling.temperature = 1;
  request.sampling.seed = 7;
  request.memory.skip_on_error = true;
  const auto listener = SubmitRecorded(*engine_, request, FaultAfter(6, "unavailable=100\n"));
  const GenerationRecord record = listener->Wait();
  EXPECT_FALSE(record.done->error.has_value());
  ASSERT_EQ(record.choices.size(), 3u);
  for (const auto& [index, choice] : record.choices) {
    EXPECT_EQ(choice.skipped_from, 2u) << index;
    EXPECT_EQ(choice.tokens.size(), request.max_tokens) << index;
  }
  ExpectGood();
}

TEST_F(MemoryFailure, ATierThatStallsFailsRequestsUntilItAnswers) {
  SetFaults("stall_from=1\n");
  const GenerationRecord first = Generate(*engine_, Greedy());
  ASSERT_TRUE(first.done->error.has_value());
  EXPECT_EQ(first.done->error->code, ErrorCode::kUnavailable);
  EXPECT_THAT(first.done->error->message, HasSubstr("tier \"far\", layer 1: no answer within 500 ms"));
  EXPECT_TRUE(memory().stalled());
  EXPECT_TRUE(memory().failing());
  // Without memory everything goes on as if nothing were wrong.
  EXPECT_EQ(Generate(*engine_, Greedy(false)).choices.at(0).tokens, OffTokens());
  const GenerationRecord second = Generate(*engine_, Greedy());
  ASSERT_TRUE(second.done->error.has_value());
  EXPECT_THAT(second.done->error->message, HasSubstr("tier \"far\", layer 1: no answer within 500 ms"));
  GenerationRequest skipping = Greedy();
  skipping.memory.skip_on_error = true;
  const GenerationRecord skipped = Generate(*engine_, skipping);
  EXPECT_EQ(skipped.choices.at(0).skipped_from, 0u);
  EXPECT_EQ(skipped.choices.at(0).tokens, OffTokens());
  EXPECT_TRUE(memory().stalled());
  ExpectGood();
}

TEST_F(MemoryFailure, AStallOnTheWayCostsOnlyThoseWhoNeedRows) {
  Door door;
  const auto first = SubmitRecorded(*engine_, Greedy(false), [&](const GenerationEvent& event) {
    if (event.kind == GenerationEvent::Kind::kToken) door.WaitOpen();
    return true;
  });
  door.WaitReached();
  const auto on = SubmitRecorded(*engine_, Greedy(), FaultAfter(3, "stall_from=2\n"));
  GenerationRequest skipping = Greedy();
  skipping.memory.skip_on_error = true;
  const auto skip = SubmitRecorded(*engine_, skipping);
  door.Open();
  EXPECT_TRUE(on->Wait().done->error.has_value());
  EXPECT_EQ(first->Wait().choices.at(0).tokens, OffTokens());
  const ChoiceRecord skipped = skip->Wait().choices.at(0);
  ASSERT_TRUE(skipped.skipped_from.has_value());
  const std::vector<int32_t> greedy = GreedyTokens();
  EXPECT_EQ(skipped.tokens, WithoutMemory(Greedy(), {greedy.begin(), greedy.begin() + *skipped.skipped_from}));
  ExpectGood();
}

// The same with rows that are asked for when their token is sampled: a fault set while a token is reported meets its
// rows or the next one's.
class MemoryFailureAhead : public MemoryFailure {
 protected:
  void SetUp() override {
    lookahead_tokens_ = 1024;
    MemoryFailure::SetUp();
  }
};

TEST_F(MemoryFailureAhead, SkippingGoesOnWithoutMemoryFromTheSameTokens) {
  for (const char* faults : {"error_every=1\n", "unavailable=1000\n", "stall_from=1\n"}) {
    SCOPED_TRACE(faults);
    GenerationRequest request = Greedy();
    request.memory.skip_on_error = true;
    const GenerationRecord record = SubmitRecorded(*engine_, request, FaultAfter(4, faults))->Wait();
    EXPECT_FALSE(record.done->error.has_value());
    const ChoiceRecord& choice = record.choices.at(0);
    ASSERT_TRUE(choice.skipped_from.has_value());
    EXPECT_TRUE(*choice.skipped_from == 4 || *choice.skipped_from == 5) << *choice.skipped_from;
    EXPECT_THAT(choice.skip_reason, HasSubstr("tier \"far\", layer "));
    const std::vector<int32_t> greedy = GreedyTokens();
    EXPECT_EQ(choice.tokens, WithoutMemory(Greedy(), {greedy.begin(), greedy.begin() + *choice.skipped_from}));
    ExpectGood();
  }
}

TEST_F(MemoryFailureAhead, EveryChoiceHasItsOwnRows) {
  GenerationRequest request = Greedy();
  request.num_choices = 4;
  request.sampling.temperature = 1;
  request.sampling.seed = 7;
  const GenerationRecord ahead = Generate(*engine_, request);
  engine_.reset();
  lookahead_tokens_ = 0;
  MemoryFailure::SetUp();
  const GenerationRecord plain = Generate(*engine_, request);
  ASSERT_EQ(ahead.choices.size(), 4u);
  for (const auto& [index, choice] : plain.choices) EXPECT_EQ(ahead.choices.at(index).tokens, choice.tokens) << index;
}

TEST_F(MemoryFailureAhead, ACancelledGenerationLeavesNothingBehind) {
  SetFaults("delay_us=20000\n");
  const auto cancelled = SubmitRecorded(*engine_, Greedy(), [count = 0](const GenerationEvent& event) mutable {
    return event.kind != GenerationEvent::Kind::kToken || ++count < 3;  // its listener is gone, and its rows under way
  });
  cancelled->Wait();
  ExpectGood();
}

}  // namespace
}  // namespace engram
