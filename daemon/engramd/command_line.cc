// SPDX-License-Identifier: Apache-2.0
// getopt_long rather than a library: nine options, GNU conventions, and libc is there anyway.
#include "engramd/command_line.h"

#include <getopt.h>

namespace engram {
namespace {

enum Option { kConfig = 256, kModel, kListen, kStateDir, kWeights, kSet, kCheckConfig, kVersion, kHelp };

constexpr option kOptions[] = {
    {"config", required_argument, nullptr, kConfig},
    {"model", required_argument, nullptr, kModel},
    {"listen", required_argument, nullptr, kListen},
    {"state-dir", required_argument, nullptr, kStateDir},
    {"weights", required_argument, nullptr, kWeights},
    {"set", required_argument, nullptr, kSet},
    {"check-config", required_argument, nullptr, kCheckConfig},
    {"version", no_argument, nullptr, kVersion},
    {"help", no_argument, nullptr, kHelp},
    {nullptr, 0, nullptr, 0},
};

Error Usage(const std::string& message) {
  return InvalidArgument(message + "; see engramd --help");
}

}  // namespace

Result<CommandLine> ParseCommandLine(int argc, char** argv) {
  CommandLine command;
  opterr = 0;
  optind = 1;
  int index = 0;
  for (int chosen; (chosen = getopt_long(argc, argv, ":h", kOptions, &index)) != -1;) {
    // getopt has moved past the argument it speaks of.
    const std::string given = argv[optind - 1];
    switch (chosen) {
      case kConfig:
        command.config = optarg;
        break;
      case kCheckConfig:
        command.action = CommandLine::Action::kCheckConfig;
        command.config = optarg;
        break;
      case kModel:
        command.overrides.push_back({"--model", "model.path", optarg});
        break;
      case kListen:
        command.overrides.push_back({"--listen", "server.listen", optarg});
        break;
      case kStateDir:
        command.overrides.push_back({"--state-dir", "state_dir", optarg});
        break;
      case kWeights:
        command.overrides.push_back({"--weights", "backbone.options.weights", optarg});
        break;
      case kSet: {
        const std::string text = optarg;
        const size_t equals = text.find('=');
        if (equals == std::string::npos || equals == 0) return Usage("--set needs KEY=VALUE, found \"" + text + "\"");
        const std::string key = text.substr(0, equals);
        command.overrides.push_back({"--set " + key, key, text.substr(equals + 1), false});
        break;
      }
      case kVersion:
        command.action = CommandLine::Action::kVersion;
        return command;
      case kHelp:
      case 'h':
        command.action = CommandLine::Action::kHelp;
        return command;
      case ':':
        return Usage("option " + given + " needs a value");
      default:
        return Usage("unknown option " + given);
    }
    if (*optarg == '\0') return Usage("option --" + std::string(kOptions[index].name) + " has an empty value");
  }
  if (optind < argc) return Usage("unexpected argument \"" + std::string(argv[optind]) + "\"");
  return command;
}

std::string HelpText() {
  return R"(engramd: serves a language model with live Engram memory over HTTP.

Usage: engramd [OPTION]...

  --config FILE        read settings from a YAML file; without it: the defaults
  --model DIR          model directory (config.json, tokenizer.json, *.safetensors); without it: the bundled model
  --listen HOST:PORT   address to listen on, default 127.0.0.1:8484; port 0 takes any free one
  --state-dir DIR      directory for what must survive a restart; made if missing, one daemon at a time
  --weights TYPE       how the backbone keeps its weights; "native": as the files have them
  --set KEY=VALUE      any other setting, e.g. --set serving.max_queued=16; the value is YAML; may be repeated
  --check-config FILE  check a configuration, print every fault as FILE:LINE: key: message, and exit
  --version            print the version and exit
  -h, --help           print this and exit

Options win over the file. Every setting, its default and meaning: /etc/engramd/engramd.yaml, in the source tree
config/engramd.yaml. An address that other machines can reach needs keys: auth.keys in the file, or `engramctl key`.

Signals: SIGTERM and SIGINT stop taking requests, let running ones finish up to serving.drain_timeout, and exit with 0;
a second one exits at once with 128 plus its number. SIGHUP reads certificates and the dashboard's files again
(settings are read at start; logs go to stderr).

Environment: STATE_DIRECTORY (from systemd) is the state directory when none is set. NOTIFY_SOCKET and WATCHDOG_USEC
are systemd's. ENGRAM_KERNELS picks the CPU kernels, e.g. ref or avx2.

Exit status: 0 stopped or checked and fine, 1 failed, 2 wrong usage.
)";
}

}  // namespace engram
