// SPDX-License-Identifier: Apache-2.0
// The five reference models of tests/vectors through the whole engine, with the real plugins: what is generated,
// scored and reported must be what the independent reference computed.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <filesystem>

#include "core/file.h"
#include "serve/engine.h"
#include "serve/test_generation.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;

const fs::path kVectors = fs::path(ENGRAM_TEST_SOURCE_DIR) / "tests/vectors";

std::vector<int32_t> Tokens(const json::value& list) {
  return json::value_to<std::vector<int32_t>>(list);
}

class VectorsTest : public testing::TestWithParam<const char*> {
 protected:
  // The vectors' models share one tokenizer.json, a served directory has its own.
  void SetUp() override {
    const fs::path source = kVectors / "models" / GetParam();
    for (const char* name : {"config.json", "model.safetensors"}) fs::create_symlink(source / name, dir_ / name);
    fs::create_symlink(kVectors / "tokenizer.json", dir_ / "tokenizer.json");
    expected_ = json::parse(ReadFile(source / "expected.json", 64u << 20).value());
    const json::value config = json::parse(ReadFile(source / "config.json", 1u << 20).value());
    has_memory_ = config.as_object().contains("engram");
  }

  std::unique_ptr<Engine> MakeEngine(EngineOptions options = {}) {
    const auto load = [](const char* name, engram_plugin_kind kind) {
      auto library = PluginLibrary::Load(fs::path(ENGRAM_TEST_PLUGIN_DIR) / name, kind);
      EXPECT_TRUE(library.has_value()) << (library ? "" : library.error().message);
      return *library;
    };
    ModelOptions model_options{"vectors", dir_, load("backbone_cpu.so", ENGRAM_PLUGIN_BACKBONE), {}, {}};
    if (has_memory_) model_options.tiers.push_back({"dram", load("tier_dram.so", ENGRAM_PLUGIN_TIER), {}});
    Result<std::unique_ptr<Model>> model = Model::Load(std::move(model_options));
    EXPECT_TRUE(model.has_value()) << (model ? "" : model.error().message);
    return std::make_unique<Engine>(std::move(model).value(), options, metrics_);
  }
  const json::array& cases() const { return expected_.at("cases").as_array(); }
  static GenerationRequest Greedy(const json::value& test, size_t max_tokens) {
    GenerationRequest request;
    request.prompt = Tokens(test.at("prompt"));
    request.max_tokens = static_cast<uint32_t>(max_tokens);
    request.ignore_eos = true;
    request.sampling.temperature = 0;
    return request;
  }

  const TempDir temp_dir_;
  const fs::path dir_ = temp_dir_.path();
  json::value expected_;
  bool has_memory_ = false;
  MetricRegistry metrics_;
};

TEST_P(VectorsTest, GreedyTokensScoresGatesAndRows) {
  const auto engine = MakeEngine();
  for (const json::value& test : cases()) {
    const std::vector<int32_t> greedy = Tokens(test.at("greedy"));
    SCOPED_TRACE(test.at("prompt").as_array().size());
    GenerationRequest request = Greedy(test, greedy.size());
    request.logprobs = 3;
    request.prompt_logprobs = true;
    request.memory.gates = request.memory.rows = true;
    const GenerationRecord record = Generate(*engine, request);
    const ChoiceRecord& choice = record.choices.at(0);
    EXPECT_EQ(choice.tokens, greedy);
    EXPECT_EQ(choice.text, engine->model().tokenizer().Decode(greedy, true));

    ASSERT_TRUE(record.prompt.has_value());
    const json::array& logprobs = test.at("logprobs").as_array();
    ASSERT_EQ(record.prompt->prompt_logprobs.size(), logprobs.size() + 1);
    for (size_t i = 0; i < logprobs.size(); ++i)
      EXPECT_NEAR(record.prompt->prompt_logprobs[i + 1]->logprob, logprobs[i].to_number<double>(), 2e-4) << i;

    // The first token's alternatives from the reference's logits, which are rounded to five digits.
    const json::array& logits = test.at("last_logits").as_array();
    double sum = 0;
    for (const json::value& l : logits) sum += std::exp(l.to_number<double>());
    ASSERT_EQ(choice.logprobs.size(), greedy.size());
    ASSERT_EQ(choice.logprobs[0].top.size(), 3u);
    for (const auto& [token, logprob] : choice.logprobs[0].top)
      EXPECT_NEAR(logprob, logits[static_cast<size_t>(token)].to_number<double>() - std::log(sum), 2e-4);
    for (size_t i = 0; i < choice.logprobs.size(); ++i)
      EXPECT_NEAR(choice.logprobs[i].top[0].second - choice.logprobs[i].top[1].second,
                  test.at("greedy_margin").at(i).to_number<double>(), 5e-4);

    if (!has_memory_) {
      EXPECT_TRUE(record.prompt->prompt_traces.empty());
      continue;
    }
    ASSERT_EQ(record.prompt->prompt_traces.size(), request.prompt.size());
    EXPECT_EQ(choice.traces.size(), greedy.size() - 1);
    const std::vector<uint32_t>& layers = engine->model().backbone().info().engram_layers;
    const size_t streams = engine->model().backbone().info().num_streams;
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      const std::string name = std::to_string(layers[layer]);
      for (size_t t = 0; t < request.prompt.size(); ++t) {
        const PositionTrace& trace = record.prompt->prompt_traces[t];
        const auto rows = json::value_to<std::vector<uint64_t>>(test.at("rows").at(name).at(t));
        ASSERT_EQ(trace.rows.size(), layers.size() * rows.size());
        for (size_t c = 0; c < rows.size(); ++c) EXPECT_EQ(trace.rows[layer * rows.size() + c], rows[c]);
        ASSERT_EQ(trace.gates.size(), layers.size() * streams);
        for (size_t s = 0; s < streams; ++s)
          EXPECT_NEAR(trace.gates[layer * streams + s], test.at("gates").at(name).at(t).at(s).to_number<double>(),
                      1e-4);
      }
    }
  }
}

TEST_P(VectorsTest, EngramOff) {
  if (!has_memory_) GTEST_SKIP() << "a plain model";
  const auto engine = MakeEngine();
  for (const json::value& test : cases()) {
    const std::vector<int32_t> greedy = Tokens(test.at("greedy_engram_off"));
    GenerationRequest request = Greedy(test, greedy.size());
    request.memory = {.enabled = false, .gates = true, .rows = true};
    const GenerationRecord record = Generate(*engine, request);
    EXPECT_EQ(record.choices.at(0).tokens, greedy);
    EXPECT_TRUE(record.choices.at(0).traces.empty());
    EXPECT_FALSE(record.prompt.has_value());
  }
}

// All cases at once, memory on and off mixed, sampled and greedy, in several chunk sizes: as each alone.
TEST_P(VectorsTest, TogetherAsAlone) {
  std::vector<GenerationRequest> requests;
  for (size_t i = 0; i < 32; ++i) {
    const json::value& test = cases()[i % cases().size()];
    GenerationRequest request = Greedy(test, 6 + i % 5);
    request.client = std::to_string(i % 2);
    request.memory.enabled = i % 3 != 0;
    request.memory.gates = i % 4 == 0;
    request.memory.rows = i % 5 == 0;
    request.num_choices = 1 + i % 2;
    request.sampling.seed = i;
    if (i % 2 == 1) request.sampling.temperature = 0.8f;
    requests.push_back(std::move(request));
  }
  std::vector<GenerationRecord> alone;
  {
    const auto engine = MakeEngine();
    for (const GenerationRequest& request : requests) alone.push_back(Generate(*engine, request));
  }
  for (const uint32_t chunk : {1u, 3u, 7u, 256u}) {
    SCOPED_TRACE(chunk);
    EngineOptions options;
    options.prefill_chunk = chunk;
    const auto engine = MakeEngine(options);
    std::vector<std::shared_ptr<RecordingListener>> listeners;
    for (const GenerationRequest& request : requests) listeners.push_back(SubmitRecorded(*engine, request));
    for (size_t i = 0; i < listeners.size(); ++i) {
      SCOPED_TRACE(i);
      const GenerationRecord record = listeners[i]->Wait();
      ASSERT_EQ(record.choices.size(), alone[i].choices.size());
      for (const auto& [index, choice] : record.choices) {
        const ChoiceRecord& other = alone[i].choices.at(index);
        EXPECT_EQ(choice.tokens, other.tokens);
        ASSERT_EQ(choice.traces.size(), other.traces.size());
        for (size_t t = 0; t < choice.traces.size(); ++t) {
          EXPECT_EQ(choice.traces[t].rows, other.traces[t].rows);
          EXPECT_EQ(choice.traces[t].gates, other.traces[t].gates);
        }
      }
    }
    EXPECT_EQ(engine->stats().kv_used_tokens, 0u);
  }
}

TEST_P(VectorsTest, MemoryIsCounted) {
  if (!has_memory_) GTEST_SKIP() << "a plain model";
  const auto engine = MakeEngine();
  Generate(*engine, Greedy(cases()[1], 4));
  const std::string text = metrics_.Text();
  // Two prompt tokens and three of the four generated ones.
  const BackboneInfo& info = engine->model().backbone().info();
  for (const uint32_t layer : info.engram_layers) {
    const std::string labels = "{model=\"vectors\",layer=\"" + std::to_string(layer) + "\"} ";
    EXPECT_NE(text.find("engramd_memory_rows_requested_total" + labels + std::to_string(5 * info.num_columns) + "\n"),
              std::string::npos);
    EXPECT_NE(text.find("engramd_memory_stall_seconds_total" + labels), std::string::npos);
    EXPECT_NE(text.find("engramd_tier_rows_total{model=\"vectors\",tier=\"dram\",layer=\"" + std::to_string(layer)),
              std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, VectorsTest,
                         testing::Values("plain", "dense-paper", "dense-paper-hc4", "moe-paper-hc4-fp8",
                                         "dense-v41-hc4-fp8"),
                         [](const testing::TestParamInfo<const char*>& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace engram
