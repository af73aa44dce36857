// SPDX-License-Identifier: Apache-2.0
// SHA-256 of files. Blocking; any thread.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "core/result.h"

namespace engram {

// The SHA-256 of a regular file as 64 lowercase hex digits. kNotFound or kIo, naming the path.
// `go_on` is asked between pieces and may end it with an error.
Result<std::string> FileSha256(const std::filesystem::path& path, const std::function<Status()>& go_on = {});

// One digest for what lies directly in `directory`: the SHA-256 of "DIGEST  NAME\n" for each regular file whose name
// does not start with a dot, by name in byte order. `cd DIRECTORY && LC_ALL=C sha256sum * | sha256sum` prints the same.
Result<std::string> DirectorySha256(const std::filesystem::path& directory, const std::function<Status()>& go_on = {});

}  // namespace engram
