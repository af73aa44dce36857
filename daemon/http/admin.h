// SPDX-License-Identifier: Apache-2.0
// AdminServices: what the routes under /admin/v1 act on. Null or empty: the daemon has no such service, and the routes
// that need it are not there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "access/access_store.h"
#include "control/live_memory_directory.h"
#include "control/memory_events.h"
#include "control/model_manager.h"
#include "control/operations.h"
#include "plugin/plugin_shelf.h"

namespace engram {

// What these point to outlives the server and may be used from any thread.
struct AdminServices {
  ModelManager* models = nullptr;
  Operations* operations = nullptr;
  const PluginShelf* plugins = nullptr;
  const LiveMemoryDirectory* memories = nullptr;
  const MemoryEvents* memory_events = nullptr;
  AccessStore* access = nullptr;                          // keys and audit log; null: no authentication
  std::vector<std::filesystem::path> table_directories;   // what tables and texts may be read from
  std::vector<std::filesystem::path> backup_directories;  // where backups may be written; the first for a name alone
  // The version of that model's memory that a request coming in now would see; 0 is the base as shipped.
  std::function<uint64_t(const std::string& model)> memory_version = [](const std::string&) { return uint64_t{0}; };
  // What the process takes beside weights, KV caches and tiers: its code and libraries, and the buffers a loaded model
  // computes in. 0: not known yet.
  std::function<uint64_t()> fixed_bytes = [] { return uint64_t{0}; };
  // The settings in force as a JSON object, secrets masked.
  std::function<std::string()> config_json;
};

}  // namespace engram
