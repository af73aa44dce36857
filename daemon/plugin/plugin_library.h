// SPDX-License-Identifier: Apache-2.0
// PluginLibrary: a plugin's shared object, opened, checked against the ABI and kept open while anybody uses it.
#pragma once

#include <engram/abi.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace engram {

// Immutable after Load(); any thread. The last shared_ptr closes the library, unless its descriptor says
// ENGRAM_PLUGIN_KEEP_LOADED.
class PluginLibrary {
 public:
  // Opens `path` and checks magic, versions, sizes, kind and that no required function is missing. Every refusal says
  // what was found and what was expected. The file's code runs from here on: callers pass only allowed paths.
  static Result<std::shared_ptr<const PluginLibrary>> Load(const std::filesystem::path& path, engram_plugin_kind kind);
  ~PluginLibrary();
  PluginLibrary(const PluginLibrary&) = delete;
  PluginLibrary& operator=(const PluginLibrary&) = delete;

  const engram_plugin_descriptor& descriptor() const { return *descriptor_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  PluginLibrary(void* handle, const engram_plugin_descriptor* descriptor, std::filesystem::path path)
      : handle_(handle), descriptor_(descriptor), path_(std::move(path)) {}
  void* handle_;
  const engram_plugin_descriptor* descriptor_;
  std::filesystem::path path_;
};

// The file of plugin `name` ("backbone_cpu", or a path): NAME.so in the first of `directories` that has it. A path must
// lie, links resolved, in one of them. kNotFound lists the directories searched.
Result<std::filesystem::path> FindPlugin(std::string_view name, const std::vector<std::filesystem::path>& directories);

// Options for open(), in order.
using PluginOptions = std::vector<std::pair<std::string, std::string>>;

}  // namespace engram
