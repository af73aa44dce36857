// SPDX-License-Identifier: Apache-2.0
// Manual pages and shell completions: everything is in them, and those who read them understand them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "core/file.h"
#include "process.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::HasSubstr;
using testing::IsSupersetOf;

const std::string kEngramctl = std::string(ENGRAM_TEST_BIN_DIR) + "/engramctl";
const fs::path kManuals = ENGRAM_TEST_MANUALS;

std::string Text(const fs::path& path) {
  const auto text = ReadFile(path, 4u << 20);
  EXPECT_TRUE(text) << text.error().message;
  return text ? *text : "";
}

// A page's text without roff's escapes of single characters.
std::string Page(const std::string& name) {
  const std::string text = Text(kManuals / "man" / name);
  return std::regex_replace(text, std::regex(R"(\\(-|&))"), "$1");
}

std::vector<std::string> Matches(const std::string& text, const std::string& pattern) {
  std::vector<std::string> found;
  const std::regex regex(pattern);
  for (std::sregex_iterator match(text.begin(), text.end(), regex), end; match != end; ++match)
    found.push_back((*match)[1]);
  return found;
}

bool IsInstalled(const std::string& program) {
  return RunProgram({"/bin/sh", "-c", "command -v " + program}).status == 0;
}

// Names and help of every command.
std::vector<std::pair<std::string, std::string>> Commands() {
  const std::string list = RunProgram({kEngramctl, "--help"}).out;
  std::vector<std::pair<std::string, std::string>> commands;
  for (const std::string& name : Matches(list, R"(\n  ([a-z]+) )"))
    commands.emplace_back(name, RunProgram({kEngramctl, name, "--help"}).out);
  EXPECT_GE(commands.size(), 20u);
  return commands;
}

std::set<std::string> OptionsIn(const std::string& text) {
  const auto options = Matches(text, R"((--[a-z][a-z0-9-]+))");
  return {options.begin(), options.end()};
}

TEST(ManualsTest, CommandsAndOptionsAreInThePage) {
  const std::string page = Page("engramctl.1");
  for (const auto& [name, help] : Commands()) {
    const size_t start = page.find("\n.SS " + name + "\n");
    ASSERT_NE(start, std::string::npos) << name;
    const std::string part = page.substr(start, page.find("\n.S", start + 1) - start);
    EXPECT_THAT(OptionsIn(part), IsSupersetOf(OptionsIn(help))) << name;
  }
  const std::string daemon = Page("engramd.8");
  const std::string help = RunProgram({std::string(ENGRAM_TEST_BIN_DIR) + "/engramd", "--help"}).out;
  ASSERT_GE(OptionsIn(help).size(), 8u);
  EXPECT_THAT(OptionsIn(daemon), IsSupersetOf(OptionsIn(help)));
}

TEST(ManualsTest, SettingsAreInThePage) {
  const std::string page = Page("engramd.yaml.5");
  const std::string settings = Text(fs::path(ENGRAM_TEST_SOURCE_DIR) / "config/engramd.yaml");
  const auto keys = Matches(settings, R"((?:^|\n)((?: *(?:- )?)[a-z_0-9]+: ))");
  ASSERT_GE(keys.size(), 50u);
  for (const std::string& key : keys) EXPECT_THAT(page, HasSubstr("\n" + key));
  for (const std::string& part : Matches(settings, R"(\n([a-z_]+):)"))
    EXPECT_THAT(page, HasSubstr("\n.SS " + part + "\n"));
}

TEST(ManualsTest, ManHasNoWarnings) {
  if (!IsInstalled("man") || !IsInstalled("groff")) GTEST_SKIP() << "man and groff are not installed";
  for (const char* page : {"engramctl.1", "engramd.8", "engramd.yaml.5"}) {
    const Outcome outcome = RunProgram({"/bin/sh", "-c", "LC_ALL=C.UTF-8 man --warnings -l \"$1\" 2>&1 >/dev/null",
                                        "sh", (kManuals / "man" / page).string()});
    EXPECT_EQ(outcome.status, 0) << page;
    EXPECT_EQ(outcome.out, "") << page;
  }
}

// What bash offers after `words`, the last of which is being typed.
std::vector<std::string> BashOffers(const std::vector<std::string>& words) {
  std::vector<std::string> arguments = {
      "/bin/bash", "--norc", "-c",
      "source <(\"$0\" completion bash) && COMP_WORDS=(engramctl \"$@\") && COMP_CWORD=$# && _engramctl && "
      "printf '%s\\n' \"${COMPREPLY[@]}\"",
      kEngramctl};
  arguments.insert(arguments.end(), words.begin(), words.end());
  const Outcome outcome = RunProgram(arguments);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  return Matches(outcome.out, R"(([^\n]+)\n)");
}

TEST(CompletionTest, BashCompletesCommandsOptionsActionsAndFiles) {
  const auto commands = Commands();
  const auto offered = BashOffers({""});
  for (const auto& [name, help] : commands) {
    EXPECT_THAT(offered, Contains(name));
    const auto offers = BashOffers({name, "--"});
    // What the options' own lines of the help name; examples may name others.
    for (const std::string& option : Matches(help, R"(\n  (--[a-z][a-z0-9-]+))"))
      EXPECT_THAT(offers, Contains(option)) << name;
    EXPECT_THAT(offers, Contains("--help")) << name;
  }
  EXPECT_THAT(BashOffers({"sw"}), testing::ElementsAre("swap"));
  EXPECT_THAT(BashOffers({"swap", ""}), testing::ElementsAre("model", "plugin", "table"));
  EXPECT_THAT(BashOffers({"overlay", ""}), testing::ElementsAre("put", "get", "delete", "list"));
  EXPECT_THAT(BashOffers({"table", "in"}), testing::ElementsAre("inspect"));
  EXPECT_THAT(BashOffers({"completion", ""}), testing::ElementsAre("bash", "zsh", "fish"));
  const TempDir dir;
  dir.Write("rows.ngt", "");
  EXPECT_THAT(BashOffers({"table", "pack", "--out", (dir.path() / "ro").string()}),
              testing::ElementsAre((dir.path() / "rows.ngt").string()));
}

TEST(CompletionTest, InstalledScriptsAreWhatTheProgramPrints) {
  for (const auto& [shell, file] : {std::pair("bash", "engramctl"), {"zsh", "_engramctl"}, {"fish", "engramctl.fish"}})
    EXPECT_EQ(Text(kManuals / "completion" / shell / file), RunProgram({kEngramctl, "completion", shell}).out);
  EXPECT_EQ(RunProgram({kEngramctl, "completion", "tcsh"}).status, 2);
  EXPECT_EQ(RunProgram({kEngramctl, "completion"}).status, 2);
}

TEST(CompletionTest, ZshAndFishReadTheirs) {
  bool any = false;
  for (const auto& [shell, file] : {std::pair("zsh", "_engramctl"), {"fish", "engramctl.fish"}}) {
    const std::string script = Text(kManuals / "completion" / shell / file);
    for (const auto& [name, help] : Commands()) EXPECT_THAT(script, HasSubstr(name));
    if (!IsInstalled(shell)) continue;
    any = true;
    const Outcome outcome = RunProgram(
        {"/bin/sh", "-c", std::string(shell) + " -n \"$1\"", "sh", (kManuals / "completion" / shell / file).string()});
    EXPECT_EQ(outcome.status, 0) << shell << ": " << outcome.err;
  }
  if (!any) GTEST_SKIP() << "zsh and fish are not installed";
}

}  // namespace
}  // namespace engram
