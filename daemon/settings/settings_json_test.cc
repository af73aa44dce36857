// SPDX-License-Identifier: Apache-2.0
#include "settings/settings_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>

#include "settings/yaml_tree.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// JSON is YAML, so what is written can be read.
Settings ReadBack(const Settings& settings) {
  TempDir dir;
  dir.Write("engramd.yaml", SettingsJson(settings));
  const LoadedSettings loaded = LoadSettings(dir.path() / "engramd.yaml", {});
  for (const SettingsProblem& problem : loaded.problems) ADD_FAILURE() << problem.Text();
  return loaded.settings;
}

void AddKeys(const YamlNode& node, const std::string& path, std::set<std::string>& keys) {
  for (const YamlNode::Entry& entry : node.entries) {
    keys.insert(path + entry.key);
    AddKeys(entry.value, path + entry.key + ".", keys);
  }
}

std::set<std::string> KeysOf(const std::string& text) {
  std::vector<YamlFault> faults;
  std::set<std::string> keys;
  AddKeys(ParseYaml(text, "text", true, faults), "", keys);
  EXPECT_TRUE(faults.empty());
  return keys;
}

TEST(SettingsJson, SaysWhatTheFileSays) {
  EXPECT_TRUE(ReadBack({}).memory == Settings{}.memory);
  Settings settings;
  settings.server.address = "::1";
  settings.server.max_body_bytes = 5000;
  settings.server.idle_timeout = std::chrono::milliseconds(1500);
  settings.model = {"/models/a \"b\"", "a"};
  settings.backbone = {"other", {{"threads", "3"}, {"max_batch_tokens", "7"}}};
  settings.memory.tiers = {{"c", "tier_dram", {{"mode", "cache"}}, {0, 25}}, {"f", "tier_file", {}, {4096, 0}}};
  settings.memory.tables = {{1, "/t/1.ngt"}};
  settings.memory.budget = {1u << 30, 0};
  settings.memory.journal = {5, 6, 7, 8u << 10, 9u << 10, 10u << 20};
  settings.serving.max_queued = 3;
  settings.model_directories = {"/models", "/more"};
  settings.plugin_directories = {"/plugins"};
  settings.backup_directories = {"/backups"};
  settings.state_dir = "/state";
  settings.log = {"debug", log::Format::kJson};
  EXPECT_TRUE(ReadBack(settings) == settings) << SettingsJson(settings);
}

TEST(SettingsJson, HasEveryKeyOfTheFile) {
  std::ifstream stream(std::filesystem::path(ENGRAM_TEST_SOURCE_DIR) / "config/engramd.yaml");
  const std::string shipped((std::istreambuf_iterator<char>(stream)), {});
  EXPECT_EQ(KeysOf(SettingsJson({})), KeysOf(shipped));
}

TEST(SettingsJson, MasksSecrets) {
  Settings settings;
  settings.keys = {{"alice", std::string(64, 'a'), {"read"}}};
  settings.memory.tiers[0].options = {{"password", "hunter2"}, {"auth_token", "hunter3"}, {"load_threads", "4"}};
  const std::string text = SettingsJson(settings);
  EXPECT_THAT(text, HasSubstr("alice"));
  EXPECT_THAT(text, Not(HasSubstr("aaaa")));
  EXPECT_THAT(text, Not(HasSubstr("hunter")));
  EXPECT_THAT(text, HasSubstr("\"load_threads\":\"4\""));
}

}  // namespace
}  // namespace engram
