// SPDX-License-Identifier: Apache-2.0
#include "settings/settings_json.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <string_view>

#include "core/json_text.h"

namespace engram {
namespace {

constexpr char kMasked[] = "***";

// Writes one object; values are JSON already but for those of the typed calls.
class ObjectText {
 public:
  ObjectText& Raw(std::string_view key, std::string_view json) {
    if (text_.size() > 1) text_ += ',';
    text_ += JsonQuote(key);
    text_ += ':';
    text_ += json;
    return *this;
  }
  ObjectText& Text(std::string_view key, std::string_view value) { return Raw(key, JsonQuote(value)); }
  ObjectText& Number(std::string_view key, uint64_t value) { return Raw(key, std::to_string(value)); }
  ObjectText& Size(std::string_view key, uint64_t bytes) { return Text(key, FormatSize(bytes)); }
  ObjectText& Duration(std::string_view key, std::chrono::milliseconds value) {
    return Text(key, FormatDuration(value));
  }
  std::string Close() const { return text_ + "}"; }

 private:
  std::string text_ = "{";
};

template <typename List, typename Function>
std::string ListText(const List& list, Function json_of) {
  std::string text = "[";
  for (const auto& item : list) {
    if (text.size() > 1) text += ',';
    text += json_of(item);
  }
  return text + "]";
}

std::string PathList(const std::vector<std::filesystem::path>& paths) {
  return ListText(paths, [](const std::filesystem::path& path) { return JsonQuote(path.string()); });
}

bool IsSecret(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* word : {"password", "secret", "token", "credential"}) {
    // "kv_cache_tokens" and "max_batch_tokens" count tokens.
    const size_t at = name.find(word);
    if (at != std::string::npos && name.compare(at, 6, "tokens") != 0) return true;
  }
  return false;
}

std::string OptionsText(const OptionList& options) {
  ObjectText text;
  for (const auto& [name, value] : options) text.Text(name, IsSecret(name) ? kMasked : value);
  return text.Close();
}

std::string MemorySizeText(const MemorySize& size, const char* none) {
  if (!size.given()) return none;
  return size.percent != 0 ? std::to_string(size.percent) + "%" : FormatSize(size.bytes);
}

// null: no limit.
std::string RateText(double per_s) {
  if (per_s == 0) return "null";
  char digits[40];
  const auto end = std::to_chars(digits, digits + sizeof(digits), per_s).ptr;
  return std::string(digits, end);
}

std::string NameList(const std::vector<std::string>& names) {
  return ListText(names, [](const std::string& name) { return JsonQuote(name); });
}

std::string ServerText(const ServerSettings& server) {
  const ObjectText websocket = ObjectText()
                                   .Number("max_generations", server.websocket_max_generations)
                                   .Size("max_message", server.websocket_max_message_bytes)
                                   .Duration("ping_interval", server.websocket_ping_interval);
  const ObjectText tls = ObjectText()
                             .Text("certificate", server.tls_certificate.string())
                             .Text("key", server.tls_key.string())
                             .Text("client_ca", server.tls_client_ca.string());
  return ObjectText()
      .Text("listen", FormatListenAddress(server.address, server.port))
      .Number("io_threads", server.io_threads)
      .Size("max_body", server.max_body_bytes)
      .Size("max_upload", server.max_upload_bytes)
      .Size("max_header", server.max_header_bytes)
      .Number("max_connections", server.max_connections)
      .Duration("header_timeout", server.header_timeout)
      .Duration("body_timeout", server.body_timeout)
      .Duration("idle_timeout", server.idle_timeout)
      .Duration("write_timeout", server.write_timeout)
      .Number("max_events_behind", server.max_events_behind)
      .Number("max_prompts", server.max_prompts)
      .Raw("websocket", websocket.Close())
      .Raw("tls", tls.Close())
      .Raw("allowed_origins", NameList(server.allowed_origins))
      .Raw("allowed_hosts", NameList(server.allowed_hosts))
      .Close();
}

std::string AuthText(const std::vector<KeySettings>& keys) {
  const auto key_text = [](const KeySettings& key) {
    return ObjectText()
        .Text("name", key.name)
        .Text("sha256", kMasked)
        .Raw("scopes", NameList(key.scopes))
        .Raw("limits", ObjectText()
                           .Raw("requests_per_s", RateText(key.requests_per_s))
                           .Raw("tokens_per_s", RateText(key.tokens_per_s))
                           .Close())
        .Raw("overlays", NameList(key.overlays))
        .Close();
  };
  return ObjectText().Raw("keys", ListText(keys, key_text)).Close();
}

std::string MemoryText(const MemorySettings& memory) {
  const auto tier_text = [](const TierSettings& tier) {
    ObjectText text;
    text.Text("name", tier.name).Text("plugin", tier.plugin).Raw("options", OptionsText(tier.options));
    if (tier.capacity.given()) text.Text("capacity", MemorySizeText(tier.capacity, ""));
    return text.Close();
  };
  ObjectText tables;
  for (const auto& [layer, path] : memory.tables) tables.Text(std::to_string(layer), path.string());
  return ObjectText()
      .Raw("tiers", ListText(memory.tiers, tier_text))
      .Raw("tables", tables.Close())
      .Text("budget", MemorySizeText(memory.budget, "none"))
      .Raw("journal", ObjectText()
                          .Number("retain_versions", memory.journal.retain_versions)
                          .Number("max_commit_rows", memory.journal.max_commit_rows)
                          .Number("max_overlays", memory.journal.max_overlays)
                          .Size("overlay_quota", memory.journal.overlay_quota_bytes)
                          .Size("overlay_total", memory.journal.overlay_total_bytes)
                          .Size("compaction_rate", memory.journal.compaction_bytes_per_s)
                          .Close())
      .Raw("hot_set", ObjectText()
                          .Duration("save_every", memory.hot_set.save_every)
                          .Number("rows_per_second", memory.hot_set.rows_per_second)
                          .Close())
      .Duration("read_timeout", memory.read_timeout)
      .Number("lookahead", memory.lookahead)
      .Text("on_failure", memory.ready_on_failure ? "ready" : "unready")
      .Close();
}

std::string GatesText(const GateSettings& gates) {
  return ObjectText()
      .Raw("statistics", gates.statistics ? "true" : "false")
      .Raw("keep_text", gates.keep_text ? "true" : "false")
      .Number("top_ngrams", gates.top_ngrams)
      .Duration("window", gates.window)
      .Close();
}

std::string ServingText(const ServingSettings& serving) {
  return ObjectText()
      .Number("max_queued", serving.max_queued)
      .Number("max_running", serving.max_running)
      .Number("max_batch_tokens", serving.max_batch_tokens)
      .Number("prefill_chunk", serving.prefill_chunk)
      .Number("max_choices", serving.max_choices)
      .Duration("drain_timeout", serving.drain_timeout)
      .Close();
}

}  // namespace

std::string SettingsJson(const Settings& settings) {
  const ObjectText model = ObjectText().Text("path", settings.model.path.string()).Text("name", settings.model.name);
  const ObjectText backbone =
      ObjectText().Text("plugin", settings.backbone.plugin).Raw("options", OptionsText(settings.backbone.options));
  const ObjectText log = ObjectText()
                             .Text("level", settings.log.level)
                             .Text("format", settings.log.format == log::Format::kJson ? "json" : "text");
  return ObjectText()
      .Raw("server", ServerText(settings.server))
      .Raw("auth", AuthText(settings.keys))
      .Raw("model", model.Close())
      .Raw("backbone", backbone.Close())
      .Raw("memory", MemoryText(settings.memory))
      .Raw("serving", ServingText(settings.serving))
      .Raw("gates", GatesText(settings.gates))
      .Raw("audit", ObjectText()
                        .Number("max_entries", settings.audit.max_entries)
                        .Duration("max_age", settings.audit.max_age)
                        .Close())
      .Raw("models", ObjectText().Raw("directories", PathList(settings.model_directories)).Close())
      .Raw("plugins", ObjectText().Raw("directories", PathList(settings.plugin_directories)).Close())
      .Raw("backup", ObjectText().Raw("directories", PathList(settings.backup_directories)).Close())
      .Raw("web", ObjectText().Text("root", settings.web_root.string()).Close())
      .Text("state_dir", settings.state_dir.string())
      .Raw("log", log.Close())
      .Close();
}

}  // namespace engram
