// SPDX-License-Identifier: Apache-2.0
// The reference models of tests/vectors, opened as a ModelMemory.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"
#include "memory/model_memory.h"
#include "memory/packed_table.h"
#include "support/temp_dir.h"

namespace engram {

inline const std::filesystem::path kVectors = std::filesystem::path(ENGRAM_TEST_SOURCE_DIR) / "tests" / "vectors";

inline boost::json::value ReadJson(const std::filesystem::path& path) {
  const auto text = ReadFile(path, uint64_t{64} << 20);
  EXPECT_TRUE(text) << text.error().message;
  return text ? boost::json::parse(*text) : boost::json::value();
}

inline const CompressedMap& Map() {
  static const CompressedMap map = [] {
    const auto tokenizer = Tokenizer::Load(kVectors / "tokenizer.json");
    EXPECT_TRUE(tokenizer) << tokenizer.error().message;
    auto built = CompressedMap::Build(**tokenizer, 4096);
    EXPECT_TRUE(built) << built.error().message;
    return *std::move(built);
  }();
  return map;
}

// Options for `model_dir`, whose config's engram object is `engram`, with all rows in memory.
inline ModelMemoryOptions OptionsFor(const std::filesystem::path& model_dir, const boost::json::value& engram) {
  ModelMemoryOptions options;
  options.model_name = "test";
  options.model_dir = model_dir;
  auto config = EngramConfig::FromJson(engram);
  EXPECT_TRUE(config) << config.error().message;
  options.config = *std::move(config);
  auto dram = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/tier_dram.so", ENGRAM_PLUGIN_TIER);
  EXPECT_TRUE(dram) << dram.error().message;
  options.tiers = {{"dram", *dram, {}}};
  return options;
}

using Bytes = std::vector<uint8_t>;

// A small one, whose rows are 32 bf16 values.
inline const std::filesystem::path kSmallModel = kVectors / "models/dense-paper";

inline ModelMemoryOptions SmallModelOptions() {
  return OptionsFor(kSmallModel, ReadJson(kSmallModel / "config.json").at("engram"));
}

inline std::unique_ptr<ModelMemory> OpenMemory(ModelMemoryOptions options = SmallModelOptions()) {
  auto memory = ModelMemory::Open(std::move(options), Map());
  EXPECT_TRUE(memory) << memory.error().message;
  return memory ? *std::move(memory) : nullptr;
}

// Geometry's index of an ascending layer index.
inline uint32_t IdLayer(const ModelMemory& memory, uint32_t index) {
  const auto& layers = memory.geometry().layers;
  return static_cast<uint32_t>(
      std::find_if(layers.begin(), layers.end(), [&](const auto& l) { return l.layer == memory.layers()[index]; }) -
      layers.begin());
}

// Whole tables, [layers][rows * row_bytes].
using Tables = std::vector<Bytes>;

inline Tables ReadTables(const ModelMemory& memory) {
  const auto view = memory.View();
  Tables tables;
  for (uint32_t index = 0; index < memory.layers().size(); ++index) {
    std::vector<uint64_t> ids(memory.layer_stats()[index].num_rows);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = i;
    tables.emplace_back(ids.size() * memory.row_bytes());
    EXPECT_TRUE(memory.ReadRows(*view, index, ids, tables.back().data()));
  }
  return tables;
}

// Packs `tables` for the model.
inline std::map<uint32_t, std::filesystem::path> PackTables(const ModelMemory& memory, const Tables& tables,
                                                            const TempDir& dir, const std::string& name) {
  std::map<uint32_t, std::filesystem::path> paths;
  for (uint32_t index = 0; index < tables.size(); ++index) {
    const LayerGeometry& layer = memory.geometry().layers[IdLayer(memory, index)];
    sdk::PackedTableInfo info =
        sdk::LayOutPackedTable(layer.layer, layer.num_rows, memory.row_format(), memory.config().head_dim);
    info.hash_digest = HashConstantsDigest(memory.geometry(), layer);
    const auto path = dir.path() / (name + std::to_string(layer.layer) + ".ngt");
    auto writer = PackedTableWriter::Create(path, info);
    EXPECT_TRUE(writer && (*writer)->Append(tables[index].data(), layer.num_rows) && (*writer)->Finish());
    paths[layer.layer] = path;
  }
  return paths;
}

// No edits, to be filled.
inline std::shared_ptr<MemoryEdits> EditsOf(const ModelMemory& memory, uint64_t version) {
  auto edits = std::make_shared<MemoryEdits>();
  edits->version = version;
  edits->layers.resize(memory.layers().size());
  return edits;
}

}  // namespace engram
