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
  uint64_t max_upload_bytes = 256u << 20;
  uint64_t max_header_bytes = 16u << 10;
  uint32_t max_connections = 1024;
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_timeout{30'000};
  std::chrono::milliseconds idle_timeout{75'000};
  std::chrono::milliseconds write_timeout{30'000};
  uint32_t max_events_behind = 256;
  uint32_t max_prompts = 128;
  uint32_t websocket_max_generations = 32;                    // server.websocket.max_generations
  uint64_t websocket_max_message_bytes = 1u << 20;            // server.websocket.max_message
  std::chrono::milliseconds websocket_ping_interval{30'000};  // server.websocket.ping_interval
  std::filesystem::path tls_certificate;                      // server.tls.certificate; empty: no TLS
  std::filesystem::path tls_key;                              // server.tls.key
  std::filesystem::path tls_client_ca;                        // server.tls.client_ca; empty: no client certificates
  std::vector<std::string> allowed_origins;
  std::vector<std::string> allowed_hosts;
  bool operator==(const ServerSettings&) const = default;
};

struct KeySettings {
  std::string name;
  std::string sha256;               // 64 lowercase hex digits
  std::vector<std::string> scopes;  // of generate, read, edit, operate; not empty
  double requests_per_s = 0;        // limits.requests_per_s; 0: no limit
  double tokens_per_s = 0;          // limits.tokens_per_s
  std::vector<std::string> overlays;  // attached to its requests that name none
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

// Edits of the memory and what is kept of them; control/live_memory.h says more.
struct JournalSettings {
  uint32_t retain_versions = 1000;
  uint32_t max_commit_rows = 65'536;
  uint32_t max_overlays = 10'000;
  uint64_t overlay_quota_bytes = 16u << 20;
  uint64_t overlay_total_bytes = 1u << 30;
  uint64_t compaction_bytes_per_s = 256u << 20;
  bool operator==(const JournalSettings&) const = default;
};

// Keeping caches warm over restarts; needs a state directory.
struct HotSetSettings {
  std::chrono::milliseconds save_every{300'000};  // 0: neither saved nor read
  uint32_t rows_per_second = 50'000;              // of the warm-up
  bool operator==(const HotSetSettings&) const = default;
};

struct MemorySettings {
  std::vector<TierSettings> tiers{{"dram", "tier_dram", {}, {}}};  // nearest first
  std::map<uint32_t, std::filesystem::path> tables;                // packed table by model layer; others: safetensors
  MemorySize budget;                                               // what the tiers may take; not given: no limit
  JournalSettings journal;
  HotSetSettings hot_set;
  std::chrono::milliseconds read_timeout{10'000};  // of one layer's rows in a step
  uint32_t lookahead = 1024;                       // tokens of a prompt
  bool ready_on_failure = true;                    // on_failure: ready or unready
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

struct GateSettings {
  bool statistics = true;
  bool keep_text = true;  // false: of n-grams only hashes are held
  uint32_t top_ngrams = 256;
  std::chrono::milliseconds window{300'000};
  bool operator==(const GateSettings&) const = default;
};

struct AuditSettings {
  uint32_t max_entries = 100'000;
  std::chrono::milliseconds max_age{0};  // 0: kept whatever their age
  bool operator==(const AuditSettings&) const = default;
};

struct LogSettings {
  std::string level = "info";  // debug, info, warning, error, off
  log::Format format = log::Format::kText;
  bool operator==(const LogSettings&) const = default;
};

struct Settings {
  ServerSettings server;
  std::vector<KeySettings> keys;  // auth.keys; empty: only those of the state directory
  ModelSettings model;
  BackboneSettings backbone;
  MemorySettings memory;
  ServingSettings serving;
  GateSettings gates;
  AuditSettings audit;
  std::vector<std::filesystem::path> model_directories;   // models.directories: what may be loaded while running
  std::vector<std::filesystem::path> plugin_directories;  // empty: beside the executable, then the installed one
  std::vector<std::filesystem::path> backup_directories;  // backup.directories; empty: state_dir/backups
  std::filesystem::path web_root;                         // the dashboard's files; empty: those that were installed
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
