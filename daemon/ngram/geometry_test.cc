// SPDX-License-Identifier: Apache-2.0
#include "ngram/geometry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "ngram/int128.h"
#include "ngram/vector_file.h"

namespace engram {
namespace {

namespace json = boost::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kModels[] = {"dense-paper", "dense-paper-hc4", "dense-v41-hc4-fp8", "moe-paper-hc4-fp8"};

json::object ValidObject() {
  return json::parse(R"({"variant": "paper", "layer_ids": [1, 2], "max_ngram_size": 3, "n_heads": 4, "head_dim": 32,
    "vocab_size": [500, 900], "pad_token_id": 5, "compressed_vocab_size": 3501, "kernel_size": 4, "seed": 0})")
      .as_object();
}

EngramConfig ValidConfig() {
  return EngramConfig::FromJson(ValidObject()).value();
}

void ExpectConstants(const Geometry& geometry, const json::value& constants) {
  for (const LayerGeometry& layer : geometry.layers) {
    const std::string key = std::to_string(layer.layer);
    EXPECT_EQ(layer.multipliers, ReadNumberStrings(constants.at("multipliers").at(key)));
    EXPECT_EQ(layer.primes, ReadNumbers<int64_t>(constants.at("primes").at(key)));
    uint64_t sum = 0;
    for (size_t i = 0; i < layer.primes.size(); ++i) {
      EXPECT_EQ(layer.offsets[i], static_cast<int64_t>(sum));
      sum += static_cast<uint64_t>(layer.primes[i]);
    }
    EXPECT_EQ(layer.num_rows, sum);
  }
}

TEST(Geometry, FullSizeConstants) {
  const json::value models = ReadVector("hash_full_size.json");
  for (const auto& [name, model] : models.as_object()) {
    SCOPED_TRACE(std::string(name));
    auto config = EngramConfig::FromJson(model.at("engram"));
    ASSERT_TRUE(config) << config.error().message;
    auto geometry = Geometry::Create(*config, model.at("compressed_vocab_size").to_number<uint32_t>(), 2);
    ASSERT_TRUE(geometry) << geometry.error().message;
    ASSERT_EQ(geometry->layers.size(), config->layer_ids.size());
    ExpectConstants(*geometry, model);
    for (const LayerGeometry& layer : geometry->layers) {
      EXPECT_EQ(layer.num_rows, model.at("num_rows").at(std::to_string(layer.layer)).to_number<uint64_t>());
    }
  }
}

TEST(Geometry, SmallModelConstants) {
  for (const char* name : kModels) {
    SCOPED_TRACE(name);
    const std::string dir = std::string("models/") + name;
    auto config = EngramConfig::FromJson(ReadVector(dir + "/config.json").at("engram"));
    ASSERT_TRUE(config) << config.error().message;
    const json::value hash = ReadVector(dir + "/expected.json").at("hash");
    auto geometry = Geometry::Create(*config, hash.at("compressed_vocab_size").to_number<uint32_t>(), 3498);
    ASSERT_TRUE(geometry) << geometry.error().message;
    ExpectConstants(*geometry, hash);
  }
}

TEST(Geometry, RefusesAnotherCompressedSize) {
  auto geometry = Geometry::Create(ValidConfig(), 3500, 1);
  ASSERT_FALSE(geometry);
  EXPECT_EQ(geometry.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(geometry.error().message,
              AllOf(HasSubstr("3501"), HasSubstr("3500"), HasSubstr("compressed_vocab_size")));
}

TEST(Geometry, RefusesSizesThatMakeNoSense) {
  const auto expect_refused = [](const std::string& field, const EngramConfig& config, uint32_t size = 3501,
                                 int32_t pad = 0) {
    auto geometry = Geometry::Create(config, size, pad);
    ASSERT_FALSE(geometry) << field;
    EXPECT_EQ(geometry.error().field, field);
    EXPECT_THAT(geometry.error().message, HasSubstr(field));
  };
  EngramConfig config = ValidConfig();
  config.compressed_vocab_size = 0;
  expect_refused("engram.compressed_vocab_size", config, 0);
  expect_refused("engram.compressed_vocab_size", config, 0x80000000U);
  expect_refused("engram.pad_token_id", config, 3501, -1);
  expect_refused("engram.pad_token_id", config, 3501, 3502);
  config.max_ngram_size = 1;
  expect_refused("engram.max_ngram_size", config);
  config = ValidConfig();
  config.num_heads = 0;
  expect_refused("engram.n_heads", config);
  config = ValidConfig();
  config.vocab_size = {500};
  expect_refused("engram.vocab_size", config);
  for (uint64_t size : {uint64_t{0}, (uint64_t{1} << 40) + 1, ~uint64_t{0}}) {
    config = ValidConfig();
    config.vocab_size[1] = size;
    expect_refused("engram.vocab_size[1]", config);
  }
  config = ValidConfig();
  config.layer_ids.clear();
  expect_refused("engram.layer_ids", config);
  config.layer_ids.assign(10000, 1);
  expect_refused("engram.layer_ids", config);
}

TEST(Geometry, LargestSizesEndSoon) {
  EngramConfig config = ValidConfig();
  config.max_ngram_size = 32;
  config.num_heads = 66;
  config.layer_ids.resize(32);
  for (uint32_t i = 0; i < 32; ++i) config.layer_ids[i] = i;
  config.vocab_size.assign(31, uint64_t{1} << 40);
  auto geometry = Geometry::Create(config, 3501, 0);
  ASSERT_TRUE(geometry) << geometry.error().message;
  std::set<int64_t> primes;
  for (const LayerGeometry& layer : geometry->layers) {
    primes.insert(layer.primes.begin(), layer.primes.end());
    EXPECT_LT(layer.num_rows, uint64_t{1} << 62);
  }
  EXPECT_EQ(primes.size(), size_t{31} * 66 * 32);
}

TEST(Geometry, MultipliersNeverMakeAProductNegative) {
  for (uint32_t size : {1U, 2U, 3U, 3501U, 99092U, 0x7FFFFFFFU}) {
    EngramConfig config = ValidConfig();
    config.compressed_vocab_size = 0;
    for (config.seed = 0; config.seed < 20; ++config.seed) {
      auto geometry = Geometry::Create(config, size, 0);
      ASSERT_TRUE(geometry) << geometry.error().message;
      for (const LayerGeometry& layer : geometry->layers) {
        for (int64_t multiplier : layer.multipliers) {
          EXPECT_EQ(multiplier & 1, 1);
          EXPECT_LE(static_cast<Uint128>(multiplier) * size, (static_cast<Uint128>(1) << 63) - 1);
        }
      }
    }
  }
}

TEST(EngramConfig, ReadsEveryKey) {
  const EngramConfig config = ValidConfig();
  EXPECT_EQ(config.variant, "paper");
  EXPECT_EQ(config.layer_ids, (std::vector<uint32_t>{1, 2}));
  EXPECT_EQ(config.max_ngram_size, 3u);
  EXPECT_EQ(config.num_heads, 4u);
  EXPECT_EQ(config.head_dim, 32u);
  EXPECT_EQ(config.vocab_size, (std::vector<uint64_t>{500, 900}));
  EXPECT_EQ(config.pad_token_id, 5);
  EXPECT_EQ(config.compressed_vocab_size, 3501u);
  EXPECT_EQ(config.kernel_size, 4u);
  EXPECT_EQ(config.num_columns(), 8u);
  json::object object = ValidObject();
  object["vocab_size"] = 700;
  object["seed"] = 18446744073709551615U;
  object.erase("compressed_vocab_size");
  object["unknown"] = "ignored";
  auto other = EngramConfig::FromJson(object);
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_EQ(other->vocab_size, (std::vector<uint64_t>{700, 700}));
  EXPECT_EQ(other->seed, ~uint64_t{0});
  EXPECT_EQ(other->compressed_vocab_size, 0u);
}

TEST(EngramConfig, EveryErrorNamesTheKey) {
  const std::vector<std::pair<std::string, std::string>> cases = {{"variant", "7"},
                                                                  {"variant", "\"other\""},
                                                                  {"layer_ids", "[]"},
                                                                  {"layer_ids", "3"},
                                                                  {"layer_ids", "[1, 1]"},
                                                                  {"layer_ids", "[-1]"},
                                                                  {"layer_ids", "[1.5]"},
                                                                  {"layer_ids", "[99999999999]"},
                                                                  {"max_ngram_size", "1"},
                                                                  {"max_ngram_size", "33"},
                                                                  {"max_ngram_size", "null"},
                                                                  {"max_ngram_size", "\"3\""},
                                                                  {"n_heads", "0"},
                                                                  {"n_heads", "100000"},
                                                                  {"head_dim", "0"},
                                                                  {"head_dim", "-4"},
                                                                  {"vocab_size", "[500]"},
                                                                  {"vocab_size", "[500, 900, 900]"},
                                                                  {"vocab_size", "[0, 9]"},
                                                                  {"vocab_size", "[9, 1e300]"},
                                                                  {"vocab_size", "18446744073709551615"},
                                                                  {"vocab_size", "{}"},
                                                                  {"pad_token_id", "-1"},
                                                                  {"pad_token_id", "null"},
                                                                  {"kernel_size", "-1"},
                                                                  {"seed", "-1"},
                                                                  {"seed", "0.5"},
                                                                  {"compressed_vocab_size", "0"},
                                                                  {"compressed_vocab_size", "4294967296"}};
  for (const auto& [key, value] : cases) {
    json::object object = ValidObject();
    object[key] = json::parse(value);
    auto config = EngramConfig::FromJson(object);
    ASSERT_FALSE(config) << key << " " << value;
    EXPECT_THAT(config.error().message, HasSubstr("engram." + key)) << value;
    EXPECT_THAT(config.error().field, HasSubstr("engram." + key)) << value;
  }
  for (const char* key :
       {"variant", "layer_ids", "max_ngram_size", "n_heads", "head_dim", "vocab_size", "pad_token_id"}) {
    json::object object = ValidObject();
    object.erase(key);
    auto config = EngramConfig::FromJson(object);
    ASSERT_FALSE(config) << key;
    EXPECT_EQ(config.error().field, std::string("engram.") + key);
  }
  EXPECT_FALSE(EngramConfig::FromJson(json::array{}));
}

}  // namespace
}  // namespace engram
