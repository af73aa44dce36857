// SPDX-License-Identifier: Apache-2.0
#include "memory/base_tables.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <numeric>
#include <string_view>
#include <utility>

#include "core/log.h"
#include "core/sha256.h"
#include "memory/packed_table.h"
#include "memory/safetensors_rows.h"
#include "plugin/plugin_host.h"

namespace engram {

bool TierBudget::Take(uint64_t bytes) {
  uint64_t used = used_bytes_.load(std::memory_order_relaxed);
  do {
    if (limit_bytes_ != 0 && (used > limit_bytes_ || bytes > limit_bytes_ - used)) return false;
  } while (!used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  return true;
}

// A table's rows; while a tier is attached, only as long as somebody wants them.
struct BaseTables::LoadingSource {
  engram_row_source rows;
  std::function<Status()> go_on;
  std::atomic<bool> loading{true};  // `go_on` may be asked

  engram_row_source callbacks() {
    engram_row_source source{};
    source.context = this;
    source.read = [](void* context, uint64_t first_row, uint64_t num_rows, uint8_t* dst, engram_message* message) {
      const auto& self = *static_cast<const LoadingSource*>(context);
      if (self.loading) {
        if (const Status wanted = self.go_on(); !wanted) {
          WriteMessage(message, wanted.error().message);
          return StatusFromErrorCode(wanted.error().code);
        }
      }
      return self.rows.read(self.rows.context, first_row, num_rows, dst, message);
    };
    return source;
  }
};

// One layer's rows as they are stored: one of the two tables.
struct BaseTables::StoredTable {
  std::unique_ptr<SafetensorsTable> safetensors;
  std::unique_ptr<PackedTable> packed;
  std::unique_ptr<LoadingSource> loading;  // if the load can be ended

  uint32_t layer() const { return packed ? packed->info().layer : safetensors->layer(); }
  uint64_t num_rows() const { return packed ? packed->info().num_rows : safetensors->num_rows(); }
  uint32_t row_bytes() const { return packed ? packed->info().row_bytes : safetensors->row_bytes(); }
  engram_row_format row_format() const { return packed ? packed->info().row_format : safetensors->row_format(); }
  engram_row_source source() const { return packed ? packed->source() : safetensors->source(); }

  Result<std::string> Identity() const;
};

struct BaseTables::BudgetShare {
  std::shared_ptr<TierBudget> budget;
  uint64_t bytes = 0;
  BudgetShare(std::shared_ptr<TierBudget> of, uint64_t taken) : budget(std::move(of)), bytes(taken) {}
  ~BudgetShare() { budget->GiveBack(bytes); }
  BudgetShare(const BudgetShare&) = delete;
  BudgetShare& operator=(const BudgetShare&) = delete;
};

Result<std::string> BaseTables::StoredTable::Identity() const {
  if (packed && IsStated(packed->info().content_digest)) return HexText(packed->info().content_digest);
  Sha256 sha;
  if (packed) {
    constexpr char kName[] = "engram packed table header 1";
    sha.Update(std::string_view(kName, sizeof(kName)));
    const sdk::PackedTableInfo& info = packed->info();
    for (const uint64_t number : {uint64_t{info.layer}, info.num_rows, uint64_t{info.row_format},
                                  uint64_t{info.head_dim}, uint64_t{info.rows_per_page}, info.table_id})
      sha.UpdateNumber(number);
    sha.Update(info.hash_digest);
    return HexText(sha.Finish());
  }
  constexpr char kName[] = "engram safetensors table 1";
  constexpr uint64_t kSampledRows = 64;
  sha.Update(std::string_view(kName, sizeof(kName)));
  for (const uint64_t number : {uint64_t{layer()}, num_rows(), uint64_t{row_bytes()}, uint64_t{row_format()}})
    sha.UpdateNumber(number);
  std::vector<uint8_t> row(row_bytes());
  const uint64_t sampled = std::min(num_rows(), kSampledRows);
  for (uint64_t i = 0; i < sampled; ++i) {
    // The first and the last are among them.
    const uint64_t at =
        sampled == 1 ? 0 : (num_rows() - 1) / (sampled - 1) * i + (num_rows() - 1) % (sampled - 1) * i / (sampled - 1);
    ENGRAM_CHECK_OK(safetensors->Read(at, 1, row.data()));
    sha.Update(row);
  }
  return HexText(sha.Finish());
}

namespace {

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

Error OverBudget(const TierBudget& budget, uint64_t total, const std::string& parts) {
  const uint64_t used = budget.used_bytes();
  return {ErrorCode::kResourceExhausted,
          "the tiers would take " + std::to_string(total) + " bytes (" + parts + ")" +
              (used == 0 ? "" : " beside " + std::to_string(used) + " in use") + ", the budget is " +
              std::to_string(budget.limit_bytes()),
          "memory.budget"};
}

}  // namespace

BaseTables::BaseTables(std::vector<std::unique_ptr<TableChain>> chains) : stored_(std::make_shared<Stored>()) {
  may_block_ = std::any_of(chains.begin(), chains.end(), [](const auto& chain) { return chain->may_block(); });
  gains_from_lookahead_ =
      std::any_of(chains.begin(), chains.end(), [](const auto& chain) { return chain->gains_from_lookahead(); });
  stored_->chains = std::move(chains);
}

BaseTables::~BaseTables() = default;
BaseTables::Stored::~Stored() = default;

Result<std::unique_ptr<BaseTables>> BaseTables::Open(BaseTablesOptions options, const Geometry& geometry,
                                                     std::shared_ptr<TierBudget> budget) {
  const std::vector<LayerGeometry>& layers = geometry.layers;
  std::vector<uint32_t> order(layers.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return layers[a].layer < layers[b].layer; });

  // Every table is checked before the first one is loaded, which may take minutes.
  for (const auto& table : options.packed_tables) {
    const uint32_t layer = table.first;
    if (std::none_of(layers.begin(), layers.end(), [&](const LayerGeometry& known) { return known.layer == layer; }))
      return InvalidArgument(table.second.string() + " is given for layer " + std::to_string(layer) +
                                 ", which has no Engram table in " + options.model_dir.string(),
                             "memory.tables." + std::to_string(layer));
  }
  std::shared_ptr<const sdk::SafetensorsModel> model;
  if (options.packed_tables.size() < layers.size()) {
    ENGRAM_TRY(model, OpenSafetensors(options.model_dir));
  }
  std::vector<StoredTable> tables;
  std::vector<std::string> identities;
  uint64_t table_bytes = 0;
  for (const uint32_t i : order) {
    StoredTable table;
    if (const auto path = options.packed_tables.find(layers[i].layer); path != options.packed_tables.end()) {
      ENGRAM_TRY(table.packed, OpenPacked(path->second, geometry, layers[i], options.head_dim));
    } else {
      ENGRAM_TRY(table.safetensors,
                 SafetensorsTable::Open(model, layers[i].layer, layers[i].num_rows, options.head_dim));
    }
    if (!tables.empty() && table.row_format() != tables.front().row_format())
      return InvalidArgument(options.model_dir.string() + ": the tables of layers " +
                             std::to_string(tables.front().layer()) + " and " + std::to_string(table.layer()) +
                             " have different row formats (" + std::to_string(tables.front().row_format()) + " and " +
                             std::to_string(table.row_format()) + ")");
    ENGRAM_TRY(std::string identity, table.Identity());
    identities.push_back(std::move(identity));
    table_bytes += table.num_rows() * table.row_bytes();
    tables.push_back(std::move(table));
  }

  ENGRAM_TRY(const std::vector<OpenTier> tiers, OpenTiers(options.tiers));
  uint64_t tier_bytes = 0;
  std::string parts;
  for (const OpenTier& tier : tiers) {
    const TierInfo& info = tier.tier->info();
    uint64_t bytes = info.capacity_bytes;
    if (bytes == 0 && (info.flags & ENGRAM_TIER_PERSISTENT) == 0) bytes = table_bytes;
    tier_bytes += bytes;
    parts += (parts.empty() ? "\"" : ", \"") + tier.name + "\" " + std::to_string(bytes);
  }
  if (!budget->Take(tier_bytes)) return OverBudget(*budget, tier_bytes, parts);
  auto share = std::make_unique<BudgetShare>(std::move(budget), tier_bytes);

  std::vector<std::unique_ptr<TableChain>> chains;
  for (StoredTable& table : tables) {
    engram_table_desc desc{};
    desc.layer = table.layer();
    desc.model = options.model_name.c_str();
    if (table.packed) desc.path = table.packed->path().c_str();
    desc.num_rows = table.num_rows();
    desc.row_bytes = table.row_bytes();
    desc.row_format = table.row_format();
    desc.source = table.source();
    if (options.go_on) {
      table.loading.reset(new LoadingSource{desc.source, options.go_on});
      desc.source = table.loading->callbacks();
    }
    auto chain = TableChain::Attach(tiers, desc);
    if (table.loading) {
      table.loading->loading = false;
      ENGRAM_CHECK_OK(options.go_on());  // rather than what a tier says of it
    }
    if (!chain) return std::move(chain).error();
    chains.push_back(*std::move(chain));
  }
  auto base = std::make_unique<BaseTables>(std::move(chains));
  base->row_format_ = tables.front().row_format();
  base->stored_->share = std::move(share);
  base->stored_->tables = std::move(tables);
  base->packed_tables_ = std::move(options.packed_tables);
  base->identities_ = std::move(identities);
  base->tier_bytes_ = tier_bytes;
  if (options.hot_sets) {
    std::vector<HotTable> hot_tables;
    for (size_t k = 0; k < order.size(); ++k)
      hot_tables.push_back({&base->chain(static_cast<uint32_t>(k)), HashConstantsDigest(geometry, layers[order[k]])});
    ENGRAM_TRY(base->hot_sets_,
               HotSets::Start(*std::move(options.hot_sets), options.model_name, std::move(hot_tables), base->stored_));
  }
  return base;
}

std::optional<HotSets::Progress> BaseTables::warm_up() const {
  if (hot_sets_ == nullptr) return std::nullopt;
  return hot_sets_->progress();
}

std::vector<TierTableStats> BaseTables::tier_stats() const {
  std::vector<TierTableStats> result;
  for (const auto& chain : stored_->chains) {
    auto stats = chain->stats();
    std::move(stats.begin(), stats.end(), std::back_inserter(result));
  }
  return result;
}

}  // namespace engram
