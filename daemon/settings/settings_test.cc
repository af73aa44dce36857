// SPDX-License-Identifier: Apache-2.0
#include "settings/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "settings/value_parsers.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class SettingsTest : public testing::Test {
 protected:
  LoadedSettings Load(const std::string& yaml, const std::vector<SettingsOverride>& overrides = {}) {
    std::ofstream(file_, std::ios::binary) << yaml;
    return LoadSettings(file_, overrides);
  }
  // The problems' texts with the directory cut off.
  std::vector<std::string> Problems(const std::string& yaml, const std::vector<SettingsOverride>& overrides = {}) {
    std::vector<std::string> texts;
    for (const auto& problem : Load(yaml, overrides).problems) {
      std::string text = problem.Text();
      if (text.starts_with(directory_.string())) text = text.substr(directory_.string().size() + 1);
      texts.push_back(text);
    }
    return texts;
  }

  const TempDir temp_dir_;
  const fs::path directory_ = temp_dir_.path();
  const fs::path file_ = directory_ / "c.yaml";
};

TEST_F(SettingsTest, ShippedFileShowsTheDefaults) {
  const auto loaded = LoadSettings(fs::path(ENGRAM_TEST_SOURCE_DIR) / "config/engramd.yaml", {});
  for (const auto& problem : loaded.problems) ADD_FAILURE() << problem.Text();
  EXPECT_TRUE(loaded.settings == Settings{});
}

// Every key the loader knows stands in the shipped file: an unknown key's message lists the known ones.
TEST_F(SettingsTest, ShippedFileShowsEveryKey) {
  std::ifstream stream(fs::path(ENGRAM_TEST_SOURCE_DIR) / "config/engramd.yaml");
  const std::string shipped((std::istreambuf_iterator<char>(stream)), {});
  const auto problems = Problems(
      "server: {x: 1}\nauth: {keys: [{x: 1}], x: 1}\nmodel: {x: 1}\nbackbone: {x: 1}\nmemory: {tiers: [{x: 1}], x: 1}\n"
      "serving: {x: 1}\nmodels: {x: 1}\nplugins: {x: 1}\nlog: {x: 1}\nx: 1\n");
  size_t seen = 0;
  for (const std::string& text : problems) {
    const std::string marker = "known here: ";
    const size_t at = text.find(marker);
    if (at == std::string::npos) continue;
    ++seen;
    std::istringstream words(text.substr(at + marker.size()));
    for (std::string word; words >> word;) {
      if (word.back() == ',') word.pop_back();
      EXPECT_THAT(shipped, HasSubstr(word + ":")) << text;
    }
  }
  EXPECT_EQ(seen, 12u);
}

TEST_F(SettingsTest, EmptyFileAndNullsAreTheDefaults) {
  for (const char* yaml : {"", "# nothing\n", "---\n", "server:\nlog:\n  level:\n", "server: ~\n"}) {
    const auto loaded = Load(yaml);
    EXPECT_THAT(loaded.problems, IsEmpty()) << yaml;
    EXPECT_TRUE(loaded.settings == Settings{}) << yaml;
  }
}

TEST_F(SettingsTest, ReadsEveryKey) {
  const auto loaded = Load(R"(
server:
  listen: "[::1]:0"
  io_threads: 3
  max_body: 2GiB
  max_header: 32KiB
)");
  EXPECT_EQ(loaded.problems.size(), 1u);  // 2 GiB is above the bound
  const auto good = Load(R"(
server: {listen: "0.0.0.0:80", io_threads: 3, max_body: 16MiB, max_upload: 1GiB, max_header: 32768,
         max_connections: 7, header_timeout: 1s, body_timeout: 2m, idle_timeout: 1h, write_timeout: 250ms, max_events_behind: 9, max_prompts: 8,
         websocket: {max_generations: 5, max_message: 2MiB, ping_interval: 5s},
         tls: {certificate: c.pem, key: /k.pem, client_ca: ca.pem},
         allowed_origins: ["https://a.example:1", "http://b"], allowed_hosts: [h.example]}
auth:
  keys:
    - {name: a, sha256: ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789, scopes: [generate, read],
       limits: {requests_per_s: 0.5, tokens_per_s: 1000}, overlays: [o, p]}
audit: {max_entries: 1000, max_age: 1h}
model: {path: models/x, name: m}
backbone: {plugin: other, options: {threads: 2, weights: native, on: true}}
memory:
  tiers:
    - {name: a, plugin: tier_dram, options: {mode: cache}, capacity: 25%}
    - {name: b, plugin: tier_file}
  tables: {1: t/1.ngt, 14: /t/14.ngt}
  budget: 3GiB
  journal: {retain_versions: 5, max_commit_rows: 6, max_overlays: 7, overlay_quota: 8KiB, overlay_total: 9KiB,
            compaction_rate: 10MiB}
serving: {max_queued: 1, max_running: 2, max_batch_tokens: 3, prefill_chunk: 3, max_choices: 2, drain_timeout: 0ms}
plugins: {directories: [p, /q]}
backup: {directories: [/backups]}
web: {root: w}
state_dir: ../s
log: {level: debug, format: json}
)");
  for (const auto& problem : good.problems) ADD_FAILURE() << problem.Text();
  Settings expected;
  using std::chrono::milliseconds;
  expected.server = {"0.0.0.0",
                     80,
                     3,
                     16u << 20,
                     1u << 30,
                     32768,
                     7,
                     milliseconds(1000),
                     milliseconds(120'000),
                     milliseconds(3'600'000),
                     milliseconds(250),
                     9,
                     8};
  expected.server.websocket_max_generations = 5;
  expected.server.websocket_max_message_bytes = 2u << 20;
  expected.server.websocket_ping_interval = milliseconds(5000);
  expected.server.tls_certificate = directory_ / "c.pem";
  expected.server.tls_key = "/k.pem";
  expected.server.tls_client_ca = directory_ / "ca.pem";
  expected.server.allowed_origins = {"https://a.example:1", "http://b"};
  expected.server.allowed_hosts = {"h.example"};
  expected.keys = {{"a",
                    "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789",
                    {"generate", "read"},
                    0.5,
                    1000,
                    {"o", "p"}}};
  expected.audit = {1000, milliseconds(3'600'000)};
  expected.model = {directory_ / "models/x", "m"};
  expected.backbone = {"other", {{"threads", "2"}, {"weights", "native"}, {"on", "true"}}};
  expected.memory.tiers = {{"a", "tier_dram", {{"mode", "cache"}}, {0, 25}}, {"b", "tier_file", {}, {}}};
  expected.memory.tables = {{1, directory_ / "t/1.ngt"}, {14, "/t/14.ngt"}};
  expected.memory.budget = {uint64_t{3} << 30, 0};
  expected.memory.journal = {5, 6, 7, 8u << 10, 9u << 10, 10u << 20};
  expected.serving = {1, 2, 3, 3, 2, milliseconds(0)};
  expected.plugin_directories = {directory_ / "p", "/q"};
  expected.backup_directories = {"/backups"};
  expected.web_root = directory_ / "w";
  expected.state_dir = directory_.parent_path() / "s";
  expected.log = {"debug", log::Format::kJson};
  EXPECT_TRUE(good.settings == expected);
}

TEST_F(SettingsTest, NamesTheLineAndTheKeyOfEveryProblem) {
  struct Case {
    std::string yaml;
    std::vector<std::string> starts;  // one per problem
  };
  const std::string kZeros(64, '0');
  const Case kCases[] = {
      {"server:\n  listen: 127.0.0.1\n  max_body: 12 MB\nsrever: 1\n",
       {"c.yaml:2: server.listen: expected an address and a port", "c.yaml:3: server.max_body: expected a size",
        "c.yaml:4: srever: unknown key; known here: server, auth"}},
      {"server: 5\n", {"c.yaml:1: server: expected a map of keys, found \"5\""}},
      {"- a\n- b\n", {"c.yaml:1: expected a map of keys, found a list"}},
      {"hello\n", {"c.yaml:1: expected a map of keys, found \"hello\""}},
      {"server:\n  tls: {certificate: c}\n", {"c.yaml:2: server.tls.certificate: needs server.tls.key too"}},
      {"server:\n  tls: {client_ca: c}\n", {"c.yaml:2: server.tls.client_ca: needs server.tls.certificate too"}},
      {"server:\n  allowed_origins: [example.org]\n",
       {"c.yaml:2: server.allowed_origins[0]: expected an origin such as https://example.org"}},
      {"server:\n  allowed_origins: [https://example.org/]\n",
       {"c.yaml:2: server.allowed_origins[0]: expected an origin"}},
      {"server:\n  allowed_hosts: [h:80, [h]]\n",
       {"c.yaml:2: server.allowed_hosts[0]: expected a host name",
        "c.yaml:2: server.allowed_hosts[1]: expected a host"}},
      {"auth:\n  keys:\n    - name: a\n      sha256: " + kZeros +
           "\n      scopes: [read]\n"
           "      limits: {requests_per_s: 0, tokens_per_s: inf}\n",
       {"c.yaml:6: auth.keys[0].limits.requests_per_s: expected a number above 0",
        "c.yaml:6: auth.keys[0].limits.tokens_per_s: expected a number above 0"}},
      {"server:\n  io_threads: 0\n", {"c.yaml:2: server.io_threads: expected a whole number from 1 to 64"}},
      {"server:\n  io_threads: -1\n", {"c.yaml:2: server.io_threads: expected a whole number"}},
      {"server:\n  io_threads: 1.5\n", {"c.yaml:2: server.io_threads: expected a whole number"}},
      {"server:\n  io_threads: \"2\"\n", {"c.yaml:2: server.io_threads: expected a whole number"}},
      {"server:\n  io_threads: 99999999999999999999999\n", {"c.yaml:2: server.io_threads: expected a whole number"}},
      {"server:\n  io_threads: [1]\n",
       {"c.yaml:2: server.io_threads: expected a whole number from 1 to 64, found a list"}},
      {"server:\n  idle_timeout: 10\n", {"c.yaml:2: server.idle_timeout: expected a duration"}},
      {"server:\n  idle_timeout: 99999999999999999h\n", {"c.yaml:2: server.idle_timeout: expected a duration"}},
      {"server:\n  max_body: 99999999999GiB\n", {"c.yaml:2: server.max_body: expected a size"}},
      {"log:\n  level: info\n  level: debug\n", {"c.yaml:3: key \"level\" is given twice, first at "}},
      {"log:\n  level: loud\n  format: xml\n",
       {"c.yaml:2: log.level: expected one of debug, info, warning, error, off, found \"loud\"",
        "c.yaml:3: log.format: expected one of text, json"}},
      {"server:\n  listen: 0.0.0.0:80\n",
       {"c.yaml:2: server.listen: 0.0.0.0 is reachable from other machines and no keys are configured: add auth.keys"}},
      {"server:\n  listen: \"[::]:80\"\n", {"c.yaml:2: server.listen: :: is reachable"}},
      {"server:\n  listen: example.org:80\n", {"c.yaml:2: server.listen: expected an address"}},
      {"server:\n  listen: 127.0.0.1:65536\n", {"c.yaml:2: server.listen: expected an address"}},
      {"serving:\n  prefill_chunk: 600\n",
       {"c.yaml:2: serving.prefill_chunk: prefill_chunk (600) is above max_batch_tokens (512)"}},
      {"serving:\n  max_batch_tokens: 100\n",
       {"c.yaml:2: serving.max_batch_tokens: prefill_chunk (256) is above max_batch_tokens (100)"}},
      {"serving:\n  max_running: 8\n", {"c.yaml:2: serving.max_running: max_choices (16) is above max_running (8)"}},
      {"memory:\n  tiers: []\n", {"c.yaml:2: memory.tiers: at least one tier is needed"}},
      {"memory:\n  tiers: {}\n", {"c.yaml:2: memory.tiers: expected a list"}},
      {"memory:\n  tiers:\n    - {name: a, plugin: p}\n    - {name: a, plugin: p}\n",
       {"c.yaml:4: memory.tiers[1].name: another tier is named \"a\""}},
      {"memory:\n  tiers:\n    - {plugin: p, options: {a: [1]}}\n    -\nlog: {}\n",
       {"c.yaml:3: memory.tiers[0].name: is missing", "c.yaml:3: memory.tiers[0].options.a: expected a single value",
        "c.yaml:5: memory.tiers[1]: expected a map of keys, found nothing"}},
      {"memory:\n  tiers:\n    - name: a\n      plugin: p\n      capacity: 101%\n",
       {"c.yaml:5: memory.tiers[0].capacity: expected a size such as 2GiB, or a part of the machine's memory such as "
        "25%, "
        "found \"101%\""}},
      {"memory:\n  tiers:\n    - name: a\n      plugin: p\n      options: {capacity: 1}\n      capacity: 1GiB\n",
       {"c.yaml:6: memory.tiers[0].capacity: options has a capacity too"}},
      {"memory:\n  tables:\n    one: a\n    2: ''\n",
       {"c.yaml:3: memory.tables.one: expected a layer's number, found \"one\"",
        "c.yaml:4: memory.tables.2: expected the path of a packed table"}},
      {"memory:\n  tables:\n    2: a\n    02: b\n", {"c.yaml:4: memory.tables.02: layer 2 is given twice"}},
      {"memory:\n  tables: [a]\n", {"c.yaml:2: memory.tables: expected a map"}},
      {"memory:\n  budget: 0\n", {"c.yaml:2: memory.budget: expected a size such as 2GiB"}},
      {"auth:\n  keys:\n    - name: a\n      sha256: 1234\n      scopes: [generate, fly]\n",
       {"c.yaml:4: auth.keys[0].sha256: expected 64 hexadecimal digits",
        "c.yaml:5: auth.keys[0].scopes[1]: expected one of generate, read, edit, operate, found \"fly\""}},
      {"auth:\n  keys:\n    - name: a\n      sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
       "      scopes: []\n",
       {"c.yaml:5: auth.keys[0].scopes: a key without scopes can do nothing"}},
      {"a: &x [1]\nb: *x\n",
       {"c.yaml:1: anchors (&name) are not supported", "c.yaml:1: a: unknown key",
        "c.yaml:2: aliases (*name) are not supported", "c.yaml:2: b: unknown key"}},
      {"log: !!map {level: info}\n", {"c.yaml:1: tag "}},
      {"log: {level: info\n", {"c.yaml:"}},
      {"log:\n\tlevel: info\n", {"c.yaml:2: not valid YAML"}},
      {"log:\n  level: info\n---\nlog: {}\n", {"c.yaml:4: a second document"}},
      {"? [a]\n: 1\n", {"c.yaml:1: a key must be a plain word"}},
      {"log:\n  level: \"\xff\"\n", {"c.yaml:2: not valid UTF-8"}},
  };
  for (const Case& test_case : kCases) {
    const auto problems = Problems(test_case.yaml);
    ASSERT_EQ(problems.size(), test_case.starts.size()) << test_case.yaml << testing::PrintToString(problems);
    for (size_t i = 0; i < problems.size(); ++i)
      EXPECT_THAT(problems[i], testing::StartsWith(test_case.starts[i])) << test_case.yaml;
  }
}

TEST_F(SettingsTest, MissingAndHugeFiles) {
  const auto missing = LoadSettings(directory_ / "none.yaml", {});
  ASSERT_EQ(missing.problems.size(), 1u);
  EXPECT_THAT(missing.problems[0].Text(), HasSubstr("none.yaml"));
  EXPECT_EQ(Problems(std::string((256u << 10) + 1, '#')).size(), 1u);
  EXPECT_EQ(LoadSettings(directory_, {}).problems.size(), 1u);  // a directory
}

// None of these may crash, hang or pass.
TEST_F(SettingsTest, HostileFiles) {
  const size_t kSize = 256u << 10;
  std::string bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n";
  for (char c = 'b'; c <= 'z'; ++c) {
    const std::string previous = std::string("*") + static_cast<char>(c - 1);
    bomb += std::string(1, c) + ": &" + c + " [" + previous + "," + previous + "," + previous + "]\n";
  }
  std::string deep;
  for (int i = 0; i < 300; ++i) deep += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  std::string many_keys;
  for (int i = 0; i < 10'000; ++i) many_keys += "k" + std::to_string(i) + ": 1\n";
  for (const std::string& yaml :
       {bomb, deep, many_keys, std::string(kSize, '['), std::string(kSize, '{'),
        "log: " + std::string(kSize - 100, '['), "a: " + std::string(kSize - 100, '-'),
        std::string("- ") + std::string(kSize - 100, '&'), std::string(kSize, '\0'),
        std::string("%YAML 9.9\n---\na: 1\n"), std::string("\"") + std::string(kSize - 1, 'a'),
        std::string("a: |\n") + std::string(100'000, ' ')}) {
    EXPECT_FALSE(Problems(yaml).empty()) << yaml.substr(0, 40);
  }
}

TEST_F(SettingsTest, OverridesWinAndAreNamed) {
  const auto loaded = Load("server:\n  listen: 127.0.0.1:1\nmodel:\n  path: m\n",
                           {{"--listen", "server.listen", "127.0.0.1:2"},
                            {"--model", "model.path", "other"},
                            {"--weights", "backbone.options.weights", "native"},
                            {"--set serving.max_queued", "serving.max_queued", "5", false},
                            {"--set memory.tiers", "memory.tiers", "[{name: t, plugin: p}]", false}});
  for (const auto& problem : loaded.problems) ADD_FAILURE() << problem.Text();
  EXPECT_EQ(loaded.settings.server.port, 2);
  EXPECT_EQ(loaded.settings.model.path, "other");  // not beside the file
  EXPECT_EQ(loaded.settings.serving.max_queued, 5u);
  EXPECT_EQ(loaded.settings.memory.tiers, (std::vector<TierSettings>{{"t", "p", {}, {}}}));
  EXPECT_THAT(loaded.settings.backbone.options, ElementsAre(std::make_pair("weights", "native")));

  EXPECT_THAT(Problems("", {{"--listen", "server.listen", "nowhere"}}),
              ElementsAre(HasSubstr("--listen: server.listen: expected an address")));
  EXPECT_THAT(Problems("", {{"--set a..b", "a..b", "1", false}}), ElementsAre(HasSubstr("is not a key")));
  EXPECT_THAT(Problems("", {{"--set a.b", "a.b", "1", false}}), ElementsAre(HasSubstr("--set a.b: a: unknown key")));
  EXPECT_THAT(Problems("", {{"--set log.level", "log.level", "[", false}}), testing::Not(IsEmpty()));
  EXPECT_THAT(Problems("log:\n  level: loud\n", {{"--set log.level", "log.level", "debug", false}}), IsEmpty());
}

TEST(ValueParsers, Notations) {
  EXPECT_EQ(ParseSize("0"), 0u);
  EXPECT_EQ(ParseSize("4096"), 4096u);
  EXPECT_EQ(ParseSize("2GiB"), 2ull << 30);
  for (const char* bad : {"", "GiB", "1.5GiB", "1GB", "1 GiB", "-1", "+1", "0x10", "8388608TiB", "1e3"})
    EXPECT_FALSE(ParseSize(bad)) << bad;
  EXPECT_EQ(ParseMemorySize("2GiB"), (MemorySize{uint64_t{2} << 30, 0}));
  EXPECT_EQ(ParseMemorySize("2GiB")->Of(1000), uint64_t{2} << 30);
  EXPECT_EQ(ParseMemorySize("25%")->Of(1000), 250u);
  EXPECT_EQ(ParseMemorySize("100%")->Of(uint64_t{1} << 62), (uint64_t{1} << 62) / 100 * 100);
  for (const char* bad : {"", "0", "%", "0%", "101%", "1.5%", "-1%", "5 %", "4294967297%"})
    EXPECT_FALSE(ParseMemorySize(bad)) << bad;
  EXPECT_EQ(ParseDuration("500ms"), std::chrono::milliseconds(500));
  EXPECT_EQ(ParseDuration("2m"), std::chrono::minutes(2));
  for (const char* bad : {"", "s", "1", "1.5s", "-1s", "1 s", "1d"}) EXPECT_FALSE(ParseDuration(bad)) << bad;
  for (uint64_t bytes : {0ull, 1ull, 1024ull, 1536ull, 1ull << 40}) EXPECT_EQ(ParseSize(FormatSize(bytes)), bytes);
  EXPECT_EQ(ParseListenAddress("localhost:1")->address, "127.0.0.1");
  EXPECT_EQ(ParseListenAddress("[::1]:1")->address, "::1");
  for (const char* bad : {"", ":1", "127.0.0.1", "127.0.0.1:", "::1:1", "[::1]", "1.2.3:1", "127.0.0.1:x", "[]:1"})
    EXPECT_FALSE(ParseListenAddress(bad)) << bad;
  EXPECT_TRUE(IsLoopback("127.9.9.9"));
  EXPECT_TRUE(IsLoopback("::1"));
  EXPECT_FALSE(IsLoopback("0.0.0.0"));
  EXPECT_FALSE(IsLoopback("10.0.0.1"));
  EXPECT_EQ(FormatListenAddress("::1", 5), "[::1]:5");
}

}  // namespace
}  // namespace engram
