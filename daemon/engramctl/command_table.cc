// SPDX-License-Identifier: Apache-2.0
#include "engramctl/command_table.h"

#include <algorithm>

namespace engram {
namespace {

bool IsAction(std::string_view word) {
  return !word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyz|-") == std::string_view::npos &&
         !word.starts_with('-') && !word.ends_with('-');
}

// Takes the first line off.
std::string_view NextLine(std::string_view& text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line;
}

// Takes the first word off.
std::string_view NextWord(std::string_view& text) {
  text.remove_prefix(std::min(text.size(), text.find_first_not_of(' ')));
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(word.size());
  return word;
}

}  // namespace

std::vector<Command> AllCommands() {
  std::vector<Command> commands = {
      GenerateCommand(), ChatCommand(),    TokenizeCommand(),   DetokenizeCommand(), StatusCommand(), EventsCommand(),
      ModelsCommand(),   PluginsCommand(), SwapCommand(),       LoadCommand(),       UnloadCommand(), LocateCommand(),
      InspectCommand(),  GatesCommand(),   TablesCommand(),     RowsCommand(),       CommitCommand(), LogCommand(),
      ShowCommand(),     DiffCommand(),    RollbackCommand(),   OverlayCommand(),    IndexCommand(),  CompactCommand(),
      BackupCommand(),   JournalCommand(), OperationsCommand(), TiersCommand(),      TableCommand(),  KeyCommand(),
      AuditCommand(),    ConfigCommand(),  CompletionCommand()};
  for (Command& command : commands) command.options.push_back({"help"});
  return commands;
}

std::vector<std::string> ActionsOf(const Command& command) {
  std::vector<std::string> actions;
  std::string_view rest = command.help;
  const std::string start = std::string("engramctl ") + command.name + " ";
  for (std::string_view line = NextLine(rest); !line.empty(); line = NextLine(rest)) {
    const size_t at = line.find(start);
    if (at == std::string_view::npos) continue;
    line.remove_prefix(at + start.size());
    std::string_view word = NextWord(line);
    if (word == "[OPTION]...") word = NextWord(line);
    if (!IsAction(word)) continue;
    while (!word.empty()) {
      const std::string action(word.substr(0, word.find('|')));
      word.remove_prefix(std::min(word.size(), action.size() + 1));
      if (std::find(actions.begin(), actions.end(), action) == actions.end()) actions.push_back(action);
    }
  }
  return actions;
}

OptionHelp HelpOf(const Command& command, std::string_view option) {
  std::string_view rest = command.help;
  while (!rest.empty()) {
    std::string_view line = NextLine(rest);
    if (!line.starts_with("  ") || NextWord(line) != "--" + std::string(option)) continue;
    // The value's name follows after one space, the description after at least two.
    const size_t description = line.find("  ");
    std::string_view value = line.substr(0, std::min(description, line.find(',')));  // some share a line
    value.remove_prefix(std::min(value.size(), value.find_first_not_of(' ')));
    OptionHelp help{std::string(value), {}};
    if (description != std::string_view::npos) {
      line.remove_prefix(description);
      line.remove_prefix(std::min(line.size(), line.find_first_not_of(' ')));
      help.description = std::string(line);
    }
    return help;
  }
  return {};
}

}  // namespace engram
