// SPDX-License-Identifier: Apache-2.0
// engramctl about live memory: the whole way of a knowledge editor against a daemon with the bundled model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <optional>

#include "served_daemon.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr char kText[] = "The capital of Mongolia is";

class EngramctlMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    daemon_.emplace(std::vector<std::string>{"--state-dir", state_.string()});
    ASSERT_FALSE(daemon_->url().empty()) << daemon_->process().err();
  }
  Outcome Ctl(std::vector<std::string> arguments, std::string input = {}) {
    return daemon_->Ctl(std::move(arguments), std::move(input));
  }
  json::value Json(std::vector<std::string> arguments) { return daemon_->Json(std::move(arguments)); }
  std::string Write(const std::string& name, const json::value& value) {
    const fs::path path = temp_dir_.path() / name;
    std::ofstream(path) << json::serialize(value);
    return path.string();
  }

  const TempDir temp_dir_;
  const fs::path state_ = temp_dir_.path() / "state";
  std::optional<ServedDaemon> daemon_;
};

TEST_F(EngramctlMemoryTest, FindsChangesReviewsAndReverts) {
  EXPECT_THAT(Ctl({"tables"}).out, AllOf(HasSubstr("LAYER"), HasSubstr("fp8"), HasSubstr("memory version 0")));
  EXPECT_EQ(Ctl({"log"}).out, "no commits: every row is as in the base tables\n");
  EXPECT_THAT(Ctl({"locate", kText}).out, AllOf(HasSubstr("layer 1"), HasSubstr("O2/H0"), HasSubstr("\"ongolia\"")));

  const json::value located = Json({"locate", kText});
  json::array edits;
  const json::array values(32, 1.0);
  for (const char* layer : {"1", "2"}) {
    // Where the country's name ends: there its memory knows the capital.
    const json::array& positions = located.at("rows").at(layer).as_array();
    for (const json::value& row : positions.at(positions.size() - 2).as_array())
      edits.push_back(json::object{{"layer", std::stoi(layer)}, {"row", row}, {"values", values}});
  }
  const std::string file = Write("edits.json", edits);
  const std::string first_row = json::serialize(edits[0].at("row"));

  const Outcome plan = Ctl({"commit", "--plan", file});
  EXPECT_EQ(plan.status, 0) << plan.err;
  EXPECT_THAT(plan.out, AllOf(HasSubstr(first_row), HasSubstr("16 rows would change; nothing was written")));
  const Outcome committed = Ctl({"commit", "--note", "all ones", "--author", "ann", file});
  EXPECT_THAT(committed.out, StartsWith("version 1: 16 rows, digest ")) << committed.err;
  const Outcome stale = Ctl({"commit", "--if-version", "0", file});
  EXPECT_EQ(stale.status, 1);
  EXPECT_THAT(stale.err, HasSubstr("HTTP 409"));
  EXPECT_THAT(Ctl({"locate", kText}).out, HasSubstr(first_row + "*"));
  EXPECT_THAT(Ctl({"log"}).out, AllOf(HasSubstr("all ones"), HasSubstr("ann")));
  EXPECT_THAT(Ctl({"show", "1"}).out, AllOf(HasSubstr("all ones"), HasSubstr("16 rows touched from version 0 to 1")));
  EXPECT_THAT(Ctl({"rows", "--layer", "1", "--ids", first_row}).out, AllOf(HasSubstr("yes"), HasSubstr("5.657")));
  EXPECT_THAT(Ctl({"rows", "--layer", "1", "--ids", first_row, "--as-of", "0"}).out, HasSubstr("no"));

  std::string list = "2";
  for (size_t i = 1; i < values.size(); ++i) list += ",2";
  EXPECT_THAT(Ctl({"commit", "--layer", "1", "--row", first_row, "--values", list}).out,
              StartsWith("version 2: 1 rows"));
  EXPECT_THAT(
      Ctl({"commit", "--layer", "1", "--ngram", " Mongolia", "--order", "2", "--heads", "0,1", "--values", list}).out,
      StartsWith("version 3: 2 rows"));
  EXPECT_EQ(Json({"diff", "0", "3"}).at("total").as_int64(), 16);
  EXPECT_THAT(Ctl({"rollback", "0", "--note", "sorry"}).out, StartsWith("version 4: "));
  EXPECT_THAT(Ctl({"log", "--limit", "1"}).out, AllOf(HasSubstr("rollback to 0"), Not(HasSubstr("all ones"))));
  const auto generate = [&](std::vector<std::string> options) {
    std::vector<std::string> words{"generate", "--max-tokens", "8", "--temperature", "0"};
    words.insert(words.end(), options.begin(), options.end());
    words.push_back(kText);
    return Ctl(std::move(words));
  };
  EXPECT_THAT(generate({}).out, HasSubstr("Ulaanbaatar"));
  // With ones for what it knows of it, it says something else.
  const std::string changed = generate({"--as-of", "1"}).out;
  EXPECT_NE(changed, generate({}).out);
  EXPECT_THAT(generate({"--as-of", "99"}).err, HasSubstr("HTTP 404"));

  const std::string entries = Write("entries.json", edits);
  EXPECT_THAT(Ctl({"overlay", "put", "draft", entries, "--ttl", "3600"}).out,
              AllOf(HasSubstr("draft"), HasSubstr("16")));
  EXPECT_THAT(Ctl({"overlay", "list"}).out, HasSubstr("draft"));
  EXPECT_EQ(Json({"overlay", "get", "draft"}).at("entries").as_array().size(), 16u);
  EXPECT_THAT(Ctl({"locate", "--overlay", "draft", kText}).out, HasSubstr(first_row + "+"));
  EXPECT_EQ(generate({"--overlay", "draft"}).out, changed);
  EXPECT_THAT(Ctl({"overlay", "delete", "draft"}).out, HasSubstr("erased from the journal: yes"));
  EXPECT_EQ(Ctl({"overlay", "get", "draft"}).status, 1);
  EXPECT_EQ(Ctl({"overlay", "list"}).out, "no overlays\n");

  EXPECT_THAT(Ctl({"index", "/etc/passwd"}).err, HasSubstr("outside the allowed directories"));
  EXPECT_THAT(Ctl({"index", std::string(ENGRAM_TEST_SOURCE_DIR) + "/models/lexicon/config.json"}).out,
              HasSubstr("n-grams of"));
  EXPECT_THAT(Ctl({"compact"}).out, HasSubstr("succeeded")) << daemon_->process().err();
  EXPECT_THAT(Ctl({"backup", "one"}).out, HasSubstr("succeeded"));
  EXPECT_THAT(Ctl({"journal", "status"}).out, HasSubstr("version         4"));
  EXPECT_THAT(Ctl({"operations", "2", "--cancel"}).err, HasSubstr("is over"));
  EXPECT_THAT(Ctl({"operations", "2", "--json"}).out, HasSubstr("\"progress\":1,"));
  EXPECT_EQ(Ctl({"journal", "verify"}).out, "4 commits, the chain holds\n");
  daemon_->process().Signal(SIGTERM);
  EXPECT_EQ(daemon_->process().Wait(), 0);

  std::string journal;
  for (const auto& entry : fs::directory_iterator(state_ / "backups" / "one"))
    if (entry.path().filename().string().starts_with("journal")) journal = entry.path().string();
  const Outcome offline = Ctl({"journal", "verify", journal});
  EXPECT_EQ(offline.status, 0) << offline.err;
  EXPECT_EQ(offline.out, "lexicon: 4 commits, the chain holds\n");
}

TEST_F(EngramctlMemoryTest, WrongUse) {
  EXPECT_EQ(Ctl({"commit"}).status, 2);
  EXPECT_EQ(Ctl({"commit", "--layer", "1"}).status, 2);
  EXPECT_EQ(Ctl({"commit", "--layer", "1", "--row", "1", "--ngram", "a b", "--values", "1"}).status, 2);
  EXPECT_EQ(Ctl({"commit", "--layer", "1", "--row", "1", "--values", "1,x"}).status, 2);
  EXPECT_EQ(Ctl({"commit", "--row", "1"}).status, 2);
  EXPECT_EQ(Ctl({"commit", "/no/such/file"}).status, 1);
  EXPECT_EQ(Ctl({"commit", "-"}, "5").status, 2);
  const Outcome refused = Ctl({"commit", "--layer", "1", "--row", "1", "--values", "1"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("HTTP 400"), HasSubstr("edits[0].values")));
  EXPECT_EQ(Ctl({"show"}).status, 2);
  EXPECT_EQ(Ctl({"show", "x"}).status, 2);
  EXPECT_EQ(Ctl({"show", "7"}).status, 1);
  EXPECT_EQ(Ctl({"diff", "1"}).status, 2);
  EXPECT_EQ(Ctl({"rollback"}).status, 2);
  EXPECT_EQ(Ctl({"rows", "--layer", "1"}).status, 2);
  EXPECT_EQ(Ctl({"overlay"}).status, 2);
  EXPECT_EQ(Ctl({"overlay", "put", "x"}).status, 2);
  EXPECT_EQ(Ctl({"overlay", "delete"}).status, 2);
  EXPECT_EQ(Ctl({"backup"}).status, 2);
  EXPECT_EQ(Ctl({"journal"}).status, 2);
  EXPECT_EQ(Ctl({"journal", "verify", "/no/such/journal"}).status, 1);
  EXPECT_EQ(Ctl({"swap", "table", "one", "x"}).status, 2);
  EXPECT_EQ(Ctl({"swap", "table", "1", "no-such-table"}).status, 1);
}

}  // namespace
}  // namespace engram
