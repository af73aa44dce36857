// SPDX-License-Identifier: Apache-2.0
// From settings to a running engine: finds the plugins, loads the model, starts the engine's thread.
#pragma once

#include <memory>

#include "core/metrics.h"
#include "core/result.h"
#include "serve/engine.h"
#include "settings/settings.h"

namespace engram {

// Blocks, maybe for minutes; any one thread. `metrics` must outlive the engine.
Result<std::shared_ptr<Engine>> LoadEngine(const Settings& settings, MetricRegistry& metrics);

// One line for the log: model, backbone and device, tiers.
std::string DescribeEngine(const Engine& engine);

}  // namespace engram
