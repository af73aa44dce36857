// SPDX-License-Identifier: Apache-2.0
// Settings in the terms of the rooms that act on them. Pure functions, any thread.
#pragma once

#include <filesystem>
#include <vector>

#include "access/access_store.h"
#include "control/live_memory.h"
#include "control/model_manager.h"
#include "http/server.h"
#include "serve/engine.h"
#include "settings/settings.h"

namespace engram {

// All but server_version, which is not a setting.
HttpOptions MakeHttpOptions(const Settings& settings);
EngineOptions MakeEngineOptions(const Settings& settings);
// All but the functions that load. `model`: the configured model's directory, which may be loaded from too;
// `plugin_directories`: those in force.
ModelManagerOptions MakeModelManagerOptions(const Settings& settings, const std::filesystem::path& model,
                                            std::vector<std::filesystem::path> plugin_directories);

// Keys and audit log, in memory without a state directory. kInvalidArgument for what LoadSettings() would have refused.
Result<AccessOptions> MakeAccessOptions(const Settings& settings, const std::filesystem::path& state_dir);
// All but the functions; `state_dir` may be empty.
LiveMemoryOptions MakeLiveMemoryOptions(const Settings& settings, const std::filesystem::path& state_dir);
// Where backups may be written: as configured, or `backups` in the state directory; none without either.
std::vector<std::filesystem::path> BackupDirectories(const Settings& settings, const std::filesystem::path& state_dir);

}  // namespace engram
