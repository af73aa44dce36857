// SPDX-License-Identifier: Apache-2.0
#include "memory/model_memory.h"

#include <algorithm>
#include <numeric>

#include "memory/safetensors_rows.h"

namespace engram {

struct ModelMemory::Impl {
  Impl(ModelMemoryOptions opened, Geometry expanded, CompressedMap compressed)
      : options(std::move(opened)), geometry(std::move(expanded)), map(std::move(compressed)) {}

  const ModelMemoryOptions options;
  const Geometry geometry;
  const CompressedMap map;
  engram_row_format row_format = 0;
  uint32_t row_bytes = 0;
  std::vector<std::unique_ptr<SafetensorsTable>> tables;  // ascending; the tiers' sources, so they outlive `gather`
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
  ENGRAM_TRY(const auto model, OpenSafetensors(impl->options.model_dir));
  for (const uint32_t i : order) {
    ENGRAM_TRY(auto table,
               SafetensorsTable::Open(model, layers[i].layer, layers[i].num_rows, impl->options.config.head_dim));
    if (!impl->tables.empty() && table->row_format() != impl->row_format)
      return InvalidArgument(impl->options.model_dir.string() + ": the tables of layers " +
                             std::to_string(impl->tables.front()->layer()) + " and " + std::to_string(table->layer()) +
                             " have different row formats (" + std::to_string(impl->row_format) + " and " +
                             std::to_string(table->row_format()) + ")");
    impl->row_format = table->row_format();
    impl->row_bytes = table->row_bytes();
    impl->tables.push_back(std::move(table));
  }
  ENGRAM_TRY(const std::vector<OpenTier> tiers, OpenTiers(impl->options.tiers));
  std::vector<GatherLayer> gather_layers;
  for (size_t k = 0; k < order.size(); ++k) {
    const SafetensorsTable& table = *impl->tables[k];
    engram_table_desc desc{};
    desc.layer = table.layer();
    desc.model = impl->options.model_name.c_str();
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
