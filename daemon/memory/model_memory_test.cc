// SPDX-License-Identifier: Apache-2.0
// The tables of the reference models, through the real DRAM tier.
#include "memory/model_memory.h"

#include <engram/safetensors.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <boost/json/value_to.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "core/file.h"
#include "memory/packed_table.h"
#include "memory/safetensors_rows.h"
#include "memory/test_reference_model.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using ::testing::HasSubstr;

// One row straight from the files, laid out as engram/host.h says.
std::vector<uint8_t> StoredRow(const sdk::SafetensorsModel& model, uint32_t layer, uint64_t row) {
  const std::string prefix = "model.layers." + std::to_string(layer) + ".engram.embed.";
  std::vector<uint8_t> bytes;
  for (const char* part : {"weight", "scale"}) {
    const sdk::TensorInfo* tensor = model.Find(prefix + part);
    if (tensor == nullptr) continue;
    const uint64_t size = tensor->num_bytes / tensor->shape[0];
    bytes.resize(bytes.size() + size);
    model.Read(prefix + part, row * size, size, bytes.data() + bytes.size() - size);
  }
  return bytes;
}

// Gathers the rows of `tokens` in two runs, with one token without memory between, and compares each with the files.
void ExpectStoredRows(ModelMemory& memory, const fs::path& model_dir, const std::vector<int32_t>& tokens) {
  const sdk::SafetensorsModel model(model_dir.string());
  RowAddresser addresser(memory.geometry());
  std::vector<uint64_t> ids;
  const size_t half = tokens.size() / 2;
  memory.AppendRowIds(addresser, std::span(tokens).first(half), ids);
  memory.AppendRowIds(addresser, std::span(tokens).subspan(half), ids);
  const auto& layers = memory.geometry().layers;
  const uint32_t columns = memory.geometry().num_columns;
  const size_t per_token = layers.size() * columns;
  ASSERT_EQ(ids.size(), tokens.size() * per_token);

  const auto first = static_cast<uint32_t>(half);
  const auto view = memory.View();
  ASSERT_TRUE(view);
  const BatchRowIds runs[2] = {
      {0, first, ids.data(), &*view, {}, 0},
      {first + 1, static_cast<uint32_t>(tokens.size() - half), &ids[half * per_token], &*view, {}, 0}};
  std::vector<uint32_t> ascending;
  for (const LayerGeometry& layer : layers) ascending.push_back(layer.layer);
  std::sort(ascending.begin(), ascending.end());
  engram_batch_rows* rows = memory.BeginBatch(static_cast<uint32_t>(tokens.size() + 1), runs);
  for (uint32_t index = 0; index < ascending.size(); ++index) {
    const auto awaited = memory.AwaitRows(rows, index);
    ASSERT_TRUE(awaited) << awaited.error().message;
    ASSERT_EQ(awaited->row_bytes, memory.row_bytes());
    const size_t in_file = static_cast<size_t>(
        std::find_if(layers.begin(), layers.end(), [&](const auto& l) { return l.layer == ascending[index]; }) -
        layers.begin());
    for (size_t t = 0; t < tokens.size(); ++t) {
      for (uint32_t c = 0; c < columns; ++c) {
        const uint64_t id = ids[t * per_token + in_file * columns + c];
        const uint8_t* row = awaited->data + ((t + (t >= half ? 1 : 0)) * columns + c) * awaited->row_bytes;
        ASSERT_EQ(std::vector<uint8_t>(row, row + awaited->row_bytes), StoredRow(model, ascending[index], id))
            << "layer " << ascending[index] << " token " << t << " column " << c << " row " << id;
      }
    }
  }
  memory.EndBatch(rows);
}

class ReferenceModel : public ::testing::TestWithParam<const char*> {};

TEST_P(ReferenceModel, RowsEqualThoseInTheFiles) {
  const fs::path directory = kVectors / "models" / GetParam();
  const json::value config = ReadJson(directory / "config.json");
  auto memory = ModelMemory::Open(OptionsFor(directory, config.at("engram")), Map());
  ASSERT_TRUE(memory) << memory.error().message;
  const json::value expected = ReadJson(directory / "expected.json");
  for (const json::value& entry : expected.at("cases").as_array()) {
    const auto tokens = json::value_to<std::vector<int32_t>>(entry.at("prompt"));
    ExpectStoredRows(**memory, directory, tokens);
    // And the ids are the reference's.
    RowAddresser addresser((*memory)->geometry());
    std::vector<uint64_t> ids;
    (*memory)->AppendRowIds(addresser, tokens, ids);
    size_t at = 0;
    for (size_t t = 0; t < tokens.size(); ++t)
      for (const LayerGeometry& layer : (*memory)->geometry().layers)
        for (const json::value& row : entry.at("rows").at(std::to_string(layer.layer)).at(t).as_array())
          ASSERT_EQ(ids[at++], row.to_number<uint64_t>());
    ASSERT_EQ(at, ids.size());
  }
  EXPECT_EQ((*memory)->tier_stats().size(), 2u);
  EXPECT_EQ((*memory)->tier_stats()[0].medium, "dram");
}

INSTANTIATE_TEST_SUITE_P(All, ReferenceModel,
                         ::testing::Values("dense-paper", "dense-paper-hc4", "moe-paper-hc4-fp8", "dense-v41-hc4-fp8"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

class ModelMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    source_ = kVectors / "models/dense-paper";
    engram_ = ReadJson(source_ / "config.json").at("engram");
  }
  const TempDir temp_dir_;
  const fs::path directory_ = temp_dir_.path();
  fs::path source_;
  json::value engram_;
};

// With layer_ids [2, 1] layer 2 gets the first primes; so the two tables change their names.
TEST_F(ModelMemoryTest, LayersInAnotherOrderKeepTheirOwnRows) {
  auto file = ReadFile(source_ / "model.safetensors", uint64_t{64} << 20);
  ASSERT_TRUE(file) << file.error().message;
  const size_t one = file->find("layers.1.engram.embed.weight");
  const size_t two = file->find("layers.2.engram.embed.weight");
  ASSERT_NE(one, std::string::npos);
  ASSERT_NE(two, std::string::npos);
  (*file)[one + 7] = '2';
  (*file)[two + 7] = '1';
  std::ofstream(directory_ / "model.safetensors", std::ios::binary) << *file;
  engram_.as_object()["layer_ids"] = {2, 1};
  auto memory = ModelMemory::Open(OptionsFor(directory_, engram_), Map());
  ASSERT_TRUE(memory) << memory.error().message;
  EXPECT_EQ((*memory)->geometry().layers[0].layer, 2u);
  EXPECT_EQ((*memory)->layer_stats()[0].layer, 1u);
  EXPECT_EQ((*memory)->layer_stats()[0].num_rows, 5986u);
  ExpectStoredRows(**memory, directory_, {5, 900, 17, 17, 4000, 5, 900, 17, 17});
}

TEST_F(ModelMemoryTest, RefusesTablesOfAnotherSize) {
  engram_.as_object()["vocab_size"] = {600, 900};
  const auto memory = ModelMemory::Open(OptionsFor(source_, engram_), Map());
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(memory.error().message, HasSubstr("'model.layers.1.engram.embed.weight' has 5722 rows, the model's "
                                                "Engram geometry gives 61"));
  engram_.as_object()["vocab_size"] = {500, 900};
  engram_.as_object()["head_dim"] = 64;
  EXPECT_THAT(ModelMemory::Open(OptionsFor(source_, engram_), Map()).error().message,
              HasSubstr("has 32 values per row, expected 64"));
}

TEST_F(ModelMemoryTest, RefusesWhatDoesNotFitTheTokenizer) {
  auto options = OptionsFor(source_, engram_);
  options.config.pad_token_id = 5000;
  EXPECT_THAT(ModelMemory::Open(options, Map()).error().message,
              HasSubstr("pad_token_id is 5000, the tokenizer has 4096 tokens"));
  options = OptionsFor(source_, engram_);
  options.config.compressed_vocab_size = 3500;
  EXPECT_THAT(ModelMemory::Open(options, Map()).error().message, HasSubstr("3501"));
  options = OptionsFor(source_, engram_);
  options.tiers.clear();
  EXPECT_THAT(ModelMemory::Open(options, Map()).error().message, HasSubstr("the tier chain is empty"));
  options = OptionsFor(directory_, engram_);
  EXPECT_EQ(ModelMemory::Open(options, Map()).error().code, ErrorCode::kNotFound);
}

class PackedModelTest : public ModelMemoryTest {
 protected:
  // Packs a layer of the model in `model_dir` to directory_, with `change` applied to what the header will say.
  fs::path Pack(
      const fs::path& model_dir, uint32_t layer,
      const std::function<void(sdk::PackedTableInfo&)>& change = [](sdk::PackedTableInfo&) {}) {
    const json::value config = ReadJson(model_dir / "config.json");
    const auto geometry = Geometry::Create(*EngramConfig::FromJson(config.at("engram")), Map());
    EXPECT_TRUE(geometry) << geometry.error().message;
    const fs::path path = directory_ / (std::to_string(layer) + ".ngt");
    for (const LayerGeometry& candidate : geometry->layers) {
      if (candidate.layer != layer) continue;
      const auto model = OpenSafetensors(model_dir);
      const auto head_dim = config.at("engram").at("head_dim").to_number<uint32_t>();
      const auto table = SafetensorsTable::Open(*model, layer, candidate.num_rows, head_dim);
      EXPECT_TRUE(table) << table.error().message;
      sdk::PackedTableInfo info = sdk::LayOutPackedTable(layer, candidate.num_rows, (*table)->row_format(), head_dim);
      info.hash_digest = HashConstantsDigest(*geometry, candidate);
      change(info);
      info.num_pages = (info.num_rows + info.rows_per_page - 1) / info.rows_per_page;
      std::vector<uint8_t> rows(candidate.num_rows * std::max(info.row_bytes, (*table)->row_bytes()));
      EXPECT_TRUE((*table)->Read(0, candidate.num_rows, rows.data()));
      auto writer = PackedTableWriter::Create(path, info);
      EXPECT_TRUE((*writer)->Append(rows.data(), info.num_rows));
      const auto finished = (*writer)->Finish();
      EXPECT_TRUE(finished) << finished.error().message;
    }
    return path;
  }
  std::string OpenError(const fs::path& path, uint32_t layer = 1) {
    auto options = OptionsFor(source_, engram_);
    options.packed_tables = {{layer, path}};
    const auto memory = ModelMemory::Open(options, Map());
    return memory ? "opened" : memory.error().message;
  }
};

TEST_F(PackedModelTest, RowsFromPackedTablesEqualTheModels) {
  const std::vector<int32_t> tokens = {5, 900, 17, 17, 4000, 5, 900, 17, 17};
  for (const char* name : {"dense-paper", "moe-paper-hc4-fp8", "dense-v41-hc4-fp8"}) {
    const fs::path model_dir = kVectors / "models" / name;
    const json::value engram = ReadJson(model_dir / "config.json").at("engram");
    auto options = OptionsFor(model_dir, engram);
    // Some packed, then all: without a need for the model's files.
    for (const json::value& layer : engram.at("layer_ids").as_array()) {
      const auto number = layer.to_number<uint32_t>();
      options.packed_tables[number] = Pack(model_dir, number);
      if (options.packed_tables.size() == engram.at("layer_ids").as_array().size()) options.model_dir = "/none";
      auto memory = ModelMemory::Open(options, Map());
      ASSERT_TRUE(memory) << memory.error().message;
      ExpectStoredRows(**memory, model_dir, tokens);
    }
  }
}

// The chain for tables larger than memory: nothing but what was asked for is read, and the second time from the cache.
TEST_F(PackedModelTest, CacheBeforePackedTablesOnDisk) {
  const fs::path model_dir = kVectors / "models" / "dense-v41-hc4-fp8";
  auto options = OptionsFor(model_dir, ReadJson(model_dir / "config.json").at("engram"));
  const auto file = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/tier_file.so", ENGRAM_PLUGIN_TIER);
  ASSERT_TRUE(file) << file.error().message;
  options.tiers = {{"cache", options.tiers[0].library, {{"mode", "cache"}, {"capacity", "8388608"}}},
                   {"file", *file, {}}};
  const auto without = ModelMemory::Open(options, Map());
  ASSERT_FALSE(without) << "tier_file needs packed tables";
  EXPECT_THAT(without.error().message, HasSubstr("tier \"file\", layer 1"));
  for (const uint32_t layer : {1, 3}) options.packed_tables[layer] = Pack(model_dir, layer);
  options.budget_bytes = 8388608;  // the cache's; what lies on disk takes none
  auto memory = ModelMemory::Open(options, Map());
  ASSERT_TRUE(memory) << memory.error().message;
  const std::vector<int32_t> tokens = {5, 900, 17, 17, 4000, 5, 900, 17, 17};
  ExpectStoredRows(**memory, model_dir, tokens);
  const std::vector<TierTableStats> cold = (*memory)->tier_stats();
  ASSERT_EQ(cold.size(), 4u);
  ExpectStoredRows(**memory, model_dir, tokens);
  const std::vector<TierTableStats> warm = (*memory)->tier_stats();
  for (size_t i = 0; i < warm.size(); ++i) {
    if (cold[i].tier == "file") {
      EXPECT_GT(cold[i].counters.rows, 0u);
      EXPECT_EQ(warm[i].counters.rows, cold[i].counters.rows);
    } else {
      EXPECT_EQ(cold[i].counters.hits, 0u);
      EXPECT_EQ(cold[i].counters.fills, cold[i].counters.misses);
      EXPECT_EQ(warm[i].counters.hits, cold[i].counters.misses);
    }
  }
}

TEST_F(PackedModelTest, RefusesAnotherTableWithBothValues) {
  const fs::path packed = Pack(source_, 1);
  const std::string name = packed.string() + ": packed table with ";
  EXPECT_EQ(OpenError(packed), "opened");
  EXPECT_EQ(OpenError(packed, 2), name + "layer 1, the model has 2");
  EXPECT_THAT(OpenError(packed, 9), HasSubstr("is given for layer 9, which has no Engram table"));
  EXPECT_THAT(OpenError(directory_ / "none"), HasSubstr("none: cannot open"));
  EXPECT_EQ(OpenError(Pack(source_, 1, [](auto& info) { --info.num_rows; })),
            name + "num_rows 5721, the model has 5722");
  EXPECT_EQ(OpenError(Pack(source_, 1,
                           [](auto& info) {
                             const auto digest = info.hash_digest;
                             info = sdk::LayOutPackedTable(1, info.num_rows, info.row_format, 16);
                             info.hash_digest = digest;
                           })),
            name + "head_dim 16, the model has 32");
  const std::string other = OpenError(Pack(source_, 1, [](auto& info) { info.hash_digest.fill(0xab); }));
  EXPECT_THAT(other, HasSubstr(name + "hash_digest abababab"));
  EXPECT_THAT(other, ::testing::ContainsRegex("the model has [0-9a-f]{64}"));
  // Not stated: taken.
  EXPECT_EQ(OpenError(Pack(source_, 1, [](auto& info) { info.hash_digest = {}; })), "opened");
}

TEST_F(PackedModelTest, ADamagedTableIsNotLoaded) {
  const fs::path packed = Pack(source_, 1);
  std::fstream file(packed, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096 + 2 * 4096 + 70);
  file.put('\x11').put('\x22').put('\x33').put('\x44');
  file.close();
  EXPECT_THAT(OpenError(packed), HasSubstr("layer 1, page 2 at byte 12288"));
}

TEST_F(ModelMemoryTest, KeepsTheBudget) {
  auto options = OptionsFor(source_, engram_);
  auto memory = ModelMemory::Open(options, Map());
  ASSERT_TRUE(memory);
  uint64_t table_bytes = 0;
  for (const LayerRowStats& layer : (*memory)->layer_stats()) table_bytes += layer.num_rows * layer.row_bytes;
  options.budget_bytes = table_bytes;
  EXPECT_TRUE(ModelMemory::Open(options, Map()));
  --options.budget_bytes;
  const auto over = ModelMemory::Open(options, Map());
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(over.error().field, "memory.budget");
  EXPECT_EQ(over.error().message, "the tiers would take " + std::to_string(table_bytes) + " bytes (\"dram\" " +
                                      std::to_string(table_bytes) + "), the budget is " +
                                      std::to_string(options.budget_bytes));
}

TEST(ModelMemory, ALoadEndsWhenNobodyWantsItAnyMore) {
  std::atomic<int> asked = 0;
  std::atomic<int> wanted = 1;
  ModelMemoryOptions options = SmallModelOptions();
  options.go_on = [&]() -> Status {
    if (asked++ < wanted) return {};
    return Error{ErrorCode::kCancelled, "enough", {}};
  };
  const auto ended = ModelMemory::Open(options, Map());
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(ended.error().message, "enough");
  wanted = 1'000'000;
  const auto memory = OpenMemory(options);
  const int during_load = asked;
  EXPECT_GT(during_load, 2);
  // Nothing after the load asks any more.
  ReadTables(*memory);
  EXPECT_TRUE(memory->OpenBase({}));
  EXPECT_EQ(asked, during_load);
}

}  // namespace
}  // namespace engram
