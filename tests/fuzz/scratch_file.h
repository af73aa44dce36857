// SPDX-License-Identifier: Apache-2.0
// ScratchFile: a file of one target's own, written anew for every input. Throws where it cannot be written.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "core/file.h"
#include "support/temp_dir.h"

namespace engram {

class ScratchFile {
 public:
  explicit ScratchFile(const std::string& name) : path_(dir_.path() / name) {}
  void Write(std::string_view bytes) const {
    const UniqueFd fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd || ::write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
      throw std::system_error(errno, std::system_category(), path_);
  }
  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& directory() const { return dir_.path(); }

 private:
  const TempDir dir_;
  const std::filesystem::path path_;
};

}  // namespace engram
