// SPDX-License-Identifier: Apache-2.0
// The command line of engramd. Pure but for getopt's own state: one thread, before others start.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/result.h"
#include "settings/settings.h"

namespace engram {

struct CommandLine {
  enum class Action { kServe, kCheckConfig, kHelp, kVersion };
  Action action = Action::kServe;
  std::filesystem::path config;  // --config or --check-config; empty: none
  std::vector<SettingsOverride> overrides;
};

// kInvalidArgument for anything unknown; the message names it.
Result<CommandLine> ParseCommandLine(int argc, char** argv);

// The whole of --help.
std::string HelpText();

}  // namespace engram
