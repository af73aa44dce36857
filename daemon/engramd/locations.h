// SPDX-License-Identifier: Apache-2.0
// Where the parts that come with engramd lie: beside the executable, installed, or in the source tree.
#pragma once

#include <filesystem>
#include <vector>

#include "core/result.h"

namespace engram {

// Plugin directories for when the settings name none: ../lib/engram/plugins of the executable, then the installed one.
std::vector<std::filesystem::path> DefaultPluginDirectories();

// The bundled model's directory, links resolved. kNotFound lists where it was looked for.
Result<std::filesystem::path> BundledModel();

// The dashboard's files: ../share/engramd/ui of the executable, then the installed ones. Empty when there are none.
std::filesystem::path DefaultDashboard();

}  // namespace engram
