// SPDX-License-Identifier: Apache-2.0
// models and plugins: what is served, and by which files.
#include <boost/json.hpp>
#include <cstdio>

#include "core/json_value.h"
#include "engramctl/commands.h"
#include "engramctl/json_answer.h"
#include "engramctl/text_table.h"

namespace engram {
namespace {

namespace json = boost::json;

// The list `key` of what GET `target` answers, printed as JSON if that is asked for, else by `row` under `header`.
int PrintList(const Arguments& arguments, const char* target, const char* key, std::vector<std::string> header,
              std::vector<std::string> (*row)(const json::object&)) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  const auto answer = JsonAnswer(client->Call(target));
  if (!answer) return Report(answer.error());
  if (arguments.Has("json")) {
    std::printf("%s\n", JsonText(*answer).c_str());
    return kDone;
  }
  std::vector<std::vector<std::string>> rows{std::move(header)};
  for (const json::value& item : ListOf(*answer, key))
    if (const json::object* object = item.if_object()) rows.push_back(row(*object));
  PrintColumns(rows);
  return kDone;
}

std::vector<std::string> ModelRow(const json::object& model) {
  const json::object& memory = ObjectOf(model, "memory");
  return {ShowMember(model, "name"),
          ShowMember(model, "state") + (ShowMember(model, "default") == "true" ? ", default" : ""),
          ShowMember(model, "device"),
          ShowBytes(memory, "weights_bytes") + " " + ShowMember(model, "weight_type"),
          ShowBytes(memory, "tiers_bytes"),
          ShowBytes(memory, "kv_bytes"),
          ShowMember(model, "running"),
          ShowMember(model, "directory")};
}

std::vector<std::string> PluginRow(const json::object& plugin) {
  std::string users;
  for (const json::value& user : ListOf(plugin, "used_by"))
    if (const json::object* object = user.if_object())
      users += (users.empty() ? "" : ", ") + ShowMember(*object, "as") + " of " + ShowMember(*object, "model");
  return {ShowMember(plugin, "kind"),       ShowMember(plugin, "name"),
          ShowMember(plugin, "version"),    ShowMember(plugin, "sha256").substr(0, 12),
          users.empty() ? "nobody" : users, ShowMember(plugin, "path")};
}

int Models(const Arguments& arguments) {
  return PrintList(arguments, "/admin/v1/models", "models",
                   {"NAME", "STATE", "DEVICE", "WEIGHTS", "ROWS", "KV", "RUNNING", "DIRECTORY"}, ModelRow);
}

int Names(const Arguments& arguments) {
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  const auto answer = JsonAnswer(client->Call("/v1/models"));
  if (!answer) return Report(answer.error());
  for (const json::value& model : ListOf(*answer, "data"))
    if (const json::object* object = model.if_object()) std::printf("%s\n", ShowMember(*object, "id").c_str());
  return kDone;
}

int Plugins(const Arguments& arguments) {
  return PrintList(arguments, "/admin/v1/plugins", "plugins", {"KIND", "NAME", "VERSION", "SHA256", "USED AS", "PATH"},
                   PluginRow);
}

}  // namespace

Command ModelsCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl models [OPTION]...\n\nPrints the models that are served, the default first.\n\n"
          "  --json         all that is known of them, as JSON\n"
          "  --names        their names alone, one a line; for keys that may only generate\n") +
      kOnlineHelp;
  return {"models", "the models served", kHelp.c_str(),
          [](const Arguments& arguments) { return arguments.Has("names") ? Names(arguments) : Models(arguments); },
          OnlineOptions({{"json"}, {"names"}})};
}

Command PluginsCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl plugins [OPTION]...\n\nPrints the plugin files that are loaded.\n\n"
          "  --json         all that is known of them, as JSON\n") +
      kOnlineHelp;
  return {"plugins", "the plugins loaded", kHelp.c_str(), Plugins, OnlineOptions({{"json"}})};
}

}  // namespace engram
