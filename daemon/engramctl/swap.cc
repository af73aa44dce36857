// SPDX-License-Identifier: Apache-2.0
// swap, load and unload: changes what is served while it serves.
#include <boost/json.hpp>
#include <cstdio>
#include <filesystem>

#include "engramctl/commands.h"
#include "engramctl/follow.h"
#include "engramctl/json_answer.h"

namespace engram {
namespace {

namespace json = boost::json;

// "./x" and "../x" are meant from here; the daemon takes other relative paths from its configured directories.
std::string PathForDaemon(const std::string& path) {
  if (!path.starts_with('.')) return path;
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.lexically_normal().string();
}

void AddOptions(const Arguments& arguments, std::initializer_list<const char*> names, json::object& request) {
  for (const char* name : names)
    if (const auto value = arguments.Value(name)) request[name] = *value;
}

int Swap(const Arguments& arguments) {
  const auto& words = arguments.words();
  json::object request;
  if (words.size() == 2 && words[0] == "model") {
    request["model"] = PathForDaemon(words[1]);
    AddOptions(arguments, {"sha256"}, request);
    if (const auto name = arguments.Value("model")) request["name"] = *name;
    return Operate(arguments, "/admin/v1/models/swap", request);
  }
  if (words.size() == 3 && words[0] == "plugin") {
    request["name"] = words[1];
    request["path"] = PathForDaemon(words[2]);
    AddOptions(arguments, {"sha256", "model"}, request);
    return Operate(arguments, "/admin/v1/plugins/swap", request);
  }
  if (words.size() == 3 && words[0] == "table") {
    const auto layer = ParseSigned(words[1]);
    if (!layer || *layer < 0) return Report(InvalidArgument("\"" + words[1] + "\" is not a layer"), true);
    request["layer"] = *layer;
    request["path"] = PathForDaemon(words[2]);
    AddOptions(arguments, {"sha256", "model", "note", "author"}, request);
    return Operate(arguments, "/admin/v1/tables/swap", request);
  }
  return Report(InvalidArgument("swap takes \"model DIR\", \"plugin NAME PATH\" or \"table LAYER PATH\"; see engramctl "
                                "swap --help"),
                true);
}

int Load(const Arguments& arguments) {
  if (arguments.words().size() != 1) return Report(InvalidArgument("load takes one directory"), true);
  json::object request{{"model", PathForDaemon(arguments.words()[0])}};
  AddOptions(arguments, {"sha256", "name"}, request);
  return Operate(arguments, "/admin/v1/models/load", request);
}

int Unload(const Arguments& arguments) {
  if (arguments.words().size() != 1) return Report(InvalidArgument("unload takes one model's name"), true);
  return Operate(arguments, "/admin/v1/models/unload", {{"name", arguments.words()[0]}});
}

constexpr char kWaiting[] =
    "  --no-wait      do not wait for the end; see engramctl operations\n"
    "  --json         the outcome as JSON\n";

std::vector<OptionSpec> Options(std::vector<OptionSpec> own) {
  for (const char* name : {"no-wait", "json"}) own.push_back({name});
  return OnlineOptions(std::move(own));
}

}  // namespace

Command SwapCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl swap [OPTION]... model DIR\n       engramctl swap [OPTION]... plugin NAME PATH\n"
          "       engramctl swap [OPTION]... table LAYER PATH\n\n"
          "Replaces a model, a plugin of one or a layer's packed table, while requests run: what runs ends on the old "
          "one. When anything is\n"
          "wrong the old one serves on. Needs a key with the scope operate.\n\n"
          "DIR must lie in models.directories of the daemon's configuration or be its own model. NAME is a tier's "
          "name\n"
          "or the backbone's plugin, as configured; PATH a plugin's name or file in plugins.directories. A new "
          "version\n"
          "of a plugin needs a file name of its own, such as tier_dram-2.so. A table lies where models may; edits stay "
          "on top of it.\n\n"
          "  --note TEXT, --author NAME  for the history of a table swap\n"
          "  --sha256 HEX   what the plugin's file, or the directory's files, must have; for a directory:\n"
          "                 cd DIR && LC_ALL=C sha256sum * | sha256sum\n") +
      kWaiting + kOnlineHelp;
  return {"swap", "another model or plugin in place of one that serves", kHelp.c_str(), Swap,
          Options({{"sha256", true}, {"note", true}, {"author", true}})};
}

Command LoadCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl load [OPTION]... DIR\n\nServes one more model, beside those that are served. DIR as for "
          "swap.\n\n"
          "  --name NAME    what clients call it, default the directory's name\n"
          "  --sha256 HEX   what the directory's files must have; see engramctl swap --help\n") +
      kWaiting + kOnlineHelp;
  return {"load", "one more model", kHelp.c_str(), Load, Options({{"name", true}, {"sha256", true}})};
}

Command UnloadCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl unload [OPTION]... NAME\n\nStops serving a model; what runs on it ends first.\n\n") +
      kWaiting + kOnlineHelp;
  return {"unload", "one model less", kHelp.c_str(), Unload, Options({})};
}

}  // namespace engram
