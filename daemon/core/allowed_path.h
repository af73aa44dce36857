// SPDX-License-Identifier: Apache-2.0
// Paths from requests: which files of the machine they may name. Blocking; any thread.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace engram {

// `path` is `directory` or lies under it. Both without links and "..".
bool LiesIn(const std::filesystem::path& path, const std::filesystem::path& directory);

// `path` with links resolved, if it is one of `directories` or lies under one (their links resolved too); a relative
// path is looked for in each of them in turn. `what` names its meaning in messages. kNotFound, or kInvalidArgument when
// it lies outside; both list the directories.
Result<std::filesystem::path> ResolveAllowed(const std::filesystem::path& path,
                                             const std::vector<std::filesystem::path>& directories,
                                             std::string_view what);

}  // namespace engram
