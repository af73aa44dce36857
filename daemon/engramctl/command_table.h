// SPDX-License-Identifier: Apache-2.0
// All commands of engramctl, and what their help says in a form that programs can use. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engramctl/commands.h"

namespace engram {

// In the order of `engramctl --help`; each with the option --help.
std::vector<Command> AllCommands();

// The words that may follow the command's name, such as put and get of `overlay`, as the usage lines of its help have
// them; empty when it takes none.
std::vector<std::string> ActionsOf(const Command& command);

// What the command's help says of an option: its value's name, and the first line of its description. Both empty
// where the help has no line for it.
struct OptionHelp {
  std::string value;
  std::string description;
};
OptionHelp HelpOf(const Command& command, std::string_view option);

}  // namespace engram
