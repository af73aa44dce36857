// SPDX-License-Identifier: Apache-2.0
#include "engramd/room_options.h"

namespace engram {

HttpOptions MakeHttpOptions(const Settings& settings) {
  const ServerSettings& server = settings.server;
  HttpOptions options;
  options.address = server.address;
  options.port = server.port;
  options.num_threads = server.io_threads;
  options.max_body_bytes = server.max_body_bytes;
  options.max_upload_bytes = server.max_upload_bytes;
  options.max_header_bytes = static_cast<uint32_t>(server.max_header_bytes);
  options.max_connections = server.max_connections;
  options.header_timeout = server.header_timeout;
  options.body_timeout = server.body_timeout;
  options.idle_timeout = server.idle_timeout;
  options.write_timeout = server.write_timeout;
  options.max_events_behind = server.max_events_behind;
  options.max_prompts = server.max_prompts;
  options.websocket_max_generations = server.websocket_max_generations;
  options.websocket_max_message_bytes = server.websocket_max_message_bytes;
  options.websocket_ping_interval = server.websocket_ping_interval;
  options.tls_certificate = server.tls_certificate;
  options.tls_key = server.tls_key;
  options.tls_client_ca = server.tls_client_ca;
  options.allowed_origins = server.allowed_origins;
  options.allowed_hosts = server.allowed_hosts;
  options.web_root = settings.web_root;
  options.ready_on_memory_failure = settings.memory.ready_on_failure;
  return options;
}

EngineOptions MakeEngineOptions(const Settings& settings) {
  const ServingSettings& serving = settings.serving;
  EngineOptions options;
  options.max_queued = serving.max_queued;
  options.max_running = serving.max_running;
  options.max_batch_tokens = serving.max_batch_tokens;
  options.prefill_chunk = serving.prefill_chunk;
  options.max_choices = serving.max_choices;
  const GateSettings& gates = settings.gates;
  options.gates = {gates.statistics, gates.keep_text, gates.top_ngrams,
                   std::chrono::duration_cast<std::chrono::seconds>(gates.window)};
  return options;
}

ModelManagerOptions MakeModelManagerOptions(const Settings& settings, const std::filesystem::path& model,
                                            std::vector<std::filesystem::path> plugin_directories) {
  ModelManagerOptions options;
  options.model_directories = settings.model_directories;
  options.model_directories.push_back(model);
  options.plugin_directories = std::move(plugin_directories);
  options.drain_timeout = settings.serving.drain_timeout;
  return options;
}

Result<AccessOptions> MakeAccessOptions(const Settings& settings, const std::filesystem::path& state_dir) {
  AccessOptions options;
  if (!state_dir.empty()) options.path = state_dir / "access.sqlite";
  options.retention = {settings.audit.max_entries, settings.audit.max_age.count()};
  for (const KeySettings& key : settings.keys) {
    AccessKey& added = options.config_keys.emplace_back();
    added.name = key.name;
    ENGRAM_TRY(added.sha256, ParseSha256(key.sha256));
    ENGRAM_TRY(added.scopes, ParseScopes(key.scopes));
    added.requests_per_s = key.requests_per_s;
    added.tokens_per_s = key.tokens_per_s;
    added.overlays = key.overlays;
  }
  return options;
}

LiveMemoryOptions MakeLiveMemoryOptions(const Settings& settings, const std::filesystem::path& state_dir) {
  const JournalSettings& journal = settings.memory.journal;
  LiveMemoryOptions options;
  options.state_dir = state_dir;
  options.retain_versions = journal.retain_versions;
  options.max_commit_rows = journal.max_commit_rows;
  options.max_overlays = journal.max_overlays;
  options.overlay_quota_bytes = journal.overlay_quota_bytes;
  options.overlay_total_bytes = journal.overlay_total_bytes;
  options.compaction_bytes_per_s = journal.compaction_bytes_per_s;
  return options;
}

std::vector<std::filesystem::path> BackupDirectories(const Settings& settings, const std::filesystem::path& state_dir) {
  if (!settings.backup_directories.empty()) return settings.backup_directories;
  if (state_dir.empty()) return {};
  return {state_dir / "backups"};
}

}  // namespace engram
