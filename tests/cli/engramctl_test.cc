// SPDX-License-Identifier: Apache-2.0
// engramctl as a program: offline tools against the reference vectors, and a conversation with a daemon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>

#include "served_daemon.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

const std::string kEngramctl = ServedDaemon::Engramctl();

Outcome Ctl(std::vector<std::string> arguments, std::string input = {}) {
  arguments.insert(arguments.begin(), kEngramctl);
  return RunProgram(std::move(arguments), {}, std::move(input));
}

json::value ReadJson(const fs::path& path) {
  std::ifstream stream(path);
  return json::parse(std::string(std::istreambuf_iterator<char>(stream), {}));
}

class EngramctlTest : public testing::Test {
 protected:
  void Write(const json::value& value) { std::ofstream(file_) << json::serialize(value); }

  const TempDir temp_dir_;
  const fs::path directory_ = temp_dir_.path();
  const fs::path file_ = directory_ / "geometry.json";
};

TEST_F(EngramctlTest, RowsMatchTheReferenceExactly) {
  const json::value vectors = ReadJson(fs::path(ENGRAM_TEST_SOURCE_DIR) / "tests/vectors/hash_full_size.json");
  size_t compared = 0;
  for (const auto& [name, reference] : vectors.as_object()) {
    Write(json::object{{"engram", reference.at("engram")},
                       {"compressed_vocab_size", reference.at("compressed_vocab_size")}});
    for (const json::value& sequence : reference.at("sequences").as_array()) {
      std::string ids;
      for (const json::value& id : sequence.at("compressed_ids").as_array())
        ids += (ids.empty() ? "" : ",") + std::to_string(id.as_int64());
      const Outcome outcome = Ctl({"rows", "--geometry", file_.string(), "--compressed-ids", ids, "--json"});
      ASSERT_EQ(outcome.status, 0) << outcome.err;
      EXPECT_EQ(json::parse(outcome.out).at("rows"), sequence.at("rows")) << std::string(name);
      ++compared;
    }
  }
  EXPECT_EQ(compared, 12u);
}

TEST_F(EngramctlTest, RowsTakesAnEngramObjectAloneAndAPad) {
  const json::value vectors = ReadJson(fs::path(ENGRAM_TEST_SOURCE_DIR) / "tests/vectors/hash_full_size.json");
  json::object engram = vectors.at("demo-v1").at("engram").as_object();
  engram["compressed_vocab_size"] = vectors.at("demo-v1").at("compressed_vocab_size");
  const auto rows = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"rows", "--geometry", file_.string(), "--compressed-ids", "5", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = Ctl(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.out;
  };
  Write(engram);
  const std::string pad_2 = rows({});
  const std::string pad_9 = rows({"--pad", "9"});
  EXPECT_EQ(rows({"--pad", "2"}), pad_2);
  EXPECT_NE(pad_9, pad_2);
  engram["pad_compressed_id"] = 9;
  Write(engram);
  EXPECT_EQ(rows({}), pad_9);
}

TEST_F(EngramctlTest, RowsRefusesWhatCannotBe) {
  const std::string file = file_.string();
  Write(json::object{{"engram", 5}});
  EXPECT_EQ(Ctl({"rows", "--geometry", file, "--compressed-ids", "1"}).status, 1);
  Write(json::object{});
  EXPECT_THAT(Ctl({"rows", "--geometry", file, "--compressed-ids", "1"}).err, HasSubstr(file));
  EXPECT_EQ(Ctl({"rows", "--geometry", file + "x", "--compressed-ids", "1"}).status, 1);
  EXPECT_EQ(Ctl({"rows"}).status, 2);
  json::value config = ReadJson(fs::path(ENGRAM_TEST_SOURCE_DIR) / "models/lexicon/config.json");
  Write(config);
  // The model's pad token id is no compressed id.
  EXPECT_THAT(Ctl({"rows", "--geometry", file, "--compressed-ids", "1"}).err, HasSubstr("--pad"));
  for (const char* ids : {"3610", "-1", "x", "1,,2", "1,", ""})
    EXPECT_EQ(Ctl({"rows", "--geometry", file, "--pad", "1", "--compressed-ids", ids}).status, 2) << ids;
  EXPECT_EQ(Ctl({"rows", "--geometry", file, "--pad", "1", "--compressed-ids", "1,2"}).status, 0);
}

TEST_F(EngramctlTest, KeyHash) {
  // SHA-256 of "abc", FIPS 180-2 appendix B.1.
  const std::string kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";
  EXPECT_EQ(Ctl({"key", "hash"}, "abc").out, kAbc);
  EXPECT_EQ(Ctl({"key", "hash"}, "abc\n").out, kAbc);
  EXPECT_NE(Ctl({"key", "hash"}, "").status, 0);
  EXPECT_EQ(Ctl({"key"}).status, 2);
}

TEST_F(EngramctlTest, Usage) {
  const Outcome help = Ctl({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* command :
       {"generate", "chat",       "tokenize", "detokenize", "models", "status",  "plugins", "swap", "load",
        "unload",   "operations", "rows",     "key",        "commit", "log",     "show",    "diff", "rollback",
        "locate",   "tables",     "overlay",  "compact",    "backup", "journal", "audit"}) {
    EXPECT_THAT(help.out, HasSubstr(std::string("\n  ") + command + " "));
    const Outcome own = Ctl({command, "--help"});
    EXPECT_EQ(own.status, 0);
    EXPECT_THAT(own.out, HasSubstr(std::string("Usage: engramctl ") + command));
  }
  EXPECT_EQ(Ctl({}).status, 2);
  EXPECT_EQ(Ctl({"dance"}).status, 2);
  EXPECT_EQ(Ctl({"generate", "--bogus"}).status, 2);
  EXPECT_EQ(Ctl({"generate", "--max-tokens", "many", "hi"}).status, 2);
  EXPECT_EQ(Ctl({"models", "--url", "ftp://x"}).status, 2);
  const Outcome nobody = Ctl({"models", "--url", "http://127.0.0.1:1"});
  EXPECT_EQ(nobody.status, 1);
  EXPECT_THAT(nobody.err, HasSubstr("127.0.0.1:1"));
}

const std::string kModel = ServedDaemon::Model();

TEST_F(EngramctlTest, TalksToADaemon) {
  ServedDaemon served;
  Process& daemon = served.process();
  const std::string url = served.url();
  ASSERT_FALSE(url.empty()) << daemon.err();
  const Outcome status = Ctl({"status", "--url", url});
  EXPECT_EQ(status.status, 0);
  EXPECT_THAT(status.out, AllOf(StartsWith("ready\n"), HasSubstr("lexicon (serving)")));
  EXPECT_EQ(json::parse(Ctl({"status", "--json", "--url", url}).out).at("state"), "ready");
  EXPECT_THAT(Ctl({"status", "--metrics", "--url", url}).out, HasSubstr("engramd_build_info"));
  EXPECT_EQ(Ctl({"models", "--names", "--url", url}).out, "lexicon\n");
  const Outcome tokens = Ctl({"tokenize", "--url", url, "The capital", "of Mongolia"});
  EXPECT_EQ(tokens.status, 0) << tokens.err;
  EXPECT_EQ(Ctl({"detokenize", "--url", url, tokens.out}).out, "The capital of Mongolia\n");

  const std::vector<std::string> generate = {"generate", "--url", url, "--max-tokens", "8", "--temperature", "0"};
  const auto with = [&](std::vector<std::string> more) {
    std::vector<std::string> all = generate;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const Outcome streamed = Ctl(with({"The capital of Mongolia is"}));
  EXPECT_EQ(streamed.status, 0) << streamed.err;
  EXPECT_EQ(streamed.out, " Ulaanbaatar.\n");
  EXPECT_EQ(Ctl(with({"--no-stream", "The capital of Mongolia is"})).out, streamed.out);
  EXPECT_EQ(Ctl(with({"-"}), "The capital of Mongolia is").out, streamed.out);
  EXPECT_NE(Ctl(with({"--no-engram", "The capital of Mongolia is"})).out, streamed.out);
  const Outcome raw = Ctl(with({"--no-stream", "--json", "The capital of Mongolia is"}));
  EXPECT_EQ(json::parse(raw.out).at("choices").at(0).at("text"), " Ulaanbaatar.");
  const Outcome unknown = Ctl(with({"--model", "nobody", "hi"}));
  EXPECT_EQ(unknown.status, 1);
  EXPECT_THAT(unknown.err, AllOf(HasSubstr("404"), HasSubstr("nobody")));
  const Outcome chat =
      Ctl({"chat", "--url", url, "--max-tokens", "8", "--temperature", "0", "What is the capital of Mongolia?"});
  EXPECT_EQ(chat.status, 0) << chat.err;
  EXPECT_THAT(chat.out, HasSubstr("Ulaanbaatar."));
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0);
}

TEST_F(EngramctlTest, ChangesWhatIsServed) {
  ServedDaemon served;
  Process& daemon = served.process();
  const std::string url = served.url();
  ASSERT_FALSE(url.empty()) << daemon.err();
  EXPECT_THAT(Ctl({"models", "--url", url}).out,
              AllOf(StartsWith("NAME"), HasSubstr("serving, default"), HasSubstr(kModel)));
  EXPECT_EQ(json::parse(Ctl({"models", "--json", "--url", url}).out).at("models").at(0).at("name"), "lexicon");
  EXPECT_THAT(Ctl({"plugins", "--url", url}).out,
              AllOf(HasSubstr("backbone_cpu of lexicon"), HasSubstr("dram of lexicon")));

  const Outcome swapped = Ctl({"swap", "--url", url, "model", kModel});
  EXPECT_EQ(swapped.status, 0) << swapped.err;
  EXPECT_EQ(swapped.out, "operation 2, model.swap of lexicon: succeeded (done)\n");
  const Outcome outside = Ctl({"swap", "--url", url, "model", "/etc"});
  EXPECT_EQ(outside.status, 1);
  EXPECT_THAT(outside.out, AllOf(HasSubstr("operation 3"), HasSubstr("failed"), HasSubstr("outside the allowed")));
  const Outcome plugin = Ctl({"swap", "--json", "--url", url, "plugin", "dram", "no_such_tier"});
  EXPECT_EQ(plugin.status, 1);
  EXPECT_THAT(json::value_to<std::string>(json::parse(plugin.out).at("error").at("message")),
              HasSubstr("no_such_tier"));
  EXPECT_EQ(Ctl({"swap", "--url", url, "plugin", "nothing", "x"}).status, 1);
  EXPECT_EQ(Ctl({"swap", "--url", url, "model"}).status, 2);

  const Outcome loading = Ctl({"load", "--no-wait", "--url", url, "--name", "two", kModel});
  EXPECT_EQ(loading.out, "operation 5\n") << loading.err;
  const Outcome loaded = Ctl({"operations", "--follow", "--url", url, "5"});
  EXPECT_EQ(loaded.status, 0) << loaded.out;
  EXPECT_EQ(Ctl({"models", "--names", "--url", url}).out, "lexicon\ntwo\n");
  EXPECT_EQ(Ctl({"unload", "--url", url, "two"}).status, 0);
  EXPECT_EQ(Ctl({"unload", "--url", url, "two"}).status, 1);

  const Outcome list = Ctl({"operations", "--url", url});
  EXPECT_THAT(list.out, AllOf(StartsWith("ID"), HasSubstr("model.swap"), HasSubstr("outside the allowed")));
  EXPECT_EQ(json::parse(Ctl({"operations", "--json", "--url", url}).out).at("operations").as_array().size(), 6u);
  EXPECT_EQ(Ctl({"operations", "--url", url, "3"}).status, 1);
  EXPECT_EQ(Ctl({"operations", "--url", url, "2"}).status, 0);
  EXPECT_EQ(Ctl({"operations", "--url", url, "77"}).status, 1);
  EXPECT_EQ(Ctl({"operations", "--url", url, "x"}).status, 2);
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0);
}

}  // namespace
}  // namespace engram
