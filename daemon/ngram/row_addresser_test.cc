// SPDX-License-Identifier: Apache-2.0
#include "ngram/row_addresser.h"

#include <gtest/gtest.h>

#include <random>

#include "ngram/int128.h"
#include "ngram/vector_file.h"

namespace engram {
namespace {

namespace json = boost::json;

struct Token {
  int32_t id;
  bool masked = false;
};
using Rows = std::vector<std::vector<uint64_t>>;  // [tokens][layers * columns]

Rows Address(RowAddresser& addresser, const Geometry& geometry, const std::vector<Token>& tokens) {
  Rows rows;
  for (const Token& token : tokens) {
    rows.emplace_back(geometry.layers.size() * geometry.num_columns);
    addresser.Append(token.id, token.masked, rows.back());
  }
  return rows;
}

Rows Address(const Geometry& geometry, const std::vector<Token>& tokens) {
  RowAddresser addresser(geometry);
  return Address(addresser, geometry, tokens);
}

std::vector<Token> Unmasked(const std::vector<int32_t>& ids) {
  std::vector<Token> tokens;
  for (int32_t id : ids) tokens.push_back({id});
  return tokens;
}

void ExpectRows(const Geometry& geometry, const Rows& rows, const json::value& expected) {
  for (size_t layer = 0; layer < geometry.layers.size(); ++layer) {
    const json::array& positions = expected.at(std::to_string(geometry.layers[layer].layer)).as_array();
    ASSERT_EQ(positions.size(), rows.size());
    for (size_t t = 0; t < rows.size(); ++t) {
      const auto first = rows[t].begin() + static_cast<ptrdiff_t>(layer * geometry.num_columns);
      EXPECT_EQ(std::vector<uint64_t>(first, first + geometry.num_columns), ReadNumbers<uint64_t>(positions[t]))
          << "layer " << geometry.layers[layer].layer << " position " << t;
    }
  }
}

// The definition read literally, position by position, with none of the code under test.
Rows SlowRows(const EngramConfig& config, const Geometry& geometry, const std::vector<Token>& tokens) {
  Rows rows;
  for (int64_t t = 0; t < static_cast<int64_t>(tokens.size()); ++t) {
    std::vector<uint64_t>& out = rows.emplace_back();
    for (const LayerGeometry& layer : geometry.layers) {
      Int128 offset = 0;
      for (uint32_t order = 2; order <= config.max_ngram_size; ++order) {
        for (uint32_t head = 0; head < config.num_heads; ++head) {
          const int64_t prime = layer.primes[(order - 2) * config.num_heads + head];
          Int128 mix = 0;
          bool blocked = false;
          for (int64_t back = 0; back < order; ++back) {
            blocked = blocked || t - back < 0 || tokens[static_cast<size_t>(t - back)].masked;
            const int64_t id = blocked ? geometry.pad_compressed_id : tokens[static_cast<size_t>(t - back)].id;
            mix ^= static_cast<Int128>(id) * layer.multipliers[static_cast<size_t>(back)];
          }
          EXPECT_LT(mix, static_cast<Int128>(1) << 63);
          out.push_back(static_cast<uint64_t>(mix % prime + offset));
          offset += prime;
        }
      }
    }
  }
  return rows;
}

TEST(RowAddresser, FullSizeRows) {
  const json::value models = ReadVector("hash_full_size.json");
  for (const auto& [name, model] : models.as_object()) {
    SCOPED_TRACE(std::string(name));
    const EngramConfig config = EngramConfig::FromJson(model.at("engram")).value();
    // The ids there are compressed already, the pad's too.
    const Geometry geometry =
        Geometry::Create(config, model.at("compressed_vocab_size").to_number<uint32_t>(), config.pad_token_id).value();
    for (const json::value& sequence : model.at("sequences").as_array()) {
      const auto ids = ReadNumbers<int32_t>(sequence.at("compressed_ids"));
      ExpectRows(geometry, Address(geometry, Unmasked(ids)), sequence.at("rows"));
    }
  }
}

TEST(RowAddresser, SmallModelRows) {
  const json::value compressed = ReadVector("compressed_map.json");
  const auto map = ReadNumbers<int32_t>(compressed.at("map"));
  for (const char* name : {"dense-paper", "dense-paper-hc4", "dense-v41-hc4-fp8", "moe-paper-hc4-fp8"}) {
    SCOPED_TRACE(name);
    const std::string dir = std::string("models/") + name;
    const EngramConfig config = EngramConfig::FromJson(ReadVector(dir + "/config.json").at("engram")).value();
    const Geometry geometry = Geometry::Create(config, compressed.at("compressed_vocab_size").to_number<uint32_t>(),
                                               map[static_cast<size_t>(config.pad_token_id)])
                                  .value();
    const json::value expected = ReadVector(dir + "/expected.json");
    ASSERT_FALSE(expected.at("cases").as_array().empty());
    for (const json::value& test : expected.at("cases").as_array()) {
      std::vector<int32_t> ids = ReadNumbers<int32_t>(test.at("prompt"));
      for (int32_t& id : ids) id = map[static_cast<size_t>(id)];
      ExpectRows(geometry, Address(geometry, Unmasked(ids)), test.at("rows"));
    }
  }
}

// Any shape: against the definition, in one go and in chunks, and with forks by copy.
TEST(RowAddresser, RandomGeometriesAgreeWithTheDefinition) {
  std::mt19937_64 random(20240917);
  const auto pick = [&](uint64_t low, uint64_t high) { return low + random() % (high - low + 1); };
  for (int round = 0; round < 200; ++round) {
    EngramConfig config;
    config.max_ngram_size = static_cast<uint32_t>(pick(2, 8));
    config.num_heads = static_cast<uint32_t>(pick(1, 9));
    config.seed = random();
    for (uint32_t layer = 0; layer < pick(1, 4); ++layer) config.layer_ids.push_back(layer * 7 + 1);
    // Small, huge and equal bounds; the smallest makes the prime 2 a column.
    const uint64_t limit = uint64_t{1} << pick(1, 40);
    for (uint32_t n = 2; n <= config.max_ngram_size; ++n) config.vocab_size.push_back(pick(1, limit));
    const auto size = static_cast<uint32_t>(pick(1, uint64_t{1} << pick(1, 30)));
    const Geometry geometry = Geometry::Create(config, size, static_cast<int32_t>(pick(0, size - 1))).value();
    std::vector<Token> tokens(pick(1, 40));
    for (Token& token : tokens) token = {static_cast<int32_t>(pick(0, size)), pick(0, 9) == 0};
    const Rows expected = SlowRows(config, geometry, tokens);
    ASSERT_EQ(Address(geometry, tokens), expected) << "round " << round;

    RowAddresser first(geometry);
    const auto middle = tokens.begin() + static_cast<ptrdiff_t>(pick(0, tokens.size()));
    Rows joined = Address(first, geometry, {tokens.begin(), middle});
    RowAddresser fork(first);
    const Rows other = Address(fork, geometry, {{0}, {0}, {0}});
    const Rows rest = Address(first, geometry, {middle, tokens.end()});
    joined.insert(joined.end(), rest.begin(), rest.end());
    ASSERT_EQ(joined, expected) << "round " << round;
    std::vector<Token> forked(tokens.begin(), middle);
    forked.insert(forked.end(), 3, Token{0});
    const Rows all = Address(geometry, forked);
    ASSERT_EQ(other, Rows(all.end() - 3, all.end())) << "round " << round;
  }
}

TEST(RowAddresser, AMaskedPositionHidesItselfAndAllBefore) {
  EngramConfig config =
      EngramConfig::FromJson(ReadVector("hash_full_size.json").at("deepseek-v4.1-flash").at("engram")).value();
  const Geometry geometry = Geometry::Create(config, 99092, 2).value();
  const Rows rows = Address(geometry, {{10}, {11}, {12, true}, {13}, {14}});
  const Rows fresh = Address(geometry, {{13}, {14}});
  EXPECT_EQ(rows[3], fresh[0]);
  EXPECT_EQ(rows[4], fresh[1]);
  EXPECT_EQ(rows[2], Address(geometry, {{2}})[0]);  // itself only padding
}

// Every column's remainder is exact at the values where a reciprocal's estimate is off by one.
TEST(RowAddresser, RemaindersAreExactAtMultiplesOfPrimes) {
  EngramConfig config;
  config.max_ngram_size = 2;
  config.num_heads = 40;
  config.layer_ids = {0};
  config.vocab_size = {1};
  Geometry geometry = Geometry::Create(config, 1, 0).value();
  LayerGeometry& layer = geometry.layers[0];
  layer.multipliers[1] = 0;
  std::vector<uint64_t> rows(geometry.num_columns);
  for (size_t column = 0; column < geometry.num_columns; ++column) {
    const auto prime = static_cast<uint64_t>(layer.primes[column]);
    for (uint64_t multiple :
         {uint64_t{1}, uint64_t{2}, (uint64_t{1} << 63) / prime, ((uint64_t{1} << 63) - 1) / prime}) {
      for (int64_t delta : {-1, 0, 1}) {
        const uint64_t value = multiple * prime + static_cast<uint64_t>(delta);
        layer.multipliers[0] = static_cast<int64_t>(value);
        RowAddresser addresser(geometry);
        addresser.Append(1, false, rows);
        EXPECT_EQ(rows[column], value % prime + static_cast<uint64_t>(layer.offsets[column])) << value << " " << prime;
      }
    }
  }
}

}  // namespace
}  // namespace engram
