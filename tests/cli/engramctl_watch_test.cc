// SPDX-License-Identifier: Apache-2.0
// engramctl as those who operate a daemon use it: gates, inspect, events, config, constrained text, on terminals and
// off them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <optional>
#include <regex>
#include <sstream>

#include "served_daemon.h"
#include "support/temp_dir.h"
#include "terminal_process.h"

namespace engram {
namespace {

namespace json = boost::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr char kText[] = "The capital of Mongolia is";

std::string Fixed(double value, int digits) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// Of what the programs show here: a character each but for escapes, which take no room.
size_t Columns(const std::string& line) {
  const std::string plain = std::regex_replace(line, std::regex("\x1b\\[[0-9;]*[A-Za-z]|\r"), "");
  return static_cast<size_t>(
      std::count_if(plain.begin(), plain.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
}

class EngramctlWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    daemon_.emplace(std::vector<std::string>{"--state-dir", (temp_dir_.path() / "state").string()});
    ASSERT_FALSE(daemon_->url().empty()) << daemon_->process().err();
  }
  Outcome Ctl(std::vector<std::string> arguments, std::string input = {}) {
    return daemon_->Ctl(std::move(arguments), std::move(input));
  }
  json::value Json(std::vector<std::string> arguments) { return daemon_->Json(std::move(arguments)); }
  std::string Write(const std::string& name, const std::string& text) {
    const auto path = temp_dir_.path() / name;
    std::ofstream(path) << text;
    return path.string();
  }
  // Sets the rows of the last token of kText to ones.
  Outcome Commit() {
    const json::value located = Json({"locate", kText});
    json::array edits;
    for (const char* layer : {"1", "2"})
      for (const json::value& row : located.at("rows").at(layer).as_array().back().as_array())
        edits.push_back(
            json::object{{"layer", std::stoi(layer)}, {"row", row}, {"values", json::array(32, json::value(1.0))}});
    return Ctl({"commit", Write("edits.json", json::serialize(edits))});
  }
  Process::Environment Environment() const { return {{"ENGRAM_URL", daemon_->url()}}; }

  const TempDir temp_dir_;
  std::optional<ServedDaemon> daemon_;
};

TEST_F(EngramctlWatchTest, GatesAreShownAndCountedAnew) {
  EXPECT_EQ(Ctl({"generate", "--max-tokens", "8", "--temperature", "0", kText}).status, 0);
  const Outcome shown = Ctl({"gates"});
  EXPECT_EQ(shown.status, 0) << shown.err;
  const json::value answer = Json({"gates"});
  EXPECT_THAT(shown.out,
              StartsWith("lexicon, all requests: " + json::serialize(answer.at("tokens")) + " tokens since "));
  EXPECT_THAT(shown.out, Not(HasSubstr("\x1b")));
  for (const json::value& layer : answer.at("layers").as_array()) {
    const json::value& stream = layer.at("streams").at(0);
    EXPECT_THAT(shown.out, testing::ContainsRegex("\n +" + json::serialize(layer.at("layer")) + " +0 +" +
                                                  json::serialize(stream.at("count")) + " +" +
                                                  Fixed(stream.at("mean").to_number<double>(), 3) + " +" +
                                                  Fixed(stream.at("p05").to_number<double>(), 3)));
    for (const json::value& order : layer.at("orders").as_array())
      EXPECT_THAT(shown.out, HasSubstr("ORDER " + json::serialize(order.at("order"))));
    EXPECT_THAT(shown.out,
                HasSubstr("\"" + json::value_to<std::string>(layer.at("top_ngrams").at(0).at("text")) + "\""));
  }
  EXPECT_THAT(shown.out, HasSubstr("█"));
  EXPECT_THAT(Ctl({"gates", "--window"}).out, HasSubstr("; here the last "));
  EXPECT_EQ(Json({"gates", "--top", "2"}).at("layers").at(0).at("top_ngrams").as_array().size(), 2u);

  EXPECT_EQ(Ctl({"gates", "--overlay", "draft"}).status, 1);
  EXPECT_EQ(Ctl({"gates", "track", "--overlay", "draft"}).out, "overlay draft is counted by itself from now on\n");
  EXPECT_THAT(Ctl({"gates", "--overlay", "draft"}).out, StartsWith("lexicon, overlay draft: 0 tokens since "));
  EXPECT_THAT(Ctl({"gates"}).out, HasSubstr("Counted by themselves, too: overlay draft\n"));
  EXPECT_EQ(Ctl({"gates", "untrack", "--overlay", "draft"}).status, 0);
  EXPECT_THAT(Ctl({"gates"}).out, Not(HasSubstr("draft")));
  EXPECT_EQ(Ctl({"gates", "reset"}).out, "counting begins anew\n");
  EXPECT_EQ(Json({"gates"}).at("tokens").as_int64(), 0);
  EXPECT_EQ(Ctl({"gates"}).status, 0);
  EXPECT_EQ(Ctl({"gates", "pause"}).out, "nothing is counted until engramctl gates resume\n");
  EXPECT_THAT(Ctl({"gates"}).out, HasSubstr("; PAUSED\n"));
  EXPECT_EQ(Ctl({"gates", "resume"}).out, "gates are counted again\n");
  EXPECT_THAT(Ctl({"gates"}).out, Not(HasSubstr("PAUSED")));

  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{"gates", "fly"},
                                             {"gates", "track"},
                                             {"gates", "reset", "--of", "x"},
                                             {"gates", "pause", "--overlay", "x"},
                                             {"gates", "--of", "x", "--overlay", "y"},
                                             {"gates", "--top", "many"}})
    EXPECT_EQ(Ctl(wrong).status, 2) << wrong.back();
}

TEST_F(EngramctlWatchTest, InspectShowsEachToken) {
  const json::value answer = Json({"inspect", "--off", kText});
  const Outcome shown = Ctl({"inspect", kText});
  EXPECT_EQ(shown.status, 0) << shown.err;
  const std::vector<std::string> lines = LinesOf(shown.out);
  const json::array& positions = answer.at("positions").as_array();
  ASSERT_EQ(lines.size(), positions.size() + 2);
  EXPECT_EQ(lines[0], "lexicon, memory version 0");
  EXPECT_THAT(lines[1], AllOf(HasSubstr("GATE L1"), HasSubstr("GATE L2"), HasSubstr("NEXT"), HasSubstr("BY LAYER"),
                              Not(HasSubstr("WITHOUT"))));
  for (size_t i = 0; i < positions.size(); ++i) {
    EXPECT_THAT(lines[i + 2], HasSubstr("\"" + json::value_to<std::string>(positions[i].at("text")) + "\""));
    EXPECT_THAT(lines[i + 2], HasSubstr(Fixed(positions[i].at("gates").at("1").at(0).to_number<double>(), 2)));
    EXPECT_THAT(lines[i + 2], HasSubstr("dram 16"));
  }
  const json::value& on = positions.back().at("lens").as_array().back().at("top").at(0).at("text");
  EXPECT_THAT(lines.back(), HasSubstr("\"" + json::value_to<std::string>(on) + "\""));
  const json::value& off = positions.back().at("off").at("lens").as_array().back().at("top").at(0).at("text");
  const Outcome compared = Ctl({"inspect", "--off", kText});
  EXPECT_THAT(LinesOf(compared.out)[1], HasSubstr("WITHOUT"));
  EXPECT_THAT(LinesOf(compared.out).back(), HasSubstr("\"" + json::value_to<std::string>(off) + "\""));

  const Outcome one = Ctl({"inspect", "--off", "--at", "4", kText});
  EXPECT_THAT(one.out, AllOf(StartsWith("lexicon, memory version 0, position 4: \""), HasSubstr("Without memory:\n"),
                             HasSubstr(json::serialize(positions[4].at("rows").at("1").at(0).at("row")))));
  EXPECT_EQ(Ctl({"inspect", "--at", "99", kText}).status, 1);
  EXPECT_EQ(Ctl({"inspect", "--top", "99", kText}).status, 2);
  EXPECT_EQ(Ctl({"inspect", "-"}, kText).out, shown.out);

  EXPECT_EQ(Commit().status, 0);
  EXPECT_THAT(LinesOf(Ctl({"inspect", kText}).out).back(), HasSubstr("v1 16"));
  EXPECT_EQ(Ctl({"inspect", "--as-of", "0", kText}).out, shown.out);
}

TEST_F(EngramctlWatchTest, ConfigIsAConfigurationFile) {
  const Outcome shown = Ctl({"config"});
  EXPECT_EQ(shown.status, 0) << shown.err;
  const std::string file = Write("engramd.yaml", shown.out);
  const Outcome checked = RunProgram({std::string(ENGRAM_TEST_BIN_DIR) + "/engramd", "--check-config", file});
  EXPECT_EQ(checked.status, 0) << checked.err << shown.out;
  const json::value settings = Json({"config"});
  for (const auto& [part, inner] : settings.as_object())
    EXPECT_THAT("\n" + shown.out, HasSubstr("\n" + std::string(part) + ":"));
  EXPECT_EQ(Ctl({"config", "server.max_body"}).out, "8MiB\n");
  EXPECT_THAT(Ctl({"config", "server.websocket"}).out, StartsWith("max_generations: 32\n"));
  EXPECT_EQ(Json({"config", "server"}), settings.at("server"));
  const Outcome unknown = Ctl({"config", "server.nothing"});
  EXPECT_EQ(unknown.status, 1);
  EXPECT_THAT(unknown.err, HasSubstr("server.nothing"));
  EXPECT_EQ(Ctl({"config", "a", "b"}).status, 2);
}

TEST_F(EngramctlWatchTest, SecretsAreMaskedAndKeysAreNeeded) {
  const std::string digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";  // of "abc"
  const ServedDaemon guarded(
      {"--config", Write("keys.yaml", "auth:\n  keys:\n    - {name: boss, sha256: " + digest + ", scopes: [read]}\n")});
  ASSERT_FALSE(guarded.url().empty());
  const Outcome shown = guarded.Ctl({"config", "auth", "--key", "abc"});
  EXPECT_THAT(shown.out, AllOf(StartsWith("keys:\n  - name: boss\n    sha256: \"***\"\n    scopes: [read]\n"),
                               Not(HasSubstr(digest))));
  const Outcome refused = guarded.Ctl({"events", "--count", "1"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("HTTP 401"), HasSubstr("API key")));
  EXPECT_EQ(guarded.Ctl({"events", "--count", "1", "--key", "abc"}).status, 0);
  EXPECT_THAT(guarded.Ctl({"key", "self", "--key", "abc"}).out, AllOf(HasSubstr("boss"), HasSubstr("read\n")));
}

TEST_F(EngramctlWatchTest, EventsAreFollowed) {
  const std::vector<std::string> messages = LinesOf(Ctl({"events", "--json", "--count", "3"}).out);
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(json::parse(messages[0]).at("type"), "snapshot");
  EXPECT_EQ(json::parse(messages[2]).at("type"), "delta");
  EXPECT_EQ(Ctl({"events", "x"}).status, 2);
  EXPECT_EQ(Ctl({"events", "--count", "0"}).status, 2);

  TerminalProcess events({ServedDaemon::Engramctl(), "events"}, 100, Environment());
  EXPECT_TRUE(events.ReadUntil("ready")) << events.shown();
  EXPECT_EQ(Commit().status, 0);
  EXPECT_TRUE(events.ReadUntil("commit of lexicon: version 1, 16 rows")) << events.shown();
  EXPECT_EQ(Ctl({"compact"}).status, 0);
  EXPECT_TRUE(events.ReadUntil("succeeded")) << events.shown();
  events.Type("\x03");
  EXPECT_EQ(events.Wait(), 0) << events.shown();
  EXPECT_TRUE(daemon_->process().WaitForError("websocket closed 1000"));
  // What happened before is said, too; off a terminal numbers are lines of their own.
  const Outcome later = Ctl({"events", "--count", "1"});
  EXPECT_THAT(later.out, AllOf(StartsWith("TIME"), HasSubstr("commit of lexicon"), HasSubstr("ready")));
}

TEST_F(EngramctlWatchTest, EventsEndWithTheDaemon) {
  TerminalProcess events({ServedDaemon::Engramctl(), "events"}, 80, Environment());
  EXPECT_TRUE(events.ReadUntil("ready")) << events.shown();
  daemon_->process().Signal(SIGTERM);
  EXPECT_EQ(events.Wait(), 1);
  EXPECT_THAT(events.shown(), HasSubstr("shutting down"));
  EXPECT_EQ(daemon_->process().Wait(), 0);
}

TEST_F(EngramctlWatchTest, FitsTheTerminalAndItsColors) {
  EXPECT_EQ(Ctl({"generate", "--max-tokens", "8", "--temperature", "0", kText}).status, 0);
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"gates"}, {"inspect", "--off", kText}, {"inspect", "--at", "4", kText}}) {
    std::vector<std::string> arguments = {ServedDaemon::Engramctl()};
    arguments.insert(arguments.end(), command.begin(), command.end());
    for (const bool colors : {true, false}) {
      auto environment = Environment();
      if (!colors) environment.emplace_back("NO_COLOR", "1");
      TerminalProcess shown(arguments, 80, environment);
      EXPECT_EQ(shown.Wait(), 0) << shown.shown();
      EXPECT_EQ(shown.shown().find('\x1b') != std::string::npos, colors) << shown.shown();
      for (const std::string& line : LinesOf(shown.shown())) EXPECT_LE(Columns(line), 80u) << line;
    }
  }
}

TEST_F(EngramctlWatchTest, TextFollowsAGrammarOrASchema) {
  const auto generate = [&](std::vector<std::string> options) {
    options.insert(options.begin(), {"generate", "--max-tokens", "40"});
    options.push_back("Is it?");
    return Ctl(std::move(options));
  };
  const std::string grammar = Write("answer.gbnf", "root ::= \" yes\" | \" no\"\n");
  EXPECT_THAT(generate({"--grammar", grammar}).out, testing::AnyOf(" yes\n", " no\n"));
  const std::string schema = Write("answer.json", R"({"enum": ["up", "down"]})");
  EXPECT_THAT(generate({"--schema", schema}).out, testing::AnyOf("\"up\"\n", "\"down\"\n"));
  EXPECT_THAT(generate({"--json-object", "--no-stream"}).out, StartsWith("{"));
  EXPECT_EQ(generate({"--json-object", "--grammar", grammar}).status, 2);
  EXPECT_EQ(generate({"--schema", grammar}).status, 2);
  EXPECT_EQ(generate({"--schema", "-"}).status, 2);
  EXPECT_EQ(generate({"--grammar", grammar + "x"}).status, 1);
  const Outcome wrong = generate({"--grammar", Write("wrong.gbnf", "root ::= (")});
  EXPECT_EQ(wrong.status, 1);
  EXPECT_THAT(wrong.err, HasSubstr("HTTP 400"));
}

}  // namespace
}  // namespace engram
