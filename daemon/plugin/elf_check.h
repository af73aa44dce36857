// SPDX-License-Identifier: Apache-2.0
// What is checked of a plugin file before the dynamic linker maps it.
#pragma once

#include <filesystem>

#include "core/result.h"

namespace engram {

// That `path` is a regular file holding a shared object for this machine, with every segment inside the file. The
// dynamic linker maps a truncated file without complaint and the process then dies of SIGBUS, so it is refused here.
// Blocking; any thread. kNotFound, kIo or kInvalidArgument naming the path.
Status CheckSharedObject(const std::filesystem::path& path);

}  // namespace engram
