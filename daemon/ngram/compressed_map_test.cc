// SPDX-License-Identifier: Apache-2.0
#include "ngram/compressed_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <fstream>

#include "ngram/geometry.h"
#include "ngram/vector_file.h"

namespace engram {
namespace {

namespace json = boost::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class CompressedMapTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = Tokenizer::Load(VectorPath("tokenizer.json"));
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    tokenizer_ = *tokenizer;
    const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
    dir_ = std::filesystem::path(::testing::TempDir()) / (std::string("engram_") + test->name());
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void Ship(const std::string& text) { std::ofstream(dir_ / "compressed_map.json") << text; }

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::filesystem::path dir_;
};

TEST_F(CompressedMapTest, IsTheVectors) {
  const json::value vector = ReadVector("compressed_map.json");
  auto map = CompressedMap::Build(*tokenizer_, 4096);
  ASSERT_TRUE(map) << map.error().message;
  EXPECT_EQ(map->compressed_vocab_size(), vector.at("compressed_vocab_size").to_number<uint32_t>());
  EXPECT_EQ(std::vector<int32_t>(map->map().begin(), map->map().end()), ReadNumbers<int32_t>(vector.at("map")));
}

TEST_F(CompressedMapTest, PaddingIsNotCounted) {
  const CompressedMap exact = CompressedMap::Build(*tokenizer_, 4096).value();
  const CompressedMap padded = CompressedMap::Build(*tokenizer_, 4224).value();
  EXPECT_EQ(padded.num_tokens(), 4224);
  EXPECT_EQ(padded.compressed_vocab_size(), exact.compressed_vocab_size());
  for (int32_t id = 0; id < 4096; ++id) ASSERT_EQ(padded[id], exact[id]);
  for (int32_t id = 4096; id < 4224; ++id) ASSERT_EQ(padded[id], static_cast<int32_t>(exact.compressed_vocab_size()));
  // A model with a smaller embedding than its tokenizer still counts every token.
  EXPECT_EQ(CompressedMap::Build(*tokenizer_, 100)->compressed_vocab_size(), exact.compressed_vocab_size());
}

TEST_F(CompressedMapTest, RefusesSizesOutOfBounds) {
  for (int32_t size : {0, -1, CompressedMap::kMaxVocabSize + 1, 0x7FFFFFFF}) {
    auto map = CompressedMap::Build(*tokenizer_, size);
    ASSERT_FALSE(map) << size;
    EXPECT_THAT(map.error().message, AllOf(HasSubstr("vocab_size"), HasSubstr(std::to_string(size))));
  }
}

TEST_F(CompressedMapTest, GeometryOfTheModelsMap) {
  const CompressedMap map = CompressedMap::Build(*tokenizer_, 4096).value();
  const json::value engram = ReadVector("models/dense-paper/config.json").at("engram");
  EngramConfig config = EngramConfig::FromJson(engram).value();
  auto geometry = Geometry::Create(config, map);
  ASSERT_TRUE(geometry) << geometry.error().message;
  EXPECT_EQ(geometry->pad_compressed_id, map[4093]);
  config.pad_token_id = 4096;
  geometry = Geometry::Create(config, map);
  ASSERT_FALSE(geometry);
  EXPECT_EQ(geometry.error().field, "engram.pad_token_id");
}

TEST_F(CompressedMapTest, AcceptsTheShippedMapThatAgrees) {
  const CompressedMap map = CompressedMap::Build(*tokenizer_, 4224).value();
  EXPECT_TRUE(map.CheckShipped(dir_));  // none shipped
  Ship(json::serialize(ReadVector("compressed_map.json")));
  const Status status = map.CheckShipped(dir_);
  EXPECT_TRUE(status) << status.error().message;
}

TEST_F(CompressedMapTest, RefusesTheShippedMapThatDiffers) {
  const CompressedMap map = CompressedMap::Build(*tokenizer_, 4096).value();
  json::value shipped = ReadVector("compressed_map.json");
  const auto expect_refused = [&](const std::string& text, std::initializer_list<const char*> parts) {
    Ship(text);
    const Status status = map.CheckShipped(dir_);
    ASSERT_FALSE(status) << text.substr(0, 80);
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(status.error().message, HasSubstr("compressed_map.json"));
    for (const char* part : parts) EXPECT_THAT(status.error().message, HasSubstr(part));
  };
  json::value other = shipped;
  other.at("map").as_array()[300] = 3499;
  other.at("map").as_array()[301] = 3499;
  expect_refused(json::serialize(other), {"token id 300 ", "3499"});
  other.at("map").as_array()[300] = "x";
  expect_refused(json::serialize(other), {"token id 300 "});
  other = shipped;
  other.at("map").as_array().pop_back();
  expect_refused(json::serialize(other), {"token id 4095 ", "none"});
  other = shipped;
  other.at("map").as_array().push_back(1);
  expect_refused(json::serialize(other), {"4097", "4096"});
  other = shipped;
  other.at("compressed_vocab_size") = 3500;
  expect_refused(json::serialize(other), {"compressed_vocab_size", "3500", "3501"});
  expect_refused("{", {"JSON"});
  expect_refused("[]", {"object"});
  expect_refused(R"({"map": []})", {"compressed_vocab_size"});
  expect_refused(R"({"compressed_vocab_size": 3501, "map": 7})", {"map"});
}

}  // namespace
}  // namespace engram
