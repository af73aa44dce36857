// SPDX-License-Identifier: Apache-2.0
// table pack and table synth: packed tables from a model's files or from nothing.
#include <engram/synthetic_rows.h>

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <limits>

#include "core/file.h"
#include "engramctl/table_commands.h"
#include "memory/from_sdk.h"
#include "memory/packed_table.h"
#include "memory/safetensors_rows.h"
#include "ngram/compressed_map.h"
#include "ngram/geometry.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

// What a model's files say about one layer's table.
struct ModelTable {
  uint64_t num_rows = 0;
  uint32_t head_dim = 0;
  sdk::PackedDigest hash_digest{};
};

Result<ModelTable> AddressedTable(const fs::path& model_dir, const fs::path& tokenizer_path, uint32_t layer) {
  const std::string place = (model_dir / "config.json").string();
  ENGRAM_TRY(const std::string text, ReadFile(place, 16u << 20));
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error) return InvalidArgument(place + ": not JSON: " + error.message());
  const json::object* object = value.if_object();
  const json::value* engram = object ? object->if_contains("engram") : nullptr;
  if (!engram || engram->is_null())
    return InvalidArgument(place + " has no \"engram\" object; --unaddressed packs what the tensors hold");
  const json::value* vocabulary = object->if_contains("vocab_size");
  const int64_t* vocab_size = vocabulary ? vocabulary->if_int64() : nullptr;
  if (!vocab_size || *vocab_size < 1 || *vocab_size > CompressedMap::kMaxVocabSize)
    return InvalidArgument(place + ": vocab_size must be an integer from 1 to " +
                           std::to_string(CompressedMap::kMaxVocabSize));
  auto config = EngramConfig::FromJson(*engram);
  if (!config) return std::move(config).error().At(place);
  ENGRAM_TRY(const auto tokenizer, Tokenizer::Load(tokenizer_path));
  ENGRAM_TRY(const CompressedMap map, CompressedMap::Build(*tokenizer, static_cast<int32_t>(*vocab_size)));
  ENGRAM_CHECK_OK(map.CheckShipped(model_dir));
  auto geometry = Geometry::Create(*config, map);
  if (!geometry) return std::move(geometry).error().At(place);
  for (const LayerGeometry& candidate : geometry->layers)
    if (candidate.layer == layer)
      return ModelTable{candidate.num_rows, config->head_dim, HashConstantsDigest(*geometry, candidate)};
  std::string layers;
  for (const LayerGeometry& other : geometry->layers)
    layers += (layers.empty() ? "" : ", ") + std::to_string(other.layer);
  return NotFound(place + ": layer " + std::to_string(layer) + " has no Engram table; layers " + layers + " have one");
}

Result<ModelTable> AddressedTable(const Arguments& arguments, uint32_t layer) {
  const fs::path model_dir = *arguments.Value("model");
  const auto tokenizer = arguments.Value("tokenizer");
  return AddressedTable(model_dir, tokenizer ? fs::path(*tokenizer) : model_dir / "tokenizer.json", layer);
}

Result<uint32_t> LayerOf(const Arguments& arguments) {
  ENGRAM_TRY(const auto layer, arguments.Integer("layer", 0, std::numeric_limits<int32_t>::max()));
  return static_cast<uint32_t>(*layer);
}

Result<sdk::PackedTableInfo> LayOut(uint32_t layer, const ModelTable& table, engram_row_format format) {
  return FromSdk("laying out the table", [&]() -> Result<sdk::PackedTableInfo> {
    sdk::PackedTableInfo info = sdk::LayOutPackedTable(layer, table.num_rows, format, table.head_dim);
    info.hash_digest = table.hash_digest;
    return info;
  });
}

Status Pack(const Arguments& arguments) {
  ENGRAM_TRY(const uint32_t layer, LayerOf(arguments));
  ENGRAM_TRY(const auto model, OpenSafetensors(*arguments.Value("model")));
  ModelTable stated;
  if (arguments.Has("unaddressed")) {
    ENGRAM_TRY(const auto shape, SafetensorsTable::StatedShape(*model, layer));
    stated.num_rows = shape.num_rows;
    stated.head_dim = shape.head_dim;
  } else {
    ENGRAM_TRY(stated, AddressedTable(arguments, layer));
  }
  ENGRAM_TRY(const auto table, SafetensorsTable::Open(model, layer, stated.num_rows, stated.head_dim));
  ENGRAM_TRY(const sdk::PackedTableInfo info, LayOut(layer, stated, table->row_format()));
  ENGRAM_TRY(auto writer, PackedTableWriter::Create(*arguments.Value("out"), info));
  Progress progress("packing", info.file_bytes());
  const uint64_t at_once = std::clamp<uint64_t>((1u << 20) / info.row_bytes, 1, info.num_rows);
  std::vector<uint8_t> rows(at_once * info.row_bytes);
  for (uint64_t row = 0; row < info.num_rows; row += at_once) {
    const uint64_t count = std::min(at_once, info.num_rows - row);
    ENGRAM_CHECK_OK(table->Read(row, count, rows.data()));
    ENGRAM_CHECK_OK(writer->Append(rows.data(), count));
    progress.Show((row + count) * info.row_bytes);
  }
  ENGRAM_TRY(const auto finished, writer->Finish());
  std::printf("%s: layer %u, %llu rows of %u bytes, %llu bytes, content %s\n", arguments.Value("out")->c_str(), layer,
              static_cast<unsigned long long>(finished.num_rows), finished.row_bytes,
              static_cast<unsigned long long>(finished.file_bytes()), HexText(finished.content_digest).c_str());
  return {};
}

Result<engram_row_format> FormatOf(const Arguments& arguments) {
  const std::string name = *arguments.Value("format");
  for (const engram_row_format format : {ENGRAM_ROW_BF16, ENGRAM_ROW_F16, ENGRAM_ROW_F32, ENGRAM_ROW_FP8_E4M3_UE8M0})
    if (name == sdk::PackedFormatName(format)) return format;
  return InvalidArgument("--format: \"" + name + "\" is not bf16, f16, f32 or fp8_e4m3_ue8m0");
}

Result<ModelTable> SynthTable(const Arguments& arguments, uint32_t layer, engram_row_format format) {
  const bool shape_given = arguments.Has("rows") || arguments.Has("head-dim") || arguments.Has("row-bytes");
  if (arguments.Has("model")) {
    if (shape_given) return InvalidArgument("--model gives the rows and their size: leave out --rows and the like");
    return AddressedTable(arguments, layer);
  }
  if (!arguments.Has("rows") || arguments.Has("head-dim") == arguments.Has("row-bytes"))
    return InvalidArgument("table synth needs --rows and one of --head-dim and --row-bytes, or --model");
  ENGRAM_TRY(const auto rows, arguments.Integer("rows", 1, static_cast<int64_t>(sdk::kPackedMaxRows)));
  ENGRAM_TRY(const auto head_dim, arguments.Integer("head-dim", 1, 1 << 15));
  ENGRAM_TRY(const auto row_bytes, arguments.Integer("row-bytes", 1, sdk::kPackedMaxRowBytes));
  if (head_dim) return ModelTable{static_cast<uint64_t>(*rows), static_cast<uint32_t>(*head_dim), {}};
  for (uint32_t dim = 1; dim <= 1u << 15; ++dim)
    if (sdk::PackedRowBytes(format, dim) == *row_bytes) return ModelTable{static_cast<uint64_t>(*rows), dim, {}};
  return InvalidArgument("--row-bytes: no number of values in format " + *arguments.Value("format") + " takes " +
                         std::to_string(*row_bytes) + " bytes");
}

Status Synth(const Arguments& arguments) {
  ENGRAM_TRY(const uint32_t layer, LayerOf(arguments));
  ENGRAM_TRY(const engram_row_format format, FormatOf(arguments));
  ENGRAM_TRY(const auto given_seed, arguments.Integer("seed", 0, std::numeric_limits<int64_t>::max()));
  const auto seed = static_cast<uint64_t>(given_seed.value_or(0));
  ENGRAM_TRY(const ModelTable table, SynthTable(arguments, layer, format));
  ENGRAM_TRY(sdk::PackedTableInfo info, LayOut(layer, table, format));
  const bool sparse = arguments.Has("sparse");
  if (sparse) info.flags |= sdk::kPackedHoles;
  ENGRAM_TRY(auto writer, PackedTableWriter::Create(*arguments.Value("out"), info));
  Progress progress("writing", info.file_bytes());
  std::vector<uint8_t> rows(uint64_t{info.rows_per_page} * info.row_bytes);
  for (uint64_t page = 0; page < info.num_pages; ++page) {
    uint64_t holes = 0;
    while (sparse && !sdk::SyntheticPageWritten(info, page + holes)) ++holes;
    if (holes > 0) ENGRAM_CHECK_OK(writer->SkipPages(holes));
    page += holes;
    const uint32_t count = info.RowsIn(page);
    for (uint32_t i = 0; i < count; ++i)
      sdk::SyntheticRow(seed, page * info.rows_per_page + i, format, info.head_dim,
                        &rows[uint64_t{i} * info.row_bytes]);
    ENGRAM_CHECK_OK(writer->Append(rows.data(), count));
    progress.Show(info.PageOffset(page + 1));
  }
  ENGRAM_TRY(const auto finished, writer->Finish());
  std::printf("%s: layer %u, %llu rows of %u bytes, %llu bytes, seed %llu%s\n", arguments.Value("out")->c_str(), layer,
              static_cast<unsigned long long>(finished.num_rows), finished.row_bytes,
              static_cast<unsigned long long>(finished.file_bytes()), static_cast<unsigned long long>(seed),
              sparse ? ", sparse" : "");
  return {};
}

}  // namespace

int TablePack(const Arguments& arguments) {
  const Status packed = Pack(arguments);
  return packed ? kDone : Report(packed.error());
}

int TableSynth(const Arguments& arguments) {
  const Status written = Synth(arguments);
  return written ? kDone : Report(written.error(), true);
}

}  // namespace engram
