// SPDX-License-Identifier: Apache-2.0
// The five reference models of tests/vectors and the trained one through the whole engine, with the real plugins: what
// is generated, scored and reported must be what the independent reference computed.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

#include "serve/test_vectors_model.h"

namespace engram {
namespace {

namespace json = boost::json;

using VectorsTest = VectorsModelTest;

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
  auto edits = std::make_shared<MemoryEdits>();
  edits->version = 3;
  edits->layers.resize(2);
  ModelMemory& memory = *engine->model().memory();
  edits->layers[1].Set(5, 3, std::vector<uint8_t>(memory.row_bytes()));
  memory.Publish(edits);
  memory.overlays().Put(*Overlay::Create("o", {}, 2));
  const std::string text = metrics_.Text();
  const std::string edited_layer = std::to_string(memory.layers()[1]);
  for (const std::string& line :
       {std::string("engramd_memory_version{model=\"vectors\"} 3\n"),
        "engramd_memory_edited_rows{model=\"vectors\",layer=\"" + edited_layer + "\"} 1\n",
        "engramd_memory_edited_bytes{model=\"vectors\",layer=\"" + edited_layer + "\"} " +
            std::to_string(edits->layers[1].resident_bytes()) + "\n",
        std::string("engramd_overlays{model=\"vectors\"} 1\n"), std::string("engramd_overlay_bytes{")})
    EXPECT_NE(text.find(line), std::string::npos) << line;
  // The prompt and three of the four generated tokens.
  const size_t tokens = cases()[1].at("prompt").as_array().size() + 3;
  const BackboneInfo& info = engine->model().backbone().info();
  for (const uint32_t layer : info.engram_layers) {
    const std::string labels = "{model=\"vectors\",layer=\"" + std::to_string(layer) + "\"} ";
    EXPECT_NE(
        text.find("engramd_memory_rows_requested_total" + labels + std::to_string(tokens * info.num_columns) + "\n"),
        std::string::npos);
    EXPECT_NE(text.find("engramd_memory_stall_seconds_total" + labels), std::string::npos);
    EXPECT_NE(text.find("engramd_tier_rows_total{model=\"vectors\",tier=\"dram\",layer=\"" + std::to_string(layer)),
              std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, VectorsTest,
                         testing::Values("plain", "dense-paper", "dense-paper-hc4", "moe-paper-hc4-fp8",
                                         "dense-v41-hc4-fp8", "lexicon"),
                         [](const testing::TestParamInfo<const char*>& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace engram
