// SPDX-License-Identifier: Apache-2.0
// engramctl: the command-line client and offline tools.
#include <cstdio>
#include <cstring>
#include <exception>

#include "engramctl/command_table.h"

namespace engram {
namespace {

int Main(int argc, char** argv) {
  const std::vector<Command> commands = AllCommands();
  const std::string first = argc > 1 ? argv[1] : "";
  if (first == "--help" || first == "-h" || first == "help") {
    std::printf("engramctl: client and tools of engramd.\n\nUsage: engramctl COMMAND [OPTION]...\n\n");
    for (const Command& command : commands) std::printf("  %-11s %s\n", command.name, command.summary);
    std::printf(
        "\n`engramctl COMMAND --help` explains one; `engramctl --version` prints the version.\n"
        "Exit status: 0 done, 1 failed, 2 wrong usage; messages go to standard error.\n");
    return kDone;
  }
  if (first == "--version") return std::puts("engramctl " ENGRAMD_VERSION) < 0;
  for (const Command& command : commands) {
    if (first != command.name) continue;
    const auto arguments = Arguments::Parse(argc - 1, argv + 1, command.options);
    if (!arguments) {
      const Error error = InvalidArgument(arguments.error().message + "; see engramctl " + first + " --help");
      return Report(error, true);
    }
    if (arguments->Has("help")) return std::fputs(command.help, stdout) < 0;
    return command.run(*arguments);
  }
  return Report(
      InvalidArgument((first.empty() ? "no command" : "unknown command \"" + first + "\"") + "; see engramctl --help"),
      true);
}

}  // namespace
}  // namespace engram

int main(int argc, char** argv) {
  try {
    return engram::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "engramctl: %s\n", error.what());
    return engram::kFailed;
  }
}
