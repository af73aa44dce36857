// SPDX-License-Identifier: Apache-2.0
// TlsFiles: notices that files of TLS have changed. By asking for their times rather than by inotify: what matters is
// what the names lead to, through links that tools for certificates exchange whole directories behind.
//
// One thread; a question to the file system per file, no reading.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <vector>

namespace engram {

class TlsFiles {
 public:
  // Empty paths are left out. What is there now counts as known.
  TlsFiles(const std::filesystem::path& certificate, const std::filesystem::path& key,
           const std::filesystem::path& client_ca);

  // True once after the files have changed and then stayed the same from one call to the next: a certificate and its
  // key are written one after the other.
  bool Changed();

 private:
  // Per file: device, inode, size, seconds and nanoseconds of the last change; zeros for one that is not there.
  using State = std::vector<std::array<int64_t, 5>>;
  State Look() const;

  std::vector<std::filesystem::path> paths_;
  State known_;
  State last_;
};

}  // namespace engram
