// SPDX-License-Identifier: Apache-2.0
#include "http/overlay_body.h"

#include <gtest/gtest.h>

#include "http/json_body.h"

namespace engram {
namespace {

class OverlayBodyTest : public testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = Tokenizer::Load(std::string(ENGRAM_TEST_SOURCE_DIR) + "/tests/vectors/tokenizer.json");
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    tokenizer_ = *tokenizer;
  }
  Result<OverlayRequest> Read(const std::string& text) {
    auto object = ParseJsonObject(text);
    if (!object) return object.error();
    JsonFields fields(*object);
    return ReadOverlayFields(fields, {tokenizer_.get(), 4096}, 3);
  }
  std::shared_ptr<const Tokenizer> tokenizer_;
};

TEST_F(OverlayBodyTest, ReadsBothKindsInOrder) {
  const auto overlay = Read(R"({"ttl_s": 0.5, "entries": [
    {"suffix": {"text": "中国的首都"}, "memory": {"1": [1, 2], "14": [3]}},
    {"layer": 1, "row": 7, "values": [1]},
    {"suffix": {"tokens": [3, 4]}, "memory": {"1": [1]}}]})");
  ASSERT_TRUE(overlay) << overlay.error().message;
  EXPECT_EQ(overlay->ttl, std::chrono::milliseconds(500));
  ASSERT_EQ(overlay->rows.size(), 1u);
  EXPECT_EQ(overlay->row_entries, (std::vector<uint32_t>{1}));
  ASSERT_EQ(overlay->guarded.size(), 2u);
  EXPECT_EQ(overlay->guarded_entries, (std::vector<uint32_t>{0, 2}));
  EXPECT_EQ(overlay->guarded[0].suffix, *tokenizer_->Encode("中国的首都", false));
  EXPECT_EQ(overlay->guarded[0].memory.at(14), (std::vector<float>{3}));
  const auto empty = Read(R"({"entries": []})");
  ASSERT_TRUE(empty);
  EXPECT_FALSE(empty->ttl);
}

TEST_F(OverlayBodyTest, NamesTheFieldAtFault) {
  const std::pair<const char*, const char*> cases[] = {
      {"{}", "entries"},
      {R"({"entries": 1})", "entries"},
      {R"({"entries": [1]})", "entries[0]"},
      {R"({"entries": [{}, {}, {}, {}]})", "entries"},
      {R"({"entries": [{}]})", "entries[0].layer"},
      {R"({"entries": [{"layer": 1, "row": 1, "mode": "add", "values": [1]}]})", "entries[0].mode"},
      {R"({"entries": [{"suffix": {"tokens": [1, 2]}}]})", "entries[0].memory"},
      {R"({"entries": [{"memory": {"1": [1]}}]})", "entries[0].suffix"},
      {R"({"entries": [{"suffix": {}, "memory": {"1": [1]}}]})", "entries[0].suffix.text"},
      {R"({"entries": [{"suffix": {"tokens": [1, -2]}, "memory": {"1": [1]}}]})", "entries[0].suffix.tokens[1]"},
      {R"({"entries": [{"suffix": {"tokens": [1, 2]}, "memory": {}}]})", "entries[0].memory"},
      {R"({"entries": [{"suffix": {"tokens": [1, 2]}, "memory": {"01": [1]}}]})", "entries[0].memory"},
      {R"({"entries": [{"suffix": {"tokens": [1, 2]}, "memory": {"x": [1]}}]})", "entries[0].memory"},
      {R"({"entries": [{"suffix": {"tokens": [1, 2]}, "memory": {"1": 5}}]})", "entries[0].memory.1"},
      {R"({"entries": [{"suffix": {"tokens": [1, 2]}, "memory": {"1": [1]}, "layer": 1}]})", "entries[0].layer"},
      {R"({"entries": [], "ttl_s": 0})", "ttl_s"},
      {R"({"entries": [], "ttl_s": "1"})", "ttl_s"},
      {R"({"entries": [], "ttl": 1})", "ttl"},
  };
  for (const auto& [text, want] : cases) {
    const auto overlay = Read(text);
    ASSERT_FALSE(overlay) << text;
    EXPECT_EQ(overlay.error().field, want) << text << ": " << overlay.error().message;
  }
}

}  // namespace
}  // namespace engram
