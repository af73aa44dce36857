// SPDX-License-Identifier: Apache-2.0
// engramd as a program: its command line, its errors, its signals, systemd's notifications.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "process.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

const std::string kEngramd = std::string(ENGRAM_TEST_BIN_DIR) + "/engramd";
const fs::path kModel = fs::path(ENGRAM_TEST_SOURCE_DIR) / "models/lexicon";
const fs::path kConfig = fs::path(ENGRAM_TEST_SOURCE_DIR) / "config/engramd.yaml";

std::string Slurp(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void Spill(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

class EngramdTest : public testing::Test {
 protected:
  Outcome Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), kEngramd);
    return RunProgram(std::move(arguments));
  }
  // Starts a daemon on a free port.
  std::unique_ptr<Process> Start(std::vector<std::string> arguments = {},
                                 const Process::Environment& environment = {}) {
    arguments.insert(arguments.begin(), {kEngramd, "--listen", "127.0.0.1:0", "--model", kModel.string()});
    return std::make_unique<Process>(std::move(arguments), environment);
  }
  // The port it says it listens on, once it is ready; 0 when it never is.
  static int ReadyPort(Process& daemon) {
    const std::string marker = "listening on http://127.0.0.1:";
    if (!daemon.WaitForError(marker) || !daemon.WaitForError("\n")) return 0;
    return std::atoi(daemon.err().c_str() + daemon.err().find(marker) + marker.size());
  }
  // A copy of the model in which one file can be spoiled; the others are links.
  fs::path SpoiledModel(const std::string& file) {
    const fs::path model = directory_ / "model";
    fs::create_directory(model);
    for (const auto& entry : fs::directory_iterator(kModel)) {
      const fs::path target = model / entry.path().filename();
      if (target.filename() == file)
        fs::copy_file(entry.path(), target);
      else
        fs::create_symlink(entry.path(), target);
    }
    fs::permissions(model / file, fs::perms::owner_read | fs::perms::owner_write);
    return model / file;
  }
  Outcome RunWithModel(const fs::path& model) { return Run({"--listen", "127.0.0.1:0", "--model", model.string()}); }

  const TempDir temp_dir_;
  const fs::path directory_ = temp_dir_.path();
};

TEST_F(EngramdTest, HelpAndVersion) {
  const Outcome help = Run({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* option : {"--config", "--model", "--listen", "--state-dir", "--weights", "--set", "--check-config",
                             "--version", "--help"})
    EXPECT_THAT(help.out, HasSubstr(option));
  const Outcome version = Run({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_THAT(version.out, testing::StartsWith("engramd 0."));
}

TEST_F(EngramdTest, WrongUsageExitsWith2) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> kCases = {
      {{"--bogus"}, "--bogus"},          {{"extra"}, "extra"},           {{"--model"}, "--model"},
      {{"--set", "nothing"}, "nothing"}, {{"--listen", ""}, "--listen"}, {{"-x"}, "-x"},
  };
  for (const auto& [arguments, named] : kCases) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.status, 2) << named;
    EXPECT_THAT(outcome.err, HasSubstr(named));
  }
}

TEST_F(EngramdTest, CheckConfigListsEveryFault) {
  const Outcome good = Run({"--check-config", kConfig.string()});
  EXPECT_EQ(good.status, 0) << good.err;
  EXPECT_EQ(good.out, "ok\n");
  const fs::path bad = directory_ / "bad.yaml";
  Spill(bad, "server:\n  listen: here\n  max_body: lots\nserving:\n  max_queued: -1\nnonsense: 1\n");
  const Outcome outcome = Run({"--check-config", bad.string()});
  EXPECT_EQ(outcome.status, 1);
  for (const char* line :
       {":2: server.listen: ", ":3: server.max_body: ", ":5: serving.max_queued: ", ":6: nonsense: "})
    EXPECT_THAT(outcome.err, HasSubstr(bad.string() + line));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 4);
  // The same faults keep it from starting.
  EXPECT_EQ(Run({"--config", bad.string()}).status, 1);
}

TEST_F(EngramdTest, OpenAddressNeedsKeys) {
  const Outcome outcome = Run({"--listen", "0.0.0.0:0"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("--listen"), HasSubstr("auth.keys")));
}

TEST_F(EngramdTest, BadModelsAreNamed) {
  const Outcome missing = RunWithModel(directory_ / "nowhere");
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, HasSubstr("nowhere"));
}

TEST_F(EngramdTest, TruncatedWeightsAreNamed) {
  const fs::path file = SpoiledModel("model.safetensors");
  fs::resize_file(file, fs::file_size(file) / 2);
  const Outcome outcome = RunWithModel(file.parent_path());
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("model.safetensors"));
}

TEST_F(EngramdTest, TokenizerThatDoesNotFitIsNamed) {
  const fs::path file = SpoiledModel("config.json");
  std::string config = Slurp(file);
  const std::string key = "\"compressed_vocab_size\": ";
  ASSERT_THAT(config, HasSubstr(key));
  const size_t at = config.find(key) + key.size();
  const size_t end = config.find_first_not_of("0123456789", at);
  const std::string right = config.substr(at, end - at);
  const std::string wrong = std::to_string(std::stoul(right) - 1);
  config.replace(at, right.size(), wrong);
  Spill(file, config);
  const Outcome outcome = RunWithModel(file.parent_path());
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr(wrong), HasSubstr(right)));
}

TEST_F(EngramdTest, BrokenTokenizerIsNamed) {
  const fs::path file = SpoiledModel("tokenizer.json");
  fs::resize_file(file, fs::file_size(file) - 100);
  const Outcome outcome = RunWithModel(file.parent_path());
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("tokenizer.json"));
}

TEST_F(EngramdTest, PluginsThatCannotBeUsed) {
  const Outcome missing = Run({"--listen", "127.0.0.1:0", "--set", "backbone.plugin=no_such_thing"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, AllOf(HasSubstr("no_such_thing"), HasSubstr("lib/engram/plugins")));

  const Outcome wrong = Run({"--listen", "127.0.0.1:0", "--set", "backbone.plugin=wrong_abi", "--set",
                             "plugins.directories=[" ENGRAM_TEST_WRONG_PLUGIN_DIR ", " ENGRAM_TEST_PLUGIN_DIR "]"});
  EXPECT_EQ(wrong.status, 1);
  EXPECT_THAT(wrong.err, AllOf(HasSubstr("wrong_abi"), HasSubstr("ABI")));

  const Outcome option = Run({"--listen", "127.0.0.1:0", "--set", "backbone.options.no_such_option=1"});
  EXPECT_EQ(option.status, 1);
  EXPECT_THAT(option.err, HasSubstr("no_such_option"));
}

TEST_F(EngramdTest, PortInUse) {
  auto first = Start();
  const int port = ReadyPort(*first);
  ASSERT_NE(port, 0) << first->err();
  const Outcome second = Run({"--listen", "127.0.0.1:" + std::to_string(port), "--model", kModel.string()});
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.err, HasSubstr("127.0.0.1:" + std::to_string(port)));
}

TEST_F(EngramdTest, OneDaemonPerStateDirectory) {
  const fs::path state = directory_ / "a/state";
  auto first = Start({"--state-dir", state.string()});
  ASSERT_NE(ReadyPort(*first), 0) << first->err();
  EXPECT_EQ(fs::status(state).permissions(), fs::perms::owner_all);
  const Outcome second = Run({"--listen", "127.0.0.1:0", "--state-dir", state.string()});
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.err, AllOf(HasSubstr(state.string()), HasSubstr("another engramd")));
  first->Signal(SIGTERM);
  EXPECT_EQ(first->Wait(), 0);
  auto third = Start({"--state-dir", state.string()});
  EXPECT_NE(ReadyPort(*third), 0) << third->err();

  Spill(directory_ / "file", "");
  const Outcome blocked = Run({"--listen", "127.0.0.1:0", "--state-dir", (directory_ / "file/x").string()});
  EXPECT_EQ(blocked.status, 1);
  EXPECT_THAT(blocked.err, HasSubstr((directory_ / "file").string()));
}

TEST_F(EngramdTest, SaysWhatItServesAndThatThereAreNoKeys) {
  auto daemon = Start({"--set", "model.name=someone"});
  const int port = ReadyPort(*daemon);
  ASSERT_NE(port, 0) << daemon->err();
  EXPECT_THAT(daemon->err(), AllOf(HasSubstr("there are no keys"), HasSubstr("model someone"),
                                   HasSubstr("backbone_cpu"), HasSubstr("tiers dram")));
  EXPECT_THAT(Exchange(port, "/health/ready"), HasSubstr(" 200 "));
  daemon->Signal(SIGHUP);
  EXPECT_TRUE(daemon->WaitForError("SIGHUP"));
  daemon->Signal(SIGINT);
  EXPECT_EQ(daemon->Wait(), 0);
}

// A stream that has begun goes on to its end after SIGTERM; then the daemon exits with 0.
TEST_F(EngramdTest, TermFinishesRunningStreams) {
  auto daemon = Start();
  const int port = ReadyPort(*daemon);
  ASSERT_NE(port, 0) << daemon->err();
  Connection connection(port);
  connection.Send(RequestBytes(
      "/v1/completions", R"({"prompt": "The", "max_tokens": 300, "ignore_eos": true, "stream": true, "seed": 1})"));
  ASSERT_TRUE(connection.ReadUntil("data: ")) << connection.received();
  daemon->Signal(SIGTERM);
  ASSERT_TRUE(connection.ReadUntil("")) << connection.received();
  EXPECT_THAT(connection.received(), AllOf(HasSubstr("\"finish_reason\":\"length\""), HasSubstr("data: [DONE]")));
  EXPECT_EQ(daemon->Wait(), 0) << daemon->err();
}

TEST_F(EngramdTest, DrainHasADeadline) {
  auto daemon = Start({"--set", "serving.drain_timeout=0ms"});
  const int port = ReadyPort(*daemon);
  ASSERT_NE(port, 0) << daemon->err();
  Connection connection(port);
  connection.Send(RequestBytes("/v1/completions",
                               R"({"prompt": "The", "max_tokens": 500, "n": 8, "ignore_eos": true, "stream": true})"));
  ASSERT_TRUE(connection.ReadUntil("data: ")) << connection.received();
  daemon->Signal(SIGTERM);
  EXPECT_EQ(daemon->Wait(), 0) << daemon->err();
}

TEST_F(EngramdTest, SecondTermEndsAtOnce) {
  auto daemon = Start();
  const int port = ReadyPort(*daemon);
  ASSERT_NE(port, 0) << daemon->err();
  // More work than fits between two signals.
  Connection connection(port);
  connection.Send(RequestBytes("/v1/completions",
                               R"({"prompt": "The", "max_tokens": 500, "n": 8, "ignore_eos": true, "stream": true})"));
  ASSERT_TRUE(connection.ReadUntil("data: ")) << connection.received();
  daemon->Signal(SIGTERM);
  ASSERT_TRUE(daemon->WaitForError("finishing running requests"));
  daemon->Signal(SIGTERM);
  EXPECT_EQ(daemon->Wait(), 128 + SIGTERM) << daemon->err();
}

TEST_F(EngramdTest, TellsSystemd) {
  const fs::path path = directory_ / "notify";
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.string().copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  auto daemon = Start({}, {{"NOTIFY_SOCKET", path.string()}, {"WATCHDOG_USEC", "200000"}});
  std::string told;
  const auto wait_for = [&](const std::string& text) {
    while (told.find(text) == std::string::npos) {
      pollfd fds{fd, POLLIN, 0};
      if (poll(&fds, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count())) <= 0) return false;
      char datagram[4096];
      const ssize_t got = recv(fd, datagram, sizeof(datagram), 0);
      if (got <= 0) return false;
      told += std::string(datagram, static_cast<size_t>(got)) + "\n";
    }
    return true;
  };
  EXPECT_TRUE(wait_for("READY=1")) << told;
  EXPECT_THAT(told, HasSubstr("STATUS=Serving lexicon"));
  told.clear();
  EXPECT_TRUE(wait_for("WATCHDOG=1")) << told;
  daemon->Signal(SIGTERM);
  EXPECT_TRUE(wait_for("STOPPING=1")) << told;
  EXPECT_EQ(daemon->Wait(), 0);
  close(fd);
}

}  // namespace
}  // namespace engram
