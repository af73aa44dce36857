// SPDX-License-Identifier: Apache-2.0
#include "plugin/backbone.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace engram {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

// Gives token t's rows the bytes t + 1; fails for `failing_layer`.
class FakeRows final : public RowProvider {
 public:
  Result<engram_row_view> AwaitRows(engram_batch_rows* rows, uint32_t layer) override {
    EXPECT_EQ(rows, handle());
    if (layer == failing_layer) return DataLoss("row 5 of layer 3 is gone");
    asked.push_back(layer);
    for (size_t t = 0; t < 4; ++t)
      for (size_t i = 0; i < 16; ++i) bytes[t * 16 + i] = static_cast<uint8_t>(t + 1);
    return engram_row_view{sizeof(engram_row_view), 4, 2, 8, bytes.data()};
  }
  engram_batch_rows* handle() { return reinterpret_cast<engram_batch_rows*>(this); }

  uint32_t failing_layer = 99;
  std::vector<uint32_t> asked;
  alignas(64) std::array<uint8_t, 64> bytes{};
};

class BackboneTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Backbone>> Open(const std::string& act) {
    auto library =
        PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/test/test_backbone.so", ENGRAM_PLUGIN_BACKBONE);
    if (!library) return std::move(library).error();
    return Backbone::Open(*library, "/nowhere", {{"do", act}}, rows_);
  }
  Error WhyNotOpen(const std::string& act) {
    auto backbone = Open(act);
    return backbone ? Internal("opened") : std::move(backbone).error();
  }
  // One batch of two tokens, of which the second is flagged.
  Result<StepOutput> Step(Backbone& backbone, uint32_t flags = 0) { return backbone.Step(Batch(flags)); }
  engram_batch Batch(uint32_t flags) {
    engram_batch batch{};
    batch.flags = flags;
    batch.num_slices = 1;
    batch.num_tokens = 2;
    batch.slices = &slice_;
    batch.tokens = tokens_;
    batch.wants_logits = wants_;
    batch.rows = rows_.handle();
    return batch;
  }
  Error WhyNotStep(const std::string& act, uint32_t flags = 0) {
    auto backbone = Open(act);
    if (!backbone) return std::move(backbone).error();
    auto output = Step(**backbone, flags);
    return output ? Internal("stepped") : std::move(output).error();
  }

  FakeRows rows_;
  engram_slice slice_{7, 0, 2, 0, 0};
  int32_t tokens_[2] = {1, 2};
  uint8_t wants_[2] = {0, 1};
};

TEST_F(BackboneTest, StepsWithRowsAndGates) {
  auto backbone = Open("");
  ASSERT_TRUE(backbone) << backbone.error().message;
  EXPECT_EQ((*backbone)->info().vocab_size, 8u);
  EXPECT_EQ((*backbone)->info().engram_layers, (std::vector<uint32_t>{1, 3}));
  EXPECT_EQ((*backbone)->info().device, "test");
  EXPECT_EQ((*backbone)->NewSequence(10).value_or(0), 7u);
  EXPECT_EQ((*backbone)->ForkSequence(7, 10).value_or(0), 8u);
  const Status truncated = (*backbone)->TruncateSequence(7, 1);
  ASSERT_FALSE(truncated);
  EXPECT_EQ(truncated.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(truncated.error().message, "test_backbone: sequence_truncate: no truncation here");

  const auto output = Step(**backbone, ENGRAM_BATCH_GATES);
  ASSERT_TRUE(output) << output.error().message;
  EXPECT_EQ(output->num_logits, 1u);
  EXPECT_EQ(output->logits[0], 2.0f);  // the second token's rows
  EXPECT_EQ(output->gates[3], 0.5f);
  EXPECT_EQ(rows_.asked, (std::vector<uint32_t>{0, 1}));
  EXPECT_EQ(Step(**backbone)->gates, nullptr);
  EXPECT_EQ((*backbone)->Stats()->num_steps, 5u);
}

TEST_F(BackboneTest, OpenFailuresKeepCodeAndMessage) {
  EXPECT_EQ(WhyNotOpen("open_fails").message, "test_backbone: open: config.json is missing");
  EXPECT_EQ(WhyNotOpen("open_fails").code, ErrorCode::kNotFound);
  EXPECT_THAT(WhyNotOpen("open_silent").message, HasSubstr("gave status 5 and no message"));
  EXPECT_EQ(WhyNotOpen("open_silent").code, ErrorCode::kUnavailable);
  EXPECT_EQ(WhyNotOpen("open_unknown_status").code, ErrorCode::kInternal);
  EXPECT_THAT(WhyNotOpen("open_unknown_status").message, HasSubstr("4711"));
  EXPECT_THAT(WhyNotOpen("open_null").message, HasSubstr("returned no instance"));
  EXPECT_THAT(WhyNotOpen("open_throws").message, EndsWith("thrown in C++"));
  EXPECT_EQ(WhyNotOpen("open_throws_int").code, ErrorCode::kInternal);
  EXPECT_EQ(WhyNotOpen("open_not_utf8").message, "test_backbone: open: bad \xef\xbf\xbd byte and a second line");
}

TEST_F(BackboneTest, AMessageWithoutAnEndIsEnded) {
  const Error error = WhyNotOpen("open_unterminated");
  EXPECT_EQ(error.code, ErrorCode::kIo);
  EXPECT_EQ(error.message, "test_backbone: open: " + std::string(1023, 'x'));
}

TEST_F(BackboneTest, RefusesImpossibleDescriptions) {
  EXPECT_THAT(WhyNotOpen("describe_fails").message, HasSubstr("describe: gave status 11"));
  EXPECT_THAT(WhyNotOpen("vocab_zero").message, HasSubstr("vocab_size is 0, expected 1 to 16777216"));
  EXPECT_THAT(WhyNotOpen("vocab_huge").message, HasSubstr("vocab_size is 4294967295"));
  EXPECT_THAT(WhyNotOpen("layer_too_high").message, HasSubstr("engram_layers[1] is 3, but the model has 3 layers"));
  EXPECT_THAT(WhyNotOpen("too_many_layers").message, HasSubstr("num_engram_layers is 4000000000, expected 0 to 4"));
  EXPECT_THAT(WhyNotOpen("layers_descend").message, HasSubstr("engram_layers[1] is 1 after 3"));
  EXPECT_THAT(WhyNotOpen("layers_null").message, HasSubstr("engram_layers is NULL"));
  EXPECT_THAT(WhyNotOpen("no_columns").message, HasSubstr("num_columns is 0"));
  EXPECT_THAT(WhyNotOpen("row_format").message, HasSubstr("row_format is 99"));
  EXPECT_THAT(WhyNotOpen("device_null").message, HasSubstr("device is NULL"));
}

TEST_F(BackboneTest, RefusesOutputThatDoesNotFitTheBatch) {
  EXPECT_THAT(WhyNotStep("logits_short").message, HasSubstr("returned logits of 0 tokens, 1 were flagged"));
  EXPECT_THAT(WhyNotStep("logits_null").message, HasSubstr("returned no logits"));
  EXPECT_THAT(WhyNotStep("gates_null", ENGRAM_BATCH_GATES).message, HasSubstr("returned no gates"));
  EXPECT_THAT(WhyNotStep("", ENGRAM_BATCH_HIDDEN).message, HasSubstr("returned no hidden states"));
  EXPECT_THAT(WhyNotStep("step_throws").message, HasSubstr("thrown in step"));
  auto backbone = Open("sequence_zero");
  ASSERT_TRUE(backbone);
  EXPECT_THAT((*backbone)->NewSequence(1).error().message, HasSubstr("invalid id 0"));
  EXPECT_EQ((*Open("stats_fails"))->Stats().error().code, ErrorCode::kUnavailable);
}

TEST_F(BackboneTest, AnErrorOfTheRowsArrivesAsItWas) {
  rows_.failing_layer = 1;
  const Error error = WhyNotStep("");
  EXPECT_EQ(error.code, ErrorCode::kDataLoss);
  EXPECT_EQ(error.message, "test_backbone: step: row 5 of layer 3 is gone");
  // A step that pretends nothing happened computed from nothing.
  EXPECT_EQ(WhyNotStep("ignores_await_error").code, ErrorCode::kDataLoss);
  // The error belongs to its step.
  auto backbone = Open("");
  ASSERT_FALSE(Step(**backbone));
  rows_.failing_layer = 99;
  EXPECT_TRUE(Step(**backbone));
}

TEST_F(BackboneTest, AnswersOnlyForTheBatchsOwnRows) {
  EXPECT_THAT(WhyNotStep("await_wrong_rows").message, HasSubstr("rows of another batch"));
  EXPECT_THAT(WhyNotStep("await_wrong_layer").message, HasSubstr("layer index 2 of 2"));
  auto backbone = Open("await_without_rows");
  ASSERT_TRUE(backbone);
  engram_batch batch = Batch(0);
  batch.rows = nullptr;
  const auto output = (*backbone)->Step(batch);
  ASSERT_FALSE(output);
  EXPECT_THAT(output.error().message, HasSubstr("outside a step() whose batch has rows"));
  EXPECT_TRUE(Step(**Open("await_null_view")));
  EXPECT_TRUE(Step(**Open("log_loud")));
}

TEST_F(BackboneTest, TheExampleExpectsTheNextToken) {
  auto library = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/examples/minimal_backbone.so",
                                     ENGRAM_PLUGIN_BACKBONE);
  ASSERT_TRUE(library) << library.error().message;
  EXPECT_THAT(Backbone::Open(*library, "/nowhere", {{"colour", "red"}}, rows_).error().message,
              HasSubstr("unknown option \"colour\""));
  auto backbone = Backbone::Open(*library, "/nowhere", {{"vocab_size", "3"}}, rows_);
  ASSERT_TRUE(backbone) << backbone.error().message;
  const auto sequence = (*backbone)->NewSequence(4);
  ASSERT_TRUE(sequence);
  slice_.sequence = *sequence;
  engram_batch batch = Batch(0);
  batch.rows = nullptr;
  const auto output = (*backbone)->Step(batch);
  ASSERT_TRUE(output) << output.error().message;
  EXPECT_EQ(std::vector<float>(output->logits, output->logits + 3), (std::vector<float>{10, 0, 0}));  // (2 + 1) mod 3
  EXPECT_FALSE((*backbone)->Step(batch));  // position 0 again
}

}  // namespace
}  // namespace engram
