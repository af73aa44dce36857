// SPDX-License-Identifier: Apache-2.0
// Settings: everything engramd can be told, typed and checked. Built from the defaults below, then a YAML file, then
// command-line overrides. config/engramd.yaml shows every key with its default.
//
// Threads: LoadSettings() blocks on one file read; any thread. Settings are plain values.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/log.h"
#include "core/result.h"
#include "settings/value_parsers.h"

namespace engram {

// Options handed to a plugin as they are, in file order.
using OptionList = std::vector<std::pair<std::string, std::string>>;

struct ServerSettings {
  std::string address = "127.0.0.1";  // an IP address, without brackets; with the port: server.listen
  uint16_t port = 8484;               // 0: any free one
  uint32_t io_threads = 1;
  uint64_t max_body_bytes = 8u << 20;
  uint64_t max_header_bytes = 16u << 10;
  uint32_t max_connections = 1024;
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_timeout{30'000};
  std::chrono::milliseconds idle_timeout{75'000};
  std::chrono::milliseconds write_timeout{30'000};
  uint32_t max_events_behind = 256;
  uint32_t max_prompts = 128;
  bool operator==(const ServerSettings&) const = default;
};

struct KeySettings {
  std::string name;
  std::string sha256;               // 64 lowercase hex digits
  std::vector<std::string> scopes;  // of generate, read, edit, operate; not empty
  bool operator==(const KeySettings&) const = default;
};

struct ModelSettings {
  std::filesystem::path path;  // model directory; empty: the bundled model
  std::string name;            // what clients call it; empty: the directory's name
  bool operator==(const ModelSettings&) const = default;
};

struct BackboneSettings {
  std::string plugin = "backbone_cpu";
  OptionList options;
  bool operator==(const BackboneSettings&) const = default;
};

struct TierSettings {
  std::string name;
  std::string plugin;
  OptionList options;
  MemorySize capacity;  // handed to the plugin as the option "capacity", in bytes, if given
  bool operator==(const TierSettings&) const = default;
};

struct MemorySettings {
  std::vector<TierSettings> tiers{{"dram", "tier_dram", {}, {}}};  // nearest first
  std::map<uint32_t, std::filesystem::path> tables;                // packed table by model layer; others: safetensors
  MemorySize budget;                                               // what the tiers may take; not given: no limit
  bool operator==(const MemorySettings&) const = default;
};

struct ServingSettings {
  uint32_t max_queued = 256;
  uint32_t max_running = 64;
  uint32_t max_batch_tokens = 512;
  uint32_t prefill_chunk = 256;
  uint32_t max_choices = 16;
  std::chrono::milliseconds drain_timeout{30'000};
  bool operator==(const ServingSettings&) const = default;
};

struct LogSettings {
  std::string level = "info";  // debug, info, warning, error, off
  log::Format format = log::Format::kText;
  bool operator==(const LogSettings&) const = default;
};

struct Settings {
  ServerSettings server;
  std::vector<KeySettings> keys;  // auth.keys; empty: no authentication, loopback only
  ModelSettings model;
  BackboneSettings backbone;
  MemorySettings memory;
  ServingSettings serving;
  std::vector<std::filesystem::path> plugin_directories;  // empty: beside the executable, then the installed one
  std::filesystem::path state_dir;                        // empty: none
  LogSettings log;
  bool operator==(const Settings&) const = default;
};

// One value from the command line, stronger than the file's.
struct SettingsOverride {
  std::string origin;  // for messages, e.g. "--listen"
  std::string key;     // dotted path of maps, e.g. "server.listen"
  std::string value;   // taken as a string if `literal`, else as YAML
  bool literal = true;
};

struct SettingsProblem {
  std::string place;    // "FILE:LINE" or an override's origin
  std::string key;      // dotted path, e.g. "memory.tiers[0].plugin"; empty for the whole file
  std::string message;  // what is wrong and what would be right
  // "FILE:LINE: key.path: message"
  std::string Text() const;
};

struct LoadedSettings {
  Settings settings;                      // meaningful only without problems
  std::vector<SettingsProblem> problems;  // every one found: overrides' first, then in file order
};

// Reads `file` (empty: none) and applies `overrides`. Relative paths in the file are relative to its directory, those
// of overrides to the working directory. Never throws; bounded in time and memory whatever the file holds: at most
// 256 KiB, 16 levels deep, no anchors or aliases.
LoadedSettings LoadSettings(const std::filesystem::path& file, const std::vector<SettingsOverride>& overrides);

}  // namespace engram
