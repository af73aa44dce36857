// SPDX-License-Identifier: Apache-2.0
#include "engramd/engine_loader.h"

#include <spdlog/fmt/fmt.h>
#include <unistd.h>

#include "engramd/locations.h"
#include "engramd/room_options.h"
#include "plugin/plugin_library.h"

namespace engram {

Result<std::shared_ptr<Engine>> LoadEngine(const Settings& settings, MetricRegistry& metrics) {
  const auto directories =
      settings.plugin_directories.empty() ? DefaultPluginDirectories() : settings.plugin_directories;
  const auto load_plugin = [&](const std::string& name,
                               engram_plugin_kind kind) -> Result<std::shared_ptr<const PluginLibrary>> {
    ENGRAM_TRY(const std::filesystem::path path, FindPlugin(name, directories));
    return PluginLibrary::Load(path, kind);
  };

  ModelOptions options;
  options.name = settings.model.name;
  options.directory = settings.model.path;
  if (options.directory.empty()) {
    ENGRAM_TRY(options.directory, BundledModel());
  }
  ENGRAM_TRY(options.backbone, load_plugin(settings.backbone.plugin, ENGRAM_PLUGIN_BACKBONE));
  options.backbone_options = settings.backbone.options;
  const uint64_t machine_bytes =
      static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  for (const TierSettings& tier : settings.memory.tiers) {
    auto library = load_plugin(tier.plugin, ENGRAM_PLUGIN_TIER);
    if (!library) return std::move(library).error().At("tier " + tier.name);
    options.tiers.push_back({tier.name, std::move(*library), tier.options});
    if (tier.capacity.given())
      options.tiers.back().options.emplace_back("capacity", std::to_string(tier.capacity.Of(machine_bytes)));
  }
  options.packed_tables = settings.memory.tables;
  options.memory_budget_bytes = settings.memory.budget.Of(machine_bytes);
  ENGRAM_TRY(auto model, Model::Load(std::move(options)));

  return std::make_shared<Engine>(std::move(model), MakeEngineOptions(settings), metrics);
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
