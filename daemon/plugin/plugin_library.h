// SPDX-License-Identifier: Apache-2.0
// PluginLibrary: a plugin's shared object, opened, checked against the ABI and kept open while anybody uses it.
#pragma once

#include <engram/abi.h>
#include <engram/backbone.h>
#include <engram/tier.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
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

  // A copy of the plugin's descriptor. `functions` points to a table of this host's edition, in which every function
  // the plugin lacks is NULL: an engram_backbone_functions or engram_tier_functions, by `kind`.
  const engram_plugin_descriptor& descriptor() const { return descriptor_; }
  std::string_view name() const { return descriptor_.name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  PluginLibrary(void* handle, std::filesystem::path path) : handle_(handle), path_(std::move(path)) {}
  Status Check(engram_plugin_kind kind);
  Status CheckBackboneTable(const void* table);
  Status CheckTierTable(const void* table);

  void* handle_;
  std::filesystem::path path_;
  bool keep_loaded_ = false;
  engram_plugin_descriptor descriptor_{};
  engram_backbone_functions backbone_{};  // one of the two, by kind
  engram_tier_functions tier_{};
};

// The file of plugin `name` ("backbone_cpu", or a path): NAME.so in the first of `directories` that has it. A path must
// lie, links resolved, in one of them. kNotFound lists the directories searched.
Result<std::filesystem::path> FindPlugin(std::string_view name, const std::vector<std::filesystem::path>& directories);

// Options for open(), in order.
using PluginOptions = std::vector<std::pair<std::string, std::string>>;

}  // namespace engram
