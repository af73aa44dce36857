// SPDX-License-Identifier: Apache-2.0
#include "http/through_swaps.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

class ThroughSwapsTest : public ::testing::Test {
 protected:
  ThroughSwapsTest() {
    dir_.Write("config.json", R"({"vocab_size": 4096})");
    fs::create_symlink(fs::path(ENGRAM_TEST_SOURCE_DIR) / "tests/vectors/tokenizer.json",
                       dir_.path() / "tokenizer.json");
    engines_.Publish(MakeEngine());
  }
  std::shared_ptr<Engine> MakeEngine() {
    auto library =
        PluginLibrary::Load(fs::path(ENGRAM_TEST_PLUGIN_DIR) / "test/scripted_backbone.so", ENGRAM_PLUGIN_BACKBONE);
    auto model = Model::Load({"m", dir_.path(), library.value(), {}, {}});
    return std::make_shared<Engine>(std::move(model).value(), EngineOptions{}, metrics_);
  }
  const TempDir dir_;
  MetricRegistry metrics_;
  EngineDirectory engines_;
  int attempts_ = 0;
};

TEST_F(ThroughSwapsTest, ARefusalByAReplacedEngineIsTriedAgain) {
  const auto answer = ThroughSwaps(engines_, [&]() -> Result<const Engine*> {
    ++attempts_;
    const auto engine = engines_.Find("m").value();
    if (attempts_ <= 2) {
      engines_.Publish(MakeEngine());
      engine->Drain(std::chrono::steady_clock::now());
    }
    if (engine->stats().draining) return Unavailable("draining");
    return engine.get();
  });
  ASSERT_TRUE(answer);
  EXPECT_EQ(attempts_, 3);
  EXPECT_EQ(*answer, engines_.Find("m")->get());
}

TEST_F(ThroughSwapsTest, ARefusalThatStaysIsGivenBack) {
  const auto attempt = [&](auto refusal) {
    return [this, refusal = std::move(refusal)] {
      ++attempts_;
      return refusal;
    };
  };
  const Error draining = Unavailable("draining");
  EXPECT_FALSE(ThroughSwaps(engines_, attempt(Result<int>(draining))));
  EXPECT_TRUE(ThroughSwaps(engines_, attempt(std::optional<ApiError>(ApiError(draining)))));
  EXPECT_EQ(ThroughSwaps(engines_, [&] { return Reply(ErrorResponse(draining)); }).response.status, 503);
  EXPECT_EQ(attempts_, 2);
}

TEST_F(ThroughSwapsTest, OtherErrorsAreNotTriedAgain) {
  const auto answer = ThroughSwaps(engines_, [&]() -> Result<int> {
    ++attempts_;
    engines_.Remove("m");
    return InvalidArgument("wrong");
  });
  EXPECT_FALSE(answer);
  EXPECT_EQ(attempts_, 1);
}

}  // namespace
}  // namespace engram
