// SPDX-License-Identifier: Apache-2.0
// StateDir: the directory for what must survive a restart, held by one daemon at a time.
#pragma once

#include <filesystem>

#include "core/file.h"
#include "core/result.h"

namespace engram {

// Holds the lock until destroyed. Movable; any thread.
class StateDir {
 public:
  // Makes `path` (mode 0700) if missing and locks it. kIo names the path and the reason; kFailedPrecondition when
  // another daemon holds it.
  static Result<StateDir> Open(const std::filesystem::path& path);
  const std::filesystem::path& path() const { return path_; }

 private:
  StateDir(std::filesystem::path path, UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  std::filesystem::path path_;
  UniqueFd lock_;
};

}  // namespace engram
