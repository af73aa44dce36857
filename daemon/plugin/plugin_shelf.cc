// SPDX-License-Identifier: Apache-2.0
#include "plugin/plugin_shelf.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include <tuple>

#include "core/file_digest.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

// What changes when a file is replaced or written to.
auto Identity(const fs::path& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) info = {};
  return std::tuple(info.st_dev, info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
}

bool IsMapped(const fs::path& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  if (handle != nullptr) dlclose(handle);  // gives back what this dlopen() took
  return handle != nullptr;
}

}  // namespace

void PluginShelf::ForgetUnmapped() {
  std::vector<fs::path> unmapped;
  for (const auto& [path, entry] : entries_)
    if (entry.library.expired() && !entry.plugin.is_kept && !IsMapped(path)) unmapped.push_back(path);
  std::lock_guard lock(mutex_);
  for (const fs::path& path : unmapped) entries_.erase(path);
}

Result<std::shared_ptr<const PluginLibrary>> PluginShelf::Load(const fs::path& path, engram_plugin_kind kind,
                                                               std::string_view sha256) {
  std::error_code error;
  const fs::path file = fs::canonical(path, error);
  if (error) return NotFound("plugin " + path.string() + ": " + error.message());
  std::lock_guard loading(loading_);
  ForgetUnmapped();
  const auto identity = Identity(file);
  ENGRAM_TRY(const std::string digest, FileSha256(file));
  if (!sha256.empty() && sha256 != digest)
    return FailedPrecondition("plugin " + file.string() + " has sha256 " + digest + ", expected " +
                              std::string(sha256));
  const auto known = entries_.find(file);
  if (known != entries_.end()) {
    if (known->second.plugin.sha256 != digest)
      return FailedPrecondition("plugin " + file.string() + " was replaced while it is loaded (sha256 " +
                                known->second.plugin.sha256 + " is loaded, the file has " + digest +
                                "): loading it would run the old code; give each version a file name of its own");
    if (auto library = known->second.library.lock(); library != nullptr && library->descriptor().kind == kind)
      return library;
  }
  ENGRAM_TRY(auto library, PluginLibrary::Load(file, kind));
  if (Identity(file) != identity)
    return FailedPrecondition("plugin " + file.string() + " changed while it was being opened");
  const engram_plugin_descriptor& found = library->descriptor();
  std::lock_guard lock(mutex_);
  entries_[file] = {
      {found.kind, found.name, found.version, file, digest, true, (found.flags & ENGRAM_PLUGIN_KEEP_LOADED) != 0},
      library};
  return library;
}

std::vector<ShelvedPlugin> PluginShelf::List() const {
  std::vector<ShelvedPlugin> plugins;
  std::lock_guard lock(mutex_);
  for (const auto& [path, entry] : entries_) {
    const bool in_use = !entry.library.expired();
    if (!in_use && !entry.plugin.is_kept) continue;
    plugins.push_back(entry.plugin);
    plugins.back().in_use = in_use;
  }
  return plugins;
}

}  // namespace engram
