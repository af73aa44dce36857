// SPDX-License-Identifier: Apache-2.0
// The commands of engramctl. Each gets its own argv (argv[0] is its name), prints to stdout and returns the exit
// status: 0 done, 1 failed, 2 wrong usage; messages go to stderr. One thread.
#pragma once

#include <string>

#include "core/result.h"
#include "engramctl/arguments.h"
#include "engramctl/http_client.h"

namespace engram {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;

struct Command {
  const char* name;
  const char* summary;  // one line
  const char* help;     // all of `engramctl NAME --help`
  int (*run)(const Arguments& arguments);
  std::vector<OptionSpec> options;
};

// Online: generate.cc, requests.cc, status.cc, tiers.cc, models.cc, swap.cc, operations.cc; gates.cc, inspect.cc,
// events.cc, config.cc.
Command GenerateCommand();
Command ChatCommand();
Command TokenizeCommand();
Command DetokenizeCommand();
Command StatusCommand();
Command TiersCommand();
Command ModelsCommand();
Command PluginsCommand();
Command SwapCommand();
Command LoadCommand();
Command UnloadCommand();
Command OperationsCommand();
Command GatesCommand();
Command InspectCommand();
Command EventsCommand();
Command ConfigCommand();
// Online, about memory: commits.cc, memory_requests.cc, overlays.cc, memory_jobs.cc.
Command CommitCommand();
Command LogCommand();
Command ShowCommand();
Command DiffCommand();
Command RollbackCommand();
Command LocateCommand();
Command TablesCommand();
Command OverlayCommand();
Command IndexCommand();
Command CompactCommand();
Command BackupCommand();
Command JournalCommand();
Command AuditCommand();  // audit.cc
// `rows` with --layer: of a daemon.
int RunOnlineRows(const Arguments& arguments);
// Offline: rows.cc, table.cc, completion.cc. Both: keys.cc, with key_hash.cc and keys_offline.cc.
Command RowsCommand();
Command TableCommand();
Command KeyCommand();
Command CompletionCommand();

// Prints "engramctl: MESSAGE" and returns the status that fits: kUsage for kInvalidArgument when `usage`, else kFailed.
int Report(const Error& error, bool usage = false);

// --url, --key and their environment variables, which every online command has.
std::vector<OptionSpec> OnlineOptions(std::vector<OptionSpec> own);
inline constexpr const char* kOnlineHelp =
    "  --url URL      the daemon, default $ENGRAM_URL or http://127.0.0.1:8484\n"
    "  --key KEY      API key, default $ENGRAM_API_KEY (which, unlike an option, other users cannot see)\n"
    "  --model NAME   which model, default the daemon's default model\n";
Result<HttpClient> ClientOf(const Arguments& arguments);

// The words joined by spaces, or all of stdin when the only word is "-" or there is none.
Result<std::string> TextOf(const Arguments& arguments);

// All of stdin; kInvalidArgument above 64 MiB.
Result<std::string> ReadStandardInput();

}  // namespace engram
