// SPDX-License-Identifier: Apache-2.0
#include "memory/model_memory.h"

#include <algorithm>
#include <numeric>

#include "core/log.h"
#include "memory/packed_table.h"
#include "memory/safetensors_rows.h"

namespace engram {
namespace {

// One layer's rows as they are stored: one of the two tables.
struct StoredTable {
  std::unique_ptr<SafetensorsTable> safetensors;
  std::unique_ptr<PackedTable> packed;

  uint32_t layer() const { return packed ? packed->info().layer : safetensors->layer(); }
  uint64_t num_rows() const { return packed ? packed->info().num_rows : safetensors->num_rows(); }
  uint32_t row_bytes() const { return packed ? packed->info().row_bytes : safetensors->row_bytes(); }
  engram_row_format row_format() const { return packed ? packed->info().row_format : safetensors->row_format(); }
  engram_row_source source() const { return packed ? packed->source() : safetensors->source(); }
};

Result<std::unique_ptr<PackedTable>> OpenPacked(const std::filesystem::path& path, const Geometry& geometry,
                                                const LayerGeometry& layer, uint32_t head_dim) {
  ENGRAM_TRY(auto table, PackedTable::Open(path));
  const sdk::PackedTableInfo& info = table->info();
  const auto differs = [&](const char* what, const std::string& here, const std::string& model) {
    return InvalidArgument(path.string() + ": packed table with " + what + " " + here + ", the model has " + model);
  };
  if (info.layer != layer.layer) return differs("layer", std::to_string(info.layer), std::to_string(layer.layer));
  if (info.num_rows != layer.num_rows)
    return differs("num_rows", std::to_string(info.num_rows), std::to_string(layer.num_rows));
  if (info.head_dim != head_dim) return differs("head_dim", std::to_string(info.head_dim), std::to_string(head_dim));
  const sdk::PackedDigest expected = HashConstantsDigest(geometry, layer);
  if (!IsStated(info.hash_digest)) {
    log::Warning("{}: states no hash constants, so its rows may be another model's", path.string());
  } else if (info.hash_digest != expected) {
    return differs("hash_digest", HexText(info.hash_digest), HexText(expected));
  }
  return table;
}

Status CheckBudget(uint64_t budget_bytes, const std::vector<OpenTier>& tiers, const std::vector<StoredTable>& tables) {
  if (budget_bytes == 0) return {};
  uint64_t table_bytes = 0;
  for (const StoredTable& table : tables) table_bytes += table.num_rows() * table.row_bytes();
  uint64_t total = 0;
  std::string parts;
  for (const OpenTier& tier : tiers) {
    const TierInfo& info = tier.tier->info();
    uint64_t bytes = info.capacity_bytes;
    if (bytes == 0 && (info.flags & ENGRAM_TIER_PERSISTENT) == 0) bytes = table_bytes;
    total += bytes;
    parts += (parts.empty() ? "\"" : ", \"") + tier.name + "\" " + std::to_string(bytes);
  }
  if (total <= budget_bytes) return {};
  return Error{ErrorCode::kResourceExhausted,
               "the tiers would take " + std::to_string(total) + " bytes (" + parts + "), the budget is " +
                   std::to_string(budget_bytes),
               "memory.budget"};
}

}  // namespace

struct ModelMemory::Impl {
  Impl(ModelMemoryOptions opened, Geometry expanded, CompressedMap compressed)
      : options(std::move(opened)), geometry(std::move(expanded)), map(std::move(compressed)) {}

  const ModelMemoryOptions options;
  const Geometry geometry;
  const CompressedMap map;
  engram_row_format row_format = 0;
  uint32_t row_bytes = 0;
  std::vector<StoredTable> tables;  // ascending; the tiers' sources, so they outlive `gather`
  std::unique_ptr<RowGather> gather;
};

ModelMemory::ModelMemory(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ModelMemory::~ModelMemory() = default;

Result<std::unique_ptr<ModelMemory>> ModelMemory::Open(ModelMemoryOptions options, CompressedMap map) {
  const EngramConfig& config = options.config;
  if (config.pad_token_id < 0 || config.pad_token_id >= map.num_tokens())
    return InvalidArgument("engram.pad_token_id is " + std::to_string(config.pad_token_id) + ", the tokenizer has " +
                           std::to_string(map.num_tokens()) + " tokens");
  ENGRAM_TRY(Geometry geometry, Geometry::Create(config, map.compressed_vocab_size(), map[config.pad_token_id]));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(geometry), std::move(map));
  const std::vector<LayerGeometry>& layers = impl->geometry.layers;

  // Geometry has the layers in the file's order, in which primes and row ids come; the backbone counts them ascending.
  std::vector<uint32_t> order(layers.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return layers[a].layer < layers[b].layer; });

  // Every table is checked before the first one is loaded, which may take minutes.
  const auto& packed_tables = impl->options.packed_tables;
  for (const auto& [layer, path] : packed_tables)
    if (std::none_of(layers.begin(), layers.end(), [&](const LayerGeometry& known) { return known.layer == layer; }))
      return InvalidArgument(path.string() + " is given for layer " + std::to_string(layer) +
                                 ", which has no Engram table in " + impl->options.model_dir.string(),
                             "memory.tables." + std::to_string(layer));
  std::shared_ptr<const sdk::SafetensorsModel> model;
  if (packed_tables.size() < layers.size()) {
    ENGRAM_TRY(model, OpenSafetensors(impl->options.model_dir));
  }
  const uint32_t head_dim = impl->options.config.head_dim;
  for (const uint32_t i : order) {
    StoredTable table;
    if (const auto path = packed_tables.find(layers[i].layer); path != packed_tables.end()) {
      ENGRAM_TRY(table.packed, OpenPacked(path->second, impl->geometry, layers[i], head_dim));
    } else {
      ENGRAM_TRY(table.safetensors, SafetensorsTable::Open(model, layers[i].layer, layers[i].num_rows, head_dim));
    }
    if (!impl->tables.empty() && table.row_format() != impl->row_format)
      return InvalidArgument(impl->options.model_dir.string() + ": the tables of layers " +
                             std::to_string(impl->tables.front().layer()) + " and " + std::to_string(table.layer()) +
                             " have different row formats (" + std::to_string(impl->row_format) + " and " +
                             std::to_string(table.row_format()) + ")");
    impl->row_format = table.row_format();
    impl->row_bytes = table.row_bytes();
    impl->tables.push_back(std::move(table));
  }
  ENGRAM_TRY(const std::vector<OpenTier> tiers, OpenTiers(impl->options.tiers));
  ENGRAM_CHECK_OK(CheckBudget(impl->options.budget_bytes, tiers, impl->tables));
  std::vector<GatherLayer> gather_layers;
  for (size_t k = 0; k < order.size(); ++k) {
    const StoredTable& table = impl->tables[k];
    engram_table_desc desc{};
    desc.layer = table.layer();
    desc.model = impl->options.model_name.c_str();
    if (table.packed) desc.path = table.packed->path().c_str();
    desc.num_rows = table.num_rows();
    desc.row_bytes = table.row_bytes();
    desc.row_format = table.row_format();
    desc.source = table.source();
    ENGRAM_TRY(auto chain, TableChain::Attach(tiers, desc));
    gather_layers.push_back({std::move(chain), order[k]});
  }
  ENGRAM_TRY(impl->gather, RowGather::Create(std::move(gather_layers), impl->geometry.num_columns, impl->row_bytes));
  return std::unique_ptr<ModelMemory>(new ModelMemory(std::move(impl)));
}

const Geometry& ModelMemory::geometry() const {
  return impl_->geometry;
}
const EngramConfig& ModelMemory::config() const {
  return impl_->options.config;
}
const CompressedMap& ModelMemory::compressed_map() const {
  return impl_->map;
}
engram_row_format ModelMemory::row_format() const {
  return impl_->row_format;
}
uint32_t ModelMemory::row_bytes() const {
  return impl_->row_bytes;
}

void ModelMemory::AppendRowIds(RowAddresser& addresser, std::span<const int32_t> tokens,
                               std::vector<uint64_t>& ids) const {
  const size_t per_token = impl_->geometry.layers.size() * impl_->geometry.num_columns;
  size_t at = ids.size();
  ids.resize(at + tokens.size() * per_token);
  for (const int32_t token : tokens) {
    addresser.Append(impl_->map[token], /*masked=*/false, std::span(ids).subspan(at, per_token));
    at += per_token;
  }
}

engram_batch_rows* ModelMemory::BeginBatch(uint32_t num_tokens, std::span<const BatchRowIds> runs) {
  return impl_->gather->Begin(num_tokens, runs);
}
Result<engram_row_view> ModelMemory::AwaitRows(engram_batch_rows* rows, uint32_t layer) {
  return impl_->gather->Await(rows, layer);
}
void ModelMemory::EndBatch(engram_batch_rows* rows) {
  impl_->gather->End(rows);
}
std::vector<LayerRowStats> ModelMemory::layer_stats() const {
  return impl_->gather->layer_stats();
}
std::vector<TierTableStats> ModelMemory::tier_stats() const {
  return impl_->gather->tier_stats();
}

}  // namespace engram
