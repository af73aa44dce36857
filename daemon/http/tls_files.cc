// SPDX-License-Identifier: Apache-2.0
#include "http/tls_files.h"

#include <sys/stat.h>

namespace engram {

TlsFiles::TlsFiles(const std::filesystem::path& certificate, const std::filesystem::path& key,
                   const std::filesystem::path& client_ca) {
  for (const auto& path : {certificate, key, client_ca})
    if (!path.empty()) paths_.push_back(path);
  known_ = last_ = Look();
}

TlsFiles::State TlsFiles::Look() const {
  State state;
  for (const auto& path : paths_) {
    struct stat found {};
    auto& seen = state.emplace_back();
    if (stat(path.c_str(), &found) != 0) continue;
    seen = {static_cast<int64_t>(found.st_dev), static_cast<int64_t>(found.st_ino), found.st_size, found.st_mtim.tv_sec,
            found.st_mtim.tv_nsec};
  }
  return state;
}

bool TlsFiles::Changed() {
  State now = Look();
  const bool settled = now == last_;
  last_ = std::move(now);
  if (!settled || last_ == known_) return false;
  known_ = last_;
  return true;
}

}  // namespace engram
