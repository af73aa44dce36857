// SPDX-License-Identifier: Apache-2.0
// TempDir: a directory of a test's own, gone with all it holds when the object goes. Throws where it cannot be made.
#pragma once

#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace engram {

class TempDir {
 public:
  TempDir() {
    std::string path = (std::filesystem::temp_directory_path() / "engram_test_XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) throw std::system_error(errno, std::system_category(), path);
    path_ = std::filesystem::canonical(path);
  }
  ~TempDir() {
    std::error_code ignored;  // a destructor has nobody to tell
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace engram
