// SPDX-License-Identifier: Apache-2.0
// key with --state-dir: keys of a daemon that is not running.
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdio>

#include "access/key_json.h"
#include "core/clock.h"
#include "core/state_dir.h"
#include "engramctl/commands.h"
#include "engramctl/key_commands.h"

namespace engram {
namespace {

namespace json = boost::json;

// Who acts, for the list and the audit log.
constexpr const char* kActor = "engramctl";

Result<json::object> Create(AccessStore& store, const Arguments& arguments) {
  ENGRAM_TRY(const NewKey wanted, NewKeyOf(arguments));
  ENGRAM_TRY(const CreatedKey created, store.Create(wanted, kActor));
  json::object answer = KeyJson(*created.key);
  answer["key"] = created.secret;
  return answer;
}

Result<json::object> Revoke(AccessStore& store, const Arguments& arguments) {
  if (arguments.words().size() != 2) return InvalidArgument("key revoke needs one ID or NAME");
  std::string id = arguments.words()[1];
  for (const auto& key : store.keys()->keys)
    if (key->name == arguments.words()[1] && !key->revoked_ms) id = key->id;
  ENGRAM_TRY(const auto revoked, store.Revoke(id));
  return KeyJson(*revoked);
}

json::object List(const AccessStore& store) {
  json::array keys;
  for (const auto& key : store.keys()->keys) keys.push_back(KeyJson(*key));
  return {{"keys", std::move(keys)}};
}

Result<json::object> Run(const Arguments& arguments) {
  const std::filesystem::path directory = *arguments.Value("state-dir");
  const std::string& what = arguments.words()[0];
  struct stat found {};
  // Files of another user would be out of the daemon's reach.
  if (stat(directory.c_str(), &found) == 0 && found.st_uid != geteuid())
    return FailedPrecondition(directory.string() + " belongs to another user: run this as that one");
  ENGRAM_TRY(const StateDir held, StateDir::Open(directory));
  ENGRAM_TRY(const auto store, AccessStore::Open({.path = directory / "access.sqlite"}));
  if (what == "list") return List(*store);
  ENGRAM_TRY(json::object key, what == "create" ? Create(*store, arguments) : Revoke(*store, arguments));
  AuditEntry entry;
  entry.unix_ms = UnixMs();
  entry.action = "engramctl key " + what;
  entry.target = std::string(key.at("name").as_string());
  entry.detail = "id " + std::string(key.at("id").as_string()) + ", offline";
  store->Record(std::move(entry));
  return key;
}

}  // namespace

int RunKeyOffline(const Arguments& arguments) {
  const Result<json::object> answer = Run(arguments);
  if (!answer) return Report(answer.error(), true);
  if (arguments.Has("json")) {
    std::printf("%s\n", json::serialize(*answer).c_str());
  } else if (answer->contains("keys")) {
    ShowKeys(answer->at("keys").as_array());
  } else if (answer->contains("key")) {
    ShowCreated(*answer);
  } else {
    ShowKeys({*answer});
  }
  return kDone;
}

}  // namespace engram
