// SPDX-License-Identifier: Apache-2.0
// completion: scripts that complete engramctl's commands and options in a shell, made of the command table.
#include <cstdio>
#include <string>

#include "engramctl/command_table.h"

namespace engram {
namespace {

std::string Join(const std::vector<std::string>& words) {
  std::string joined;
  for (const std::string& word : words) joined += (joined.empty() ? "" : " ") + word;
  return joined;
}

// For within single quotes, which become `quote`; a backslash goes before `special` characters.
std::string Escape(std::string_view text, std::string_view special, std::string_view quote) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += quote;
      continue;
    }
    if (special.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string Bash() {
  std::string names;
  std::string cases;
  for (const Command& command : AllCommands()) {
    names += std::string(command.name) + " ";
    std::string flags, valued;
    for (const OptionSpec& option : command.options) (option.takes_value ? valued : flags) += " --" + option.name;
    cases += std::string("    ") + command.name + ")\n      flags='" + flags + "' valued='" + valued + " '\n";
    cases += "      actions='" + Join(ActionsOf(command)) + "' ;;\n";
  }
  return R"(# Completes engramctl in bash; made by `engramctl completion bash`.
_engramctl() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} flags='' valued='' actions=''
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W ')" +
         names + R"(--help --version' -- "$current")
    return
  fi
  case ${COMP_WORDS[1]} in
)" + cases +
         R"(    *) return ;;
  esac
  if [[ $previous == --?* && $valued == *" $previous "* ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  elif [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags $valued" -- "$current")
  elif [[ -n $actions && $COMP_CWORD -eq 2 ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$actions" -- "$current")
  else
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}
complete -F _engramctl engramctl
)";
}

std::string Zsh() {
  constexpr std::string_view kQuote = "'\\''";
  std::string commands;
  std::string cases;
  for (const Command& command : AllCommands()) {
    commands += std::string("    '") + command.name + ":" + Escape(command.summary, "\\", kQuote) + "'\n";
    cases += std::string("    ") + command.name + ")\n      _arguments -S";
    for (const OptionSpec& option : command.options) {
      const OptionHelp help = HelpOf(command, option.name);
      const std::string name = help.value.empty() ? "value" : Escape(help.value, "[]:\\", kQuote);
      const std::string value = option.takes_value ? ":" + name + ":_files" : "";
      cases += " \\\n        '*--" + option.name + (option.takes_value ? "=" : "") + "[" +
               Escape(help.description, "[]:\\", kQuote) + "]" + value + "'";
    }
    const std::vector<std::string> actions = ActionsOf(command);
    if (!actions.empty()) cases += " \\\n        '1:action:(" + Join(actions) + ")'";
    cases += " \\\n        '*:file:_files' ;;\n";
  }
  return R"(#compdef engramctl
# Completes engramctl in zsh; made by `engramctl completion zsh`.
_engramctl() {
  local -a commands=(
)" + commands +
         R"(  )
  if ((CURRENT == 2)); then
    _describe -t commands command commands
    return
  fi
  shift words
  ((CURRENT--))
  case $words[1] in
)" + cases +
         R"(  esac
}
if [[ $funcstack[1] == _engramctl ]]; then _engramctl "$@"; else compdef _engramctl engramctl; fi
)";
}

std::string Fish() {
  const auto quote = [](std::string_view text) { return "'" + Escape(text, "\\", "\\'") + "'"; };
  std::string out = R"(# Completes engramctl in fish; made by `engramctl completion fish`.
function __engramctl_command
  set -l words (commandline -opc)
  test (count $words) -ge 2; and test $words[2] = $argv[1]
end
function __engramctl_action
  set -l words (commandline -opc)
  test (count $words) -eq 2; and test $words[2] = $argv[1]
end
complete -c engramctl -f -n 'test (count (commandline -opc)) -eq 1' -l help -d 'list the commands'
complete -c engramctl -f -n 'test (count (commandline -opc)) -eq 1' -l version -d 'print the version'
)";
  for (const Command& command : AllCommands()) {
    const std::string name = command.name;
    out += "complete -c engramctl -f -n 'test (count (commandline -opc)) -eq 1' -a " + name + " -d " +
           quote(command.summary) + "\n";
    const std::vector<std::string> actions = ActionsOf(command);
    if (!actions.empty())
      out += "complete -c engramctl -f -n '__engramctl_action " + name + "' -a " + quote(Join(actions)) + "\n";
    for (const OptionSpec& option : command.options) {
      out += "complete -c engramctl -n '__engramctl_command " + name + "' -l " + option.name +
             (option.takes_value ? " -r" : "");
      const std::string description = HelpOf(command, option.name).description;
      if (!description.empty()) out += " -d " + quote(description);
      out += "\n";
    }
  }
  return out;
}

int Completion(const Arguments& arguments) {
  const auto& words = arguments.words();
  if (words.size() == 1 && words[0] == "bash") return std::fputs(Bash().c_str(), stdout) < 0;
  if (words.size() == 1 && words[0] == "zsh") return std::fputs(Zsh().c_str(), stdout) < 0;
  if (words.size() == 1 && words[0] == "fish") return std::fputs(Fish().c_str(), stdout) < 0;
  return Report(InvalidArgument("completion needs a shell: bash, zsh or fish"), true);
}

}  // namespace

Command CompletionCommand() {
  return {"completion",
          "completion for a shell: bash, zsh, fish (offline)",
          R"(Usage: engramctl completion bash|zsh|fish

Prints a script that completes commands and options. The Debian package installs all three. To try one:
  bash  source <(engramctl completion bash)
  zsh   source <(engramctl completion zsh)
  fish  engramctl completion fish | source
)",
          Completion,
          {}};
}

}  // namespace engram
