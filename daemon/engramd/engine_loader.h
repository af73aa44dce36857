// SPDX-License-Identifier: Apache-2.0
// From settings to running engines: which plugins, what it will take, and the loading itself. What the settings say of
// tiers and plugin options holds for every model; the spec says which files.
//
// Any one thread at a time.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "control/engine_spec.h"
#include "core/metrics.h"
#include "core/result.h"
#include "plugin/plugin_shelf.h"
#include "serve/engine.h"
#include "settings/settings.h"

namespace engram {

// Where plugins may lie: as configured, or where those that come with engramd are.
std::vector<std::filesystem::path> PluginDirectories(const Settings& settings);

// The configured model and plugins. kNotFound lists where was looked.
Result<EngineSpec> ConfiguredSpec(const Settings& settings);

// From the headers of the spec's files and what its tiers say of themselves. Blocks; kDataLoss or kInvalidArgument for
// files that are not what they should be.
Result<MemoryNeed> EstimateMemory(const Settings& settings, const EngineSpec& spec, PluginShelf& plugins);

// Blocks, maybe for minutes. `metrics` must outlive the engine. `state_dir` may be empty: there is none. `go_on`
// is asked between steps, on any thread; its error ends the load.
Result<std::unique_ptr<Engine>> LoadEngine(const Settings& settings, const EngineSpec& spec, PluginShelf& plugins,
                                           MetricRegistry& metrics, const std::filesystem::path& state_dir,
                                           const std::function<Status()>& go_on);

// One line for the log: model, backbone and device, tiers.
std::string DescribeEngine(const Engine& engine);

}  // namespace engram
