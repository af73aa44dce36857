// SPDX-License-Identifier: Apache-2.0
// PluginShelf: the plugin files this process has opened, each by its content. It keeps a swap from running old code
// under a new file's name: while a library is mapped, the dynamic linker answers its path with the mapped code,
// whatever lies there by now. So a new version needs a new file name, and a changed file at a mapped path is refused.
//
// Any thread. Load() blocks while it reads the file and runs the library's initialisers, one call at a time; List()
// does not wait for it.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "plugin/plugin_library.h"

namespace engram {

struct ShelvedPlugin {
  engram_plugin_kind kind = 0;
  std::string name;
  std::string version;
  std::filesystem::path path;
  std::string sha256;    // 64 lowercase hex digits
  bool in_use = false;   // somebody holds the library
  bool is_kept = false;  // it stays mapped when nobody does: ENGRAM_PLUGIN_KEEP_LOADED
};

class PluginShelf {
 public:
  // As PluginLibrary::Load(); the library already open if there is one. `sha256`: what the file must have, or empty.
  // kFailedPrecondition when the digest differs (naming both), when the file changed while it was being opened, and
  // when the path is mapped with other content.
  Result<std::shared_ptr<const PluginLibrary>> Load(const std::filesystem::path& path, engram_plugin_kind kind,
                                                    std::string_view sha256 = {});
  // What is in use or kept, by path.
  std::vector<ShelvedPlugin> List() const;

 private:
  struct Entry {
    ShelvedPlugin plugin;
    std::weak_ptr<const PluginLibrary> library;
  };
  void ForgetUnmapped();  // with loading_ held

  std::mutex loading_;  // held during Load()
  mutable std::mutex mutex_;
  std::map<std::filesystem::path, Entry> entries_;  // changed with both held
};

}  // namespace engram
