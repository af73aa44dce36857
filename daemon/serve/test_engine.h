// SPDX-License-Identifier: Apache-2.0
// Engines on the scripted backbone: its logits depend on every token of a sequence and it checks the contract.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "serve/engine.h"
#include "serve/test_generation.h"
#include "support/temp_dir.h"

namespace engram {

inline const std::filesystem::path kTokenizer =
    std::filesystem::path(ENGRAM_TEST_SOURCE_DIR) / "tests/vectors/tokenizer.json";

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

}  // namespace engram
