// SPDX-License-Identifier: Apache-2.0
#include "engramd/room_options.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

using std::chrono::milliseconds;

// The rooms know nothing of the settings, so both state the defaults.
TEST(RoomOptions, DefaultsAreTheRoomsOwn) {
  EXPECT_TRUE(MakeHttpOptions({}) == HttpOptions{});
  EXPECT_TRUE(MakeEngineOptions({}) == EngineOptions{});
}

TEST(RoomOptions, EverySettingArrives) {
  Settings settings;
  settings.server = {.address = "::1",
                     .port = 1,
                     .io_threads = 2,
                     .max_body_bytes = 3,
                     .max_upload_bytes = 33,
                     .max_header_bytes = 4,
                     .max_connections = 5,
                     .header_timeout = milliseconds(6),
                     .body_timeout = milliseconds(7),
                     .idle_timeout = milliseconds(8),
                     .write_timeout = milliseconds(9),
                     .max_events_behind = 10,
                     .max_prompts = 11,
                     .websocket_max_generations = 12,
                     .websocket_max_message_bytes = 13,
                     .websocket_ping_interval = milliseconds(14),
                     .tls_certificate = "/c",
                     .tls_key = "/k",
                     .tls_client_ca = "/a",
                     .allowed_origins = {"https://o"},
                     .allowed_hosts = {"h"}};
  settings.web_root = "/w";
  EXPECT_TRUE(MakeHttpOptions(settings) == (HttpOptions{.address = "::1",
                                                        .port = 1,
                                                        .num_threads = 2,
                                                        .max_body_bytes = 3,
                                                        .max_upload_bytes = 33,
                                                        .max_header_bytes = 4,
                                                        .max_connections = 5,
                                                        .header_timeout = milliseconds(6),
                                                        .body_timeout = milliseconds(7),
                                                        .idle_timeout = milliseconds(8),
                                                        .write_timeout = milliseconds(9),
                                                        .max_events_behind = 10,
                                                        .max_prompts = 11,
                                                        .websocket_max_generations = 12,
                                                        .websocket_max_message_bytes = 13,
                                                        .websocket_ping_interval = milliseconds(14),
                                                        .allowed_origins = {"https://o"},
                                                        .allowed_hosts = {"h"},
                                                        .web_root = "/w",
                                                        .tls_certificate = "/c",
                                                        .tls_key = "/k",
                                                        .tls_client_ca = "/a"}));

  settings.serving = {
      .max_queued = 21, .max_running = 22, .max_batch_tokens = 23, .prefill_chunk = 24, .max_choices = 25};
  EXPECT_TRUE(
      MakeEngineOptions(settings) ==
      (EngineOptions{
          .max_queued = 21, .max_running = 22, .max_batch_tokens = 23, .prefill_chunk = 24, .max_choices = 25}));
}

TEST(RoomOptions, TheConfiguredModelMayBeLoadedAgain) {
  Settings settings;
  settings.model_directories = {"/models"};
  settings.serving.drain_timeout = milliseconds(7);
  const ModelManagerOptions options = MakeModelManagerOptions(settings, "/own/model", {"/plugins"});
  EXPECT_EQ(options.model_directories, (std::vector<std::filesystem::path>{"/models", "/own/model"}));
  EXPECT_EQ(options.plugin_directories, std::vector<std::filesystem::path>{"/plugins"});
  EXPECT_EQ(options.drain_timeout, milliseconds(7));
}

TEST(RoomOptions, LiveMemory) {
  Settings settings;
  settings.memory.journal = {5, 6, 7, 8, 9, 10};
  const LiveMemoryOptions options = MakeLiveMemoryOptions(settings, "/state");
  EXPECT_EQ(options.state_dir, "/state");
  EXPECT_EQ(options.retain_versions, 5u);
  EXPECT_EQ(options.max_commit_rows, 6u);
  EXPECT_EQ(options.max_overlays, 7u);
  EXPECT_EQ(options.overlay_quota_bytes, 8u);
  EXPECT_EQ(options.overlay_total_bytes, 9u);
  EXPECT_EQ(options.compaction_bytes_per_s, 10u);
}

TEST(RoomOptions, KeysAndAudit) {
  Settings settings;
  EXPECT_EQ(MakeAccessOptions(settings, "")->path, "");
  EXPECT_TRUE(MakeAccessOptions(settings, "")->retention == AuditRetention{});
  const std::string zeros(64, '0');
  settings.keys = {{"alice", zeros, {"read", "edit"}, 1.5, 2, {"tenant"}}};
  settings.audit = {1000, milliseconds(7)};
  const auto options = MakeAccessOptions(settings, "/state");
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->path, "/state/access.sqlite");
  EXPECT_EQ(options->retention.max_entries, 1000u);
  EXPECT_EQ(options->retention.max_age_ms, 7);
  ASSERT_EQ(options->config_keys.size(), 1u);
  const AccessKey& key = options->config_keys[0];
  EXPECT_EQ(key.name, "alice");
  EXPECT_EQ(ScopeNames(key.scopes), (std::vector<std::string>{"read", "edit"}));
  EXPECT_EQ(key.requests_per_s, 1.5);
  EXPECT_EQ(key.tokens_per_s, 2);
  EXPECT_EQ(key.overlays, std::vector<std::string>{"tenant"});
  settings.keys[0].scopes = {"fly"};
  EXPECT_FALSE(MakeAccessOptions(settings, "/state"));
}

TEST(RoomOptions, BackupsGoWhereTheyMay) {
  using Paths = std::vector<std::filesystem::path>;
  Settings settings;
  EXPECT_EQ(BackupDirectories(settings, ""), Paths{});
  EXPECT_EQ(BackupDirectories(settings, "/state"), Paths{"/state/backups"});
  settings.backup_directories = {"/backups"};
  EXPECT_EQ(BackupDirectories(settings, "/state"), Paths{"/backups"});
}

}  // namespace
}  // namespace engram
