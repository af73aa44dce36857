// SPDX-License-Identifier: Apache-2.0
// engramd: command line -> settings -> service.
#include <cstdio>
#include <exception>

#include "core/log.h"
#include "engramd/command_line.h"
#include "engramd/service.h"
#include "settings/settings.h"

namespace engram {
namespace {

int Main(int argc, char** argv) {
  const auto command = ParseCommandLine(argc, argv);
  if (!command) {
    std::fprintf(stderr, "engramd: %s\n", command.error().message.c_str());
    return 2;
  }
  if (command->action == CommandLine::Action::kHelp) return std::fputs(HelpText().c_str(), stdout) < 0;
  if (command->action == CommandLine::Action::kVersion) return std::puts("engramd " ENGRAMD_VERSION) < 0;

  const LoadedSettings loaded = LoadSettings(command->config, command->overrides);
  for (const SettingsProblem& problem : loaded.problems) std::fprintf(stderr, "%s\n", problem.Text().c_str());
  if (!loaded.problems.empty()) return 1;
  if (command->action == CommandLine::Action::kCheckConfig) return std::puts("ok") < 0;

  if (const Status configured = log::Configure(loaded.settings.log.level, loaded.settings.log.format); !configured) {
    std::fprintf(stderr, "engramd: %s\n", configured.error().message.c_str());
    return 1;
  }
  BlockSignals();
  return RunService(loaded.settings);
}

}  // namespace
}  // namespace engram

int main(int argc, char** argv) {
  try {
    return engram::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "engramd: %s\n", error.what());
    return 1;
  }
}
