// SPDX-License-Identifier: Apache-2.0
// Engines on the reference models of tests/vectors and the trained one, with the real plugins.
#pragma once

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"
#include "serve/engine.h"
#include "serve/test_generation.h"
#include "support/temp_dir.h"

namespace engram {

inline const std::filesystem::path kVectors = std::filesystem::path(ENGRAM_TEST_SOURCE_DIR) / "tests/vectors";
inline const std::filesystem::path kTrained = std::filesystem::path(ENGRAM_TEST_SOURCE_DIR) / "models/lexicon";

inline std::vector<int32_t> Tokens(const boost::json::value& list) {
  return boost::json::value_to<std::vector<int32_t>>(list);
}

class VectorsModelTest : public testing::TestWithParam<const char*> {
 protected:
  // The vectors' models share one tokenizer.json, a served directory has its own.
  void SetUp() override {
    const bool trained = GetParam() == kTrained.filename();
    const std::filesystem::path source = trained ? kTrained : kVectors / "models" / GetParam();
    for (const char* name : {"config.json", "model.safetensors"})
      std::filesystem::create_symlink(source / name, dir_ / name);
    std::filesystem::create_symlink((trained ? kTrained : kVectors) / "tokenizer.json", dir_ / "tokenizer.json");
    expected_ = boost::json::parse(ReadFile(source / "expected.json", 64u << 20).value());
    const boost::json::value config = boost::json::parse(ReadFile(source / "config.json", 1u << 20).value());
    has_memory_ = config.as_object().contains("engram");
  }

  std::unique_ptr<Engine> MakeEngine(EngineOptions options = {}) {
    const auto load = [](const char* name, engram_plugin_kind kind) {
      auto library = PluginLibrary::Load(std::filesystem::path(ENGRAM_TEST_PLUGIN_DIR) / name, kind);
      EXPECT_TRUE(library.has_value()) << (library ? "" : library.error().message);
      return *library;
    };
    ModelOptions model_options{"vectors", dir_, load("backbone_cpu.so", ENGRAM_PLUGIN_BACKBONE), {}, {}};
    if (has_memory_) model_options.tiers.push_back({"dram", load("tier_dram.so", ENGRAM_PLUGIN_TIER), {}});
    Result<std::unique_ptr<Model>> model = Model::Load(std::move(model_options));
    EXPECT_TRUE(model.has_value()) << (model ? "" : model.error().message);
    return std::make_unique<Engine>(std::move(model).value(), options, metrics_);
  }
  const boost::json::array& cases() const { return expected_.at("cases").as_array(); }
  static GenerationRequest Greedy(const boost::json::value& test, size_t max_tokens) {
    GenerationRequest request;
    request.prompt = Tokens(test.at("prompt"));
    request.max_tokens = static_cast<uint32_t>(max_tokens);
    request.ignore_eos = true;
    request.sampling.temperature = 0;
    return request;
  }

  const TempDir temp_dir_;
  const std::filesystem::path dir_ = temp_dir_.path();
  boost::json::value expected_;
  bool has_memory_ = false;
  MetricRegistry metrics_;
};

}  // namespace engram
