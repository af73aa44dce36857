// SPDX-License-Identifier: Apache-2.0
#include "settings/settings.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <optional>
#include <set>

#include "core/file.h"
#include "core/json_text.h"
#include "settings/map_reader.h"
#include "settings/value_parsers.h"
#include "settings/yaml_tree.h"

namespace engram {
namespace {

constexpr uint64_t kMaxFileBytes = 256u << 10;

using std::chrono::milliseconds;
constexpr milliseconds kLongest = std::chrono::hours(24);

// A list of names that `valid` accepts.
void ReadNames(MapReader& reader, const char* key, const std::string& expected, std::vector<std::string>& names,
               bool (*valid)(const std::string&)) {
  reader.Sequence(key, [&](const YamlNode& item, const std::string& path) {
    if (item.kind != YamlNode::Kind::kScalar || item.scalar.empty() || !valid(item.scalar)) {
      reader.Fault(item.place, path, "expected " + expected);
    } else {
      names.push_back(item.scalar);
    }
  });
}

void ReadServer(MapReader reader, ServerSettings& server) {
  reader.Custom("listen", "an address and a port such as 127.0.0.1:8484 or [::1]:8484", [&](const YamlNode& node) {
    const auto parsed = ParseListenAddress(node.scalar);
    if (!parsed) return false;
    server.address = parsed->address;
    server.port = parsed->port;
    return true;
  });
  reader.Integer("io_threads", server.io_threads, 1, 64);
  reader.Size("max_body", server.max_body_bytes, 1u << 10, 1ull << 30);
  reader.Size("max_upload", server.max_upload_bytes, 1u << 10, 16ull << 30);
  reader.Size("max_header", server.max_header_bytes, 1u << 10, 1u << 20);
  reader.Integer("max_connections", server.max_connections, 1, 1'000'000);
  reader.Duration("header_timeout", server.header_timeout, milliseconds(1), kLongest);
  reader.Duration("body_timeout", server.body_timeout, milliseconds(1), kLongest);
  reader.Duration("idle_timeout", server.idle_timeout, milliseconds(1), kLongest);
  reader.Duration("write_timeout", server.write_timeout, milliseconds(1), kLongest);
  reader.Integer("max_events_behind", server.max_events_behind, 1, 1'000'000);
  reader.Integer("max_prompts", server.max_prompts, 1, 100'000);
  {
    MapReader websocket = reader.Map("websocket");
    websocket.Integer("max_generations", server.websocket_max_generations, 1, 100'000);
    websocket.Size("max_message", server.websocket_max_message_bytes, 1u << 10, 1ull << 30);
    websocket.Duration("ping_interval", server.websocket_ping_interval, milliseconds(1), kLongest);
    websocket.Finish();
  }
  {
    MapReader tls = reader.Map("tls");
    tls.Path("certificate", server.tls_certificate);
    tls.Path("key", server.tls_key);
    tls.Path("client_ca", server.tls_client_ca);
    const auto needs = [&](const char* key, const char* other) {
      tls.Fault(tls.Find(key)->place, tls.PathOf(key), std::string("needs ") + tls.PathOf(other) + " too");
    };
    if (!server.tls_certificate.empty() && server.tls_key.empty()) needs("certificate", "key");
    if (!server.tls_key.empty() && server.tls_certificate.empty()) needs("key", "certificate");
    if (!server.tls_client_ca.empty() && server.tls_certificate.empty()) needs("client_ca", "certificate");
    tls.Finish();
  }
  ReadNames(reader, "allowed_origins", "an origin such as https://example.org", server.allowed_origins,
            [](const std::string& text) {
              const size_t slashes = text.find("://");
              return slashes != std::string::npos && slashes > 0 && text.find('/', slashes + 3) == std::string::npos;
            });
  ReadNames(reader, "allowed_hosts", "a host name such as engram.example.org, without a port", server.allowed_hosts,
            [](const std::string& text) { return text.find_first_of("/: ") == std::string::npos; });
  reader.Finish();
}

void ReadKey(MapReader reader, KeySettings& key) {
  reader.Required("name");
  reader.Required("sha256");
  reader.Required("scopes");
  reader.String("name", key.name, MapReader::kNotEmpty);
  reader.Custom("sha256", "64 hexadecimal digits, as `engramctl key hash` prints them", [&](const YamlNode& node) {
    std::string digits = node.scalar;
    for (char& c : digits)
      if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    if (digits.size() != 64 || digits.find_first_not_of("0123456789abcdef") != std::string::npos) return false;
    key.sha256 = std::move(digits);
    return true;
  });
  static const std::vector<std::string> kScopes = {"generate", "read", "edit", "operate"};
  reader.Sequence("scopes", [&](const YamlNode& item, const std::string& path) {
    std::string scope;
    if (!reader.ReadChoice(item, path, kScopes, scope)) return;
    if (std::find(key.scopes.begin(), key.scopes.end(), scope) != key.scopes.end())
      reader.Fault(item.place, path, "scope \"" + scope + "\" is given twice");
    key.scopes.push_back(std::move(scope));
  });
  {
    MapReader limits = reader.Map("limits");
    const auto read = [&](const char* name, double& rate) {
      limits.Custom(name, "a number above 0", [&](const YamlNode& node) {
        double value = 0;
        const char* const end = node.scalar.data() + node.scalar.size();
        const auto [stop, error] = std::from_chars(node.scalar.data(), end, value);
        if (error != std::errc() || stop != end || !(value > 0 && value <= 1e12)) return false;
        rate = value;
        return true;
      });
    };
    read("requests_per_s", key.requests_per_s);
    read("tokens_per_s", key.tokens_per_s);
    limits.Finish();
  }
  ReadNames(reader, "overlays", "an overlay's name", key.overlays,
            [](const std::string& text) { return text.find_first_of(" /") == std::string::npos; });
  if (const YamlNode* scopes = reader.Find("scopes"); scopes && scopes->items.empty() && key.scopes.empty())
    reader.Fault(scopes->place, reader.PathOf("scopes"), "a key without scopes can do nothing: give at least one");
  reader.Finish();
}

void ReadAuth(MapReader reader, std::vector<KeySettings>& keys) {
  std::set<std::string> names, hashes;
  reader.Sequence("keys", [&](const YamlNode& item, const std::string& path) {
    KeySettings key;
    ReadKey(reader.Child(item, path), key);
    if (!key.name.empty() && !names.insert(key.name).second)
      reader.Fault(item.place, path + ".name", "another key is named \"" + key.name + "\"");
    if (!key.sha256.empty() && !hashes.insert(key.sha256).second)
      reader.Fault(item.place, path + ".sha256", "another key has the same sha256");
    keys.push_back(std::move(key));
  });
  reader.Finish();
}

constexpr char kMemorySizeForms[] = "a size such as 2GiB, or a part of the machine's memory such as 25%";

void ReadJournal(MapReader reader, JournalSettings& journal) {
  reader.Integer("retain_versions", journal.retain_versions, 1, 1'000'000);
  reader.Integer("max_commit_rows", journal.max_commit_rows, 1, 1u << 20);
  reader.Integer("max_overlays", journal.max_overlays, 1, 1'000'000);
  reader.Size("overlay_quota", journal.overlay_quota_bytes, 1u << 10, 1u << 30);
  reader.Size("overlay_total", journal.overlay_total_bytes, 1u << 10, uint64_t{1} << 46);
  reader.Size("compaction_rate", journal.compaction_bytes_per_s, 1u << 10, uint64_t{1} << 46);
  reader.Finish();
}

void ReadMemory(MapReader reader, MemorySettings& memory) {
  std::set<std::string> names;
  std::vector<TierSettings> read;
  const bool given = reader.Sequence("tiers", [&](const YamlNode& item, const std::string& path) {
    MapReader tier_reader = reader.Child(item, path);
    TierSettings tier;
    tier_reader.Required("name");
    tier_reader.Required("plugin");
    tier_reader.String("name", tier.name, MapReader::kNotEmpty);
    tier_reader.String("plugin", tier.plugin, MapReader::kNotEmpty);
    tier_reader.Options("options", tier.options);
    tier_reader.Custom("capacity", kMemorySizeForms, [&](const YamlNode& node) {
      const auto size = ParseMemorySize(node.scalar);
      if (!size) return false;
      tier.capacity = *size;
      return true;
    });
    tier_reader.Finish();
    if (tier.capacity.given() && std::any_of(tier.options.begin(), tier.options.end(),
                                             [](const auto& option) { return option.first == "capacity"; }))
      reader.Fault(tier_reader.Find("capacity")->place, path + ".capacity", "options has a capacity too: give one");
    if (!tier.name.empty() && !names.insert(tier.name).second)
      reader.Fault(item.place, path + ".name", "another tier is named \"" + tier.name + "\"");
    read.push_back(std::move(tier));
  });
  if (given) {
    if (read.empty())
      reader.Fault(reader.Find("tiers")->place, reader.PathOf("tiers"), "at least one tier is needed to hold the rows");
    memory.tiers = std::move(read);
  }
  reader.Entries("tables", [&](const YamlNode::Entry& entry, const std::string& path) {
    const auto layer = ParseInteger(entry.key);
    if (!layer || *layer > std::numeric_limits<uint32_t>::max()) {
      reader.Fault(entry.place, path, "expected a layer's number, found \"" + entry.key + "\"");
      return;
    }
    std::filesystem::path file;
    if (!reader.ReadPath(entry.value, path, file)) return;
    if (file.empty()) {
      reader.Fault(entry.value.place, path, "expected the path of a packed table");
    } else if (!memory.tables.emplace(static_cast<uint32_t>(*layer), std::move(file)).second) {
      reader.Fault(entry.place, path, "layer " + std::to_string(*layer) + " is given twice");
    }
  });
  reader.Custom("budget", std::string(kMemorySizeForms) + ", or none", [&](const YamlNode& node) {
    const auto size = node.scalar == "none" ? MemorySize{} : ParseMemorySize(node.scalar);
    if (!size) return false;
    memory.budget = *size;
    return true;
  });
  ReadJournal(reader.Map("journal"), memory.journal);
  {
    MapReader hot_set = reader.Map("hot_set");
    hot_set.Duration("save_every", memory.hot_set.save_every, milliseconds(0), kLongest);
    hot_set.Integer("rows_per_second", memory.hot_set.rows_per_second, 1, 1'000'000'000);
    hot_set.Finish();
  }
  reader.Duration("read_timeout", memory.read_timeout, milliseconds(1), kLongest);
  reader.Integer("lookahead", memory.lookahead, 0, 1u << 20);
  std::string on_failure = memory.ready_on_failure ? "ready" : "unready";
  reader.Choice("on_failure", on_failure, {"ready", "unready"});
  memory.ready_on_failure = on_failure == "ready";
  reader.Finish();
}

void ReadGates(MapReader reader, GateSettings& gates) {
  reader.Boolean("statistics", gates.statistics);
  reader.Boolean("keep_text", gates.keep_text);
  reader.Integer("top_ngrams", gates.top_ngrams, 1, 65536);
  reader.Duration("window", gates.window, milliseconds(10'000), kLongest);
  reader.Finish();
}

void ReadServing(MapReader reader, ServingSettings& serving) {
  reader.Integer("max_queued", serving.max_queued, 1, 1'000'000);
  reader.Integer("max_running", serving.max_running, 1, 65536);
  reader.Integer("max_batch_tokens", serving.max_batch_tokens, 1, 1u << 20);
  reader.Integer("prefill_chunk", serving.prefill_chunk, 1, 1u << 20);
  reader.Integer("max_choices", serving.max_choices, 1, 65536);
  reader.Duration("drain_timeout", serving.drain_timeout, milliseconds(0), kLongest);
  // Where both are given the later-read one is named; a default is never at fault.
  const auto contradiction = [&](const char* key, uint32_t value, const char* limit_key, uint32_t limit) {
    if (value <= limit) return;
    const char* at = reader.Find(key) ? key : limit_key;
    reader.Fault(reader.Find(at) ? reader.Find(at)->place : reader.place(), reader.PathOf(at),
                 std::string(key) + " (" + std::to_string(value) + ") is above " + limit_key + " (" +
                     std::to_string(limit) + ")");
  };
  contradiction("prefill_chunk", serving.prefill_chunk, "max_batch_tokens", serving.max_batch_tokens);
  contradiction("max_choices", serving.max_choices, "max_running", serving.max_running);
  contradiction("max_running", serving.max_running, "max_batch_tokens", serving.max_batch_tokens);
  reader.Finish();
}

void ReadAudit(MapReader reader, AuditSettings& audit) {
  reader.Integer("max_entries", audit.max_entries, 100, 100'000'000);
  reader.Duration("max_age", audit.max_age, milliseconds(0), std::chrono::hours(10 * 366 * 24));
  reader.Finish();
}

// {directories: [..]}
void ReadDirectories(MapReader reader, std::vector<std::filesystem::path>& directories) {
  reader.Sequence("directories", [&](const YamlNode& item, const std::string& path) {
    std::filesystem::path directory;
    if (reader.ReadPath(item, path, directory)) directories.push_back(std::move(directory));
  });
  reader.Finish();
}

void ReadLog(MapReader reader, LogSettings& log) {
  static const std::vector<std::string> kLevels = {"debug", "info", "warning", "error", "off"};
  static const std::vector<std::string> kFormats = {"text", "json"};
  reader.Choice("level", log.level, kLevels);
  std::string format = log.format == log::Format::kJson ? "json" : "text";
  reader.Choice("format", format, kFormats);
  log.format = format == "json" ? log::Format::kJson : log::Format::kText;
  reader.Finish();
}

void ReadRoot(MapReader reader, Settings& settings) {
  ReadServer(reader.Map("server"), settings.server);
  ReadAuth(reader.Map("auth"), settings.keys);
  {
    MapReader model = reader.Map("model");
    model.Path("path", settings.model.path);
    model.String("name", settings.model.name);
    model.Finish();
  }
  {
    MapReader backbone = reader.Map("backbone");
    backbone.String("plugin", settings.backbone.plugin, MapReader::kNotEmpty);
    backbone.Options("options", settings.backbone.options);
    backbone.Finish();
  }
  ReadMemory(reader.Map("memory"), settings.memory);
  ReadServing(reader.Map("serving"), settings.serving);
  ReadGates(reader.Map("gates"), settings.gates);
  ReadAudit(reader.Map("audit"), settings.audit);
  ReadDirectories(reader.Map("models"), settings.model_directories);
  ReadDirectories(reader.Map("plugins"), settings.plugin_directories);
  ReadDirectories(reader.Map("backup"), settings.backup_directories);
  {
    MapReader web = reader.Map("web");
    web.Path("root", settings.web_root);
    web.Finish();
  }
  reader.Path("state_dir", settings.state_dir);
  ReadLog(reader.Map("log"), settings.log);
  // A state directory may hold keys, which the service looks at; systemd tells of one by its environment.
  const bool has_state = !settings.state_dir.empty() || std::getenv("STATE_DIRECTORY") != nullptr;
  if (settings.keys.empty() && !has_state && !IsLoopback(settings.server.address)) {
    const YamlNode* server = reader.Find("server");
    const YamlNode* listen = nullptr;
    if (server)
      for (const auto& entry : server->entries)
        if (entry.key == "listen") listen = &entry.value;
    reader.Fault(listen ? listen->place : reader.place(), "server.listen",
                 settings.server.address +
                     " is reachable from other machines and no keys are configured: add auth.keys (see `engramctl key "
                     "hash`) or listen on 127.0.0.1");
  }
  reader.Finish();
}

// Puts `value` at the dotted `key`, making maps on the way.
void Merge(YamlNode& root, const std::string& key, YamlNode value, std::vector<YamlFault>& faults) {
  if (key.empty() || key.front() == '.' || key.back() == '.' || key.find("..") != std::string::npos ||
      std::count(key.begin(), key.end(), '.') >= kMaxYamlDepth) {
    faults.push_back({value.place, "\"" + key + "\" is not a key such as server.listen"});
    return;
  }
  YamlNode* node = &root;
  for (size_t start = 0; start <= key.size();) {
    const size_t dot = std::min(key.find('.', start), key.size());
    const std::string name = key.substr(start, dot - start);
    start = dot + 1;
    if (node->kind != YamlNode::Kind::kMap) {
      *node = YamlNode{};
      node->kind = YamlNode::Kind::kMap;
      node->place = value.place;
    }
    auto found = std::find_if(node->entries.begin(), node->entries.end(), [&](auto& e) { return e.key == name; });
    if (found == node->entries.end()) {
      node->entries.push_back({name, value.place, YamlNode{}});
      found = std::prev(node->entries.end());
    }
    node = &found->value;
    if (start > key.size()) found->place = value.place;
  }
  *node = std::move(value);
}

}  // namespace

std::string SettingsProblem::Text() const {
  return place + ": " + (key.empty() ? "" : key + ": ") + message;
}

LoadedSettings LoadSettings(const std::filesystem::path& file, const std::vector<SettingsOverride>& overrides) {
  LoadedSettings loaded;
  std::vector<YamlFault> faults;
  YamlNode root;
  root.kind = YamlNode::Kind::kMap;
  root.place = {file.empty() ? "command line" : file.string(), file.empty() ? 0 : 1};
  std::filesystem::path base;
  if (!file.empty()) {
    auto text = ReadFile(file, kMaxFileBytes);
    if (!text) {
      loaded.problems.push_back({file.string(), "", text.error().message});
      return loaded;
    }
    if (const size_t valid = ValidUtf8Prefix(*text); valid != text->size()) {
      const auto line = 1 + std::count(text->begin(), text->begin() + static_cast<ptrdiff_t>(valid), '\n');
      loaded.problems.push_back({file.string() + ":" + std::to_string(line), "", "not valid UTF-8"});
      return loaded;
    }
    YamlNode tree = ParseYaml(*text, file.string(), true, faults);
    // Without a tree every other message would be about what could not be read.
    const bool unreadable = tree.kind == YamlNode::Kind::kNull && !faults.empty();
    if (unreadable) {
      for (const YamlFault& fault : faults) loaded.problems.push_back({fault.place.Text(), "", fault.message});
      return loaded;
    }
    // An empty file means: every default.
    if (tree.kind != YamlNode::Kind::kNull) {
      if (tree.place.line == 0) tree.place.line = 1;
      root = std::move(tree);
    }
    std::error_code error;
    base = std::filesystem::absolute(file, error).parent_path();
    if (error) faults.push_back({{file.string(), 1}, "its directory cannot be found: " + error.message()});
  }
  for (const SettingsOverride& override_value : overrides) {
    YamlNode value;
    if (override_value.literal) {
      value.kind = YamlNode::Kind::kScalar;
      value.scalar = override_value.value;
      value.quoted = true;
      value.place = {override_value.origin, 0};
    } else {
      value = ParseYaml(override_value.value, override_value.origin, false, faults);
      if (value.place.origin.empty()) value.place = {override_value.origin, 0};
    }
    Merge(root, override_value.key, std::move(value), faults);
  }
  std::vector<PathFault> path_faults;
  for (YamlFault& fault : faults) path_faults.push_back({std::move(fault.place), "", std::move(fault.message)});
  ReadRoot(MapReader(root, "", base, path_faults), loaded.settings);
  std::stable_sort(path_faults.begin(), path_faults.end(),
                   [](const PathFault& a, const PathFault& b) { return a.place.line < b.place.line; });
  for (PathFault& fault : path_faults)
    loaded.problems.push_back({fault.place.Text(), std::move(fault.path), std::move(fault.message)});
  return loaded;
}

}  // namespace engram
