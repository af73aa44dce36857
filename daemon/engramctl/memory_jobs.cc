// SPDX-License-Identifier: Apache-2.0
// index, compact, backup and journal: what plans need to know, and what keeps the memory's history in order.
#include <cstdio>

#include "core/json_value.h"
#include "engramctl/answers.h"
#include "engramctl/follow.h"
#include "journal/chain_verifier.h"
#include "journal/journal.h"

namespace engram {
namespace {

namespace json = boost::json;

json::object WithModel(const Arguments& arguments, json::object request) {
  if (const auto model = arguments.Value("model")) request["model"] = *model;
  return request;
}

int RunCompact(const Arguments& arguments) {
  if (!arguments.words().empty()) return Report(InvalidArgument("compact takes options only"), true);
  return Operate(arguments, "/admin/v1/compact", WithModel(arguments, {}));
}

int RunIndex(const Arguments& arguments) {
  if (arguments.words().size() != 1) return Report(InvalidArgument("index needs one FILE"), true);
  return Operate(arguments, "/admin/v1/ngram-index", WithModel(arguments, {{"path", arguments.words()[0]}}));
}

int RunBackup(const Arguments& arguments) {
  if (arguments.words().size() != 1) return Report(InvalidArgument("backup needs one DIRECTORY"), true);
  return Operate(arguments, "/admin/v1/backup", WithModel(arguments, {{"directory", arguments.words()[0]}}));
}

// Of one model; prints a line or adds an object to `list`.
Result<bool> VerifyModel(const Journal& journal, const ModelRecord& model, json::array* list) {
  ChainVerifier verifier(journal, model);
  for (bool over = false; !over;) {
    ENGRAM_TRY(over, verifier.Step());
  }
  const ChainVerifier::Findings& found = verifier.findings();
  const bool good = !found.bad_version.has_value();
  if (list != nullptr) {
    json::object object{{"model", model.name},
                        {"ok", good},
                        {"commits_checked", found.commits_checked},
                        {"commits_folded", found.commits_folded},
                        {"bad_version", nullptr},
                        {"problem", found.problem}};
    if (!good) object["bad_version"] = *found.bad_version;
    list->push_back(std::move(object));
  } else if (good) {
    std::printf("%s: %llu commits, the chain holds\n", model.name.c_str(),
                static_cast<unsigned long long>(found.commits_checked));
  } else {
    std::printf("%s: version %llu is not what was committed: %s\n", model.name.c_str(),
                static_cast<unsigned long long>(*found.bad_version), found.problem.c_str());
  }
  return good;
}

int VerifyFile(const Arguments& arguments, const std::string& path) {
  const auto journal = Journal::Open({.path = path, .read_only = true});
  if (!journal) return Report(journal.error());
  const auto models = (*journal)->ListModels();
  if (!models) return Report(models.error());
  json::array list;
  bool good = true;
  for (const ModelRecord& model : *models) {
    const auto verified = VerifyModel(**journal, model, arguments.Has("json") ? &list : nullptr);
    if (!verified) return Report(verified.error());
    good = good && *verified;
  }
  if (arguments.Has("json")) {
    std::printf("%s\n", JsonText(json::object{{"ok", good}, {"models", std::move(list)}}).c_str());
  } else if (models->empty()) {
    std::puts("no model has a history in it");
  }
  return good ? kDone : kFailed;
}

int RunJournal(const Arguments& arguments) {
  const auto& words = arguments.words();
  if (words.size() == 2 && words[0] == "verify") return VerifyFile(arguments, words[1]);
  bool good = true;
  if (words.size() == 1 && words[0] == "verify") {
    const int status = AskAndShow(
        arguments,
        [&]() -> Result<HttpCall> { return HttpCall{.target = "/admin/v1/journal/verify" + ModelQuery(arguments)}; },
        [&](const json::object& found) {
          good = TextAt(found, "ok") == "true";
          if (good) {
            std::printf("%s commits, the chain holds\n", TextAt(found, "commits_checked").c_str());
          } else {
            std::printf("version %s is not what was committed: %s\n", TextAt(found, "bad_version").c_str(),
                        TextAt(found, "problem").c_str());
          }
        });
    return status == kDone && !good ? kFailed : status;
  }
  if (words.size() == 1 && words[0] == "status") {
    return AskAndShow(
        arguments,
        [&]() -> Result<HttpCall> { return HttpCall{.target = "/admin/v1/journal" + ModelQuery(arguments)}; },
        [](const json::object& status) {
          for (const char* key : {"model", "version", "oldest_version", "base_version", "edited_rows", "overlays",
                                  "overlay_bytes", "durable", "running_job"})
            std::printf("%-15s %s\n", key, TextAt(status, key).c_str());
        });
  }
  return Report(InvalidArgument("journal takes status, verify or verify FILE; see engramctl journal --help"), true);
}

constexpr char kWaiting[] =
    "  --no-wait      do not wait for the end; see engramctl operations\n"
    "  --json         the outcome as JSON\n";

}  // namespace

Command CompactCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl compact [OPTION]...\n\nFolds the commits up to the current version into new packed tables "
          "and serves from them, without a pause. Needs a\nstate directory and a key with the scope operate.\n\n") +
      kWaiting + kOnlineHelp;
  return {"compact", "fold commits into new base tables", kHelp.c_str(), RunCompact,
          OnlineOptions({{"no-wait"}, {"json"}})};
}

Command IndexCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl index [OPTION]... FILE\n\nHas the daemon read a text like its traffic, so that plans name "
          "the n-grams of it that share rows with an edit. FILE is\non the daemon's machine, in the model's directory "
          "or "
          "models.directories. Not kept over a restart.\n\n") +
      kWaiting + kOnlineHelp;
  return {"index", "know the n-grams of a text, for plans", kHelp.c_str(), RunIndex,
          OnlineOptions({{"no-wait"}, {"json"}})};
}

Command BackupCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl backup [OPTION]... DIRECTORY\n\nCopies the journal and its tables, as they are at the end, "
          "into a new directory of the daemon's machine, which can be\nused as state_dir. It must lie in "
          "backup.directories of the configuration; a name alone lies in the first of them.\n\n") +
      kWaiting + kOnlineHelp;
  return {"backup", "copy the memory's history while it serves", kHelp.c_str(), RunBackup,
          OnlineOptions({{"no-wait"}, {"json"}})};
}

Command JournalCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl journal status [OPTION]...\n       engramctl journal verify [OPTION]... [FILE]\n\nThe "
          "journal of the memory's changes: its state, or whether its hash chain holds, of a daemon or, with FILE, of "
          "a\njournal file without one. Exits with 1 when it does not hold.\n\n"
          "  --json         as JSON\n") +
      kOnlineHelp;
  return {"journal", "check the history's hash chain", kHelp.c_str(), RunJournal, OnlineOptions({{"json"}})};
}

}  // namespace engram
