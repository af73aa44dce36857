// SPDX-License-Identifier: Apache-2.0
#include "engramd/engine_loader.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "core/machine_memory.h"
#include "engramd/locations.h"
#include "engramd/room_options.h"
#include "memory/safetensors_rows.h"
#include "plugin/plugin_library.h"
#include "plugin/tier.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

// With the capacity in it, if the settings give one.
PluginOptions TierOptions(const TierSettings& tier) {
  PluginOptions options = tier.options;
  if (tier.capacity.given()) options.emplace_back("capacity", std::to_string(tier.capacity.Of(PhysicalMemoryBytes())));
  return options;
}

Result<std::shared_ptr<const PluginLibrary>> TierLibrary(const TierSettings& tier, const EngineSpec& spec,
                                                         PluginShelf& plugins) {
  const auto path = spec.tiers.find(tier.name);
  if (path == spec.tiers.end()) return Internal("tier " + tier.name + " is in the settings, but has no plugin file");
  auto library = plugins.Load(path->second, ENGRAM_PLUGIN_TIER);
  if (!library) return std::move(library).error().At("tier " + tier.name);
  return library;
}

// The layer of "[model.]layers.L.engram.embed.*"; nothing for the tensors of the backbone.
std::optional<uint32_t> TableLayer(std::string_view tensor) {
  constexpr std::string_view kLayers = "layers.";
  const size_t layers = tensor.find(kLayers);
  if (layers == std::string_view::npos) return std::nullopt;
  tensor.remove_prefix(layers + kLayers.size());
  uint32_t layer = 0;
  const auto [end, error] = std::from_chars(tensor.data(), tensor.data() + tensor.size(), layer);
  if (error != std::errc()) return std::nullopt;
  tensor.remove_prefix(static_cast<size_t>(end - tensor.data()));
  if (!tensor.starts_with(".engram.embed.")) return std::nullopt;
  return layer;
}

// What the tiers keep in memory of tables of `rows_bytes`: the rule of memory.budget.
Result<uint64_t> TierBytes(const Settings& settings, const EngineSpec& spec, PluginShelf& plugins,
                           uint64_t rows_bytes) {
  uint64_t total = 0;
  for (const TierSettings& tier : settings.memory.tiers) {
    if (tier.capacity.given()) {
      total += tier.capacity.Of(PhysicalMemoryBytes());
      continue;
    }
    ENGRAM_TRY(auto library, TierLibrary(tier, spec, plugins));
    const auto opened = Tier::Open(std::move(library), tier.options);
    if (!opened) return Error(opened.error()).At("tier " + tier.name);
    const TierInfo& info = (*opened)->info();
    if (info.capacity_bytes != 0) {
      total += info.capacity_bytes;
    } else if ((info.flags & ENGRAM_TIER_PERSISTENT) == 0) {
      total += rows_bytes;
    }
  }
  return total;
}

}  // namespace

std::vector<fs::path> PluginDirectories(const Settings& settings) {
  return settings.plugin_directories.empty() ? DefaultPluginDirectories() : settings.plugin_directories;
}

Result<EngineSpec> ConfiguredSpec(const Settings& settings) {
  const std::vector<fs::path> directories = PluginDirectories(settings);
  EngineSpec spec;
  spec.directory = settings.model.path;
  if (spec.directory.empty()) {
    ENGRAM_TRY(spec.directory, BundledModel());
  }
  spec.name = settings.model.name.empty() ? Model::NameOf(spec.directory) : settings.model.name;
  spec.backbone_name = settings.backbone.plugin;
  ENGRAM_TRY(spec.backbone, FindPlugin(settings.backbone.plugin, directories));
  for (const TierSettings& tier : settings.memory.tiers) {
    auto path = FindPlugin(tier.plugin, directories);
    if (!path) return std::move(path).error().At("tier " + tier.name);
    spec.tiers[tier.name] = std::move(*path);
  }
  spec.tables = settings.memory.tables;
  return spec;
}

Result<MemoryNeed> EstimateMemory(const Settings& settings, const EngineSpec& spec, PluginShelf& plugins) {
  ENGRAM_TRY(const auto files, OpenSafetensors(spec.directory));
  MemoryNeed need;
  uint64_t rows_bytes = 0;
  for (const auto& [name, tensor] : files->tensors()) {
    const std::optional<uint32_t> layer = TableLayer(name);
    if (!layer) {
      need.weights_bytes += tensor.num_bytes;
    } else if (!spec.tables.contains(*layer)) {
      rows_bytes += tensor.num_bytes;
    }
  }
  for (const auto& [layer, path] : spec.tables) {
    std::error_code error;
    rows_bytes += fs::file_size(path, error);
    if (error) return IoError(path.string() + ": " + error.message());
  }
  if (rows_bytes > 0) {
    ENGRAM_TRY(need.table_bytes, TierBytes(settings, spec, plugins, rows_bytes));
  }
  return need;
}

Result<std::unique_ptr<Engine>> LoadEngine(const Settings& settings, const EngineSpec& spec, PluginShelf& plugins,
                                           MetricRegistry& metrics, const fs::path& state_dir,
                                           const std::function<Status()>& go_on) {
  ModelOptions options;
  options.name = spec.name;
  options.directory = spec.directory;
  ENGRAM_TRY(options.backbone, plugins.Load(spec.backbone, ENGRAM_PLUGIN_BACKBONE));
  options.backbone_options = settings.backbone.options;
  for (const TierSettings& tier : settings.memory.tiers) {
    ENGRAM_TRY(auto library, TierLibrary(tier, spec, plugins));
    options.tiers.push_back({tier.name, std::move(library), TierOptions(tier)});
  }
  options.packed_tables = spec.tables;
  options.memory_budget_bytes = settings.memory.budget.Of(PhysicalMemoryBytes());
  options.retain_versions = settings.memory.journal.retain_versions;
  options.go_on = go_on;
  options.read_timeout = settings.memory.read_timeout;
  options.lookahead_tokens = settings.memory.lookahead;
  const HotSetSettings& hot_set = settings.memory.hot_set;
  if (!state_dir.empty() && hot_set.save_every.count() > 0)
    options.hot_sets = HotSetOptions{state_dir / "hot", hot_set.save_every, hot_set.rows_per_second};
  ENGRAM_TRY(auto model, Model::Load(std::move(options)));
  return std::make_unique<Engine>(std::move(model), MakeEngineOptions(settings), metrics);
}

std::string DescribeEngine(const Engine& engine) {
  const Model& model = engine.model();
  const BackboneInfo& info = model.backbone().info();
  std::string text =
      fmt::format("model {} ({}), backbone {} on {}, weights {} {:.1f} MB, KV cache {} tokens", model.name(),
                  model.directory().string(), model.backbone().library().descriptor().name, info.device,
                  info.weight_type, static_cast<double>(info.weight_bytes) / 1e6, info.kv_capacity_tokens);
  if (!model.memory()) return text + ", no Engram memory";
  text += ", Engram layers";
  for (const LayerRowStats& layer : model.memory()->layer_stats())
    text += fmt::format(" {} ({} rows)", layer.layer, layer.num_rows);
  text += ", tiers";
  const std::vector<TierTableStats> tiers = model.memory()->tier_stats();
  for (const TierTableStats& tier : tiers)  // every layer has the same chain
    if (tier.layer == tiers.front().layer) text += fmt::format(" {} ({})", tier.tier, tier.medium);
  return text;
}

}  // namespace engram
