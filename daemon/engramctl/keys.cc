// SPDX-License-Identifier: Apache-2.0
// key: API keys of a daemon.
#include <cstdio>

#include "core/clock.h"
#include "engramctl/answers.h"
#include "engramctl/commands.h"
#include "engramctl/key_commands.h"
#include "engramctl/text_table.h"

namespace engram {
namespace {

namespace json = boost::json;

std::vector<std::string> SplitAtCommas(const std::vector<std::string>& values) {
  std::vector<std::string> items;
  for (const std::string& value : values) {
    for (size_t start = 0; start <= value.size();) {
      const size_t comma = std::min(value.find(',', start), value.size());
      items.push_back(value.substr(start, comma - start));
      start = comma + 1;
    }
  }
  return items;
}

// "90", "90s", "30m", "12h" or "30d" in milliseconds.
Result<int64_t> ReadAge(std::string text) {
  const Error wrong =
      InvalidArgument("--expires-in needs seconds or a duration such as 12h or 30d, not \"" + text + "\"");
  int64_t unit_s = 1;
  if (!text.empty()) {
    const size_t unit = std::string_view("smhd").find(text.back());
    if (unit != std::string_view::npos) {
      constexpr int64_t kUnits[] = {1, 60, 3600, 86'400};
      unit_s = kUnits[unit];
      text.pop_back();
    }
  }
  const auto count = ParseSigned(text);
  constexpr int64_t kMaxSeconds = int64_t{100} * 366 * 86'400;
  if (!count || *count < 1 || *count > kMaxSeconds / unit_s) return wrong;
  return *count * unit_s * 1000;
}

std::string ListAt(const json::object& object, std::string_view key) {
  std::string text;
  for (const json::value& item : ListOf(object, key))
    if (item.is_string()) text += (text.empty() ? "" : ",") + std::string(item.get_string());
  return text;
}

std::string StateOf(const json::object& key) {
  if (const std::string revoked = TimeAt(key, "revoked_at", 1); !revoked.empty()) return "revoked " + revoked;
  const std::string expires = TimeAt(key, "expires_at", 1);
  if (expires.empty()) return "valid";
  return (key.at("expires_at").as_int64() * 1000 <= UnixMs() ? "expired " : "until ") + expires;
}

std::string LimitsOf(const json::object& key) {
  const json::object& limits = ObjectOf(key, "limits");
  std::string text;
  for (const auto& [name, unit] :
       {std::pair{"requests_per_second", "req/s"}, std::pair{"tokens_per_second", "tok/s"}}) {
    const std::string rate = ShortNumber(limits, name);
    if (!rate.empty()) text += (text.empty() ? "" : ", ") + rate + " " + unit;
  }
  return text;
}

Result<HttpCall> CreateCall(const Arguments& arguments) {
  ENGRAM_TRY(const NewKey key, NewKeyOf(arguments));
  json::object body{{"name", key.name}};
  json::array& scopes = (body["scopes"] = json::array()).as_array();
  for (const std::string& scope : key.scopes) scopes.emplace_back(scope);
  json::array& overlays = (body["overlays"] = json::array()).as_array();
  for (const std::string& overlay : key.overlays) overlays.emplace_back(overlay);
  json::object& limits = (body["limits"] = json::object()).as_object();
  if (key.requests_per_s > 0) limits["requests_per_second"] = key.requests_per_s;
  if (key.tokens_per_s > 0) limits["tokens_per_second"] = key.tokens_per_s;
  if (key.expires_in_ms) body["expires_in"] = *key.expires_in_ms / 1000;
  return HttpCall{.method = "POST", .target = "/admin/v1/keys", .body = json::serialize(body)};
}

// The id of the key that is not revoked and has this name or id.
Result<HttpCall> RevokeCall(const Arguments& arguments) {
  const auto& words = arguments.words();
  if (words.size() != 2) return InvalidArgument("key revoke needs one ID or NAME");
  ENGRAM_TRY(const HttpClient client, ClientOf(arguments));
  ENGRAM_TRY(const json::object answer, Ask(client, {.target = "/admin/v1/keys"}));
  std::string id = words[1];
  for (const json::value& item : ListOf(answer, "keys")) {
    if (!item.is_object()) continue;
    const json::object& key = item.as_object();
    if (TextAt(key, "name") == words[1] && TextAt(key, "revoked_at").empty()) id = TextAt(key, "id");
  }
  return HttpCall{.method = "DELETE", .target = "/admin/v1/keys/" + PercentEncode(id)};
}

void ShowSelf(const json::object& answer) {
  const json::object& key = ObjectOf(answer, "key");
  if (key.empty()) {
    std::puts("no key is needed: everybody who reaches the daemon may do everything");
    return;
  }
  const std::string expires = TimeAt(key, "expires_at", 1), limits = LimitsOf(key), overlays = ListAt(key, "overlays");
  PrintColumns({{"name", TextAt(key, "name")},
                {"id", TextAt(key, "id")},
                {"scopes", ListAt(answer, "scopes")},
                {"expires", expires.empty() ? "never" : expires},
                {"limits", limits.empty() ? "none" : limits},
                {"overlays", overlays.empty() ? "none" : overlays}});
}

int RunKey(const Arguments& arguments) {
  const std::string what = arguments.words().empty() ? "" : arguments.words()[0];
  if (what == "hash") return RunKeyHash(arguments);
  if (what != "create" && what != "list" && what != "revoke" && what != "self")
    return Report(InvalidArgument("key needs create, list, revoke, self or hash; see engramctl key --help"), true);
  if (arguments.Has("state-dir")) {
    if (what == "self") return Report(InvalidArgument("key self asks a daemon, not a state directory"), true);
    return RunKeyOffline(arguments);
  }
  if (what == "create")
    return AskAndShow(
        arguments, [&] { return CreateCall(arguments); }, ShowCreated);
  if (what == "revoke") {
    return AskAndShow(
        arguments, [&] { return RevokeCall(arguments); }, [](const json::object& key) { ShowKeys({key}); });
  }
  if (arguments.words().size() != 1) return Report(InvalidArgument("key " + what + " takes no words"), true);
  if (what == "self") {
    return AskAndShow(
        arguments, []() -> Result<HttpCall> { return HttpCall{.target = "/admin/v1/keys/self"}; }, ShowSelf);
  }
  return AskAndShow(
      arguments, []() -> Result<HttpCall> { return HttpCall{.target = "/admin/v1/keys"}; },
      [](const json::object& answer) { ShowKeys(ListOf(answer, "keys")); });
}

}  // namespace

Result<NewKey> NewKeyOf(const Arguments& arguments) {
  if (arguments.words().size() != 2) return InvalidArgument("key create needs one NAME");
  NewKey key;
  key.name = arguments.words()[1];
  key.scopes = SplitAtCommas(arguments.All("scope"));
  if (key.scopes.empty()) return InvalidArgument("key create needs --scope, such as --scope generate,read");
  key.overlays = SplitAtCommas(arguments.All("overlay"));
  ENGRAM_TRY(const auto requests, arguments.Number("requests-per-s", 1e-6, 1e12));
  ENGRAM_TRY(const auto tokens, arguments.Number("tokens-per-s", 1e-6, 1e12));
  key.requests_per_s = requests.value_or(0);
  key.tokens_per_s = tokens.value_or(0);
  if (const auto age = arguments.Value("expires-in")) {
    ENGRAM_TRY(key.expires_in_ms, ReadAge(*age));
  }
  return key;
}

void ShowKeys(const json::array& keys) {
  TextTable table(
      {{"NAME"}, {"ID"}, {"SCOPES"}, {"KEY"}, {"STATE"}, {"CREATED"}, {"LAST USED"}, {"LIMITS"}, {"OVERLAYS"}});
  for (const json::value& item : keys) {
    if (!item.is_object()) continue;
    const json::object& key = item.as_object();
    const std::string prefix = TextAt(key, "prefix"), used = TimeAt(key, "last_used_at", 1);
    table.Add({TextAt(key, "name"), TextAt(key, "id"), ListAt(key, "scopes"),
               prefix.empty() ? "in the settings" : prefix + "…", StateOf(key), TimeAt(key, "created_at", 1),
               used.empty() ? "never" : used, LimitsOf(key), ListAt(key, "overlays")});
  }
  std::fputs(table.empty() ? "no keys: everybody who reaches the daemon may do everything\n" : table.Text().c_str(),
             stdout);
}

void ShowCreated(const json::object& created) {
  std::printf("%s\n", TextAt(created, "key").c_str());
  std::fprintf(stderr, "created %s, named %s, which may %s; the key is told this once, and only its hash is kept\n",
               TextAt(created, "id").c_str(), TextAt(created, "name").c_str(), ListAt(created, "scopes").c_str());
}

Command KeyCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl key create [OPTION]... --scope SCOPE[,SCOPE]... NAME\n"
          "       engramctl key list|revoke [OPTION]... [ID|NAME]\n"
          "       engramctl key self [OPTION]...\n"
          "       engramctl key hash < FILE\n\n"
          "API keys that the daemon keeps in its state directory, beside those of its configuration. create prints "
          "the\n"
          "new key on standard output, once. revoke ends what runs with the key. self says which key is used and what\n"
          "it may do.\n\n"
          "  --scope SCOPE         generate, read, edit, operate; one or more\n"
          "  --overlay NAME        attached to its requests that name none; may be repeated\n"
          "  --requests-per-s N    more are answered with 429\n"
          "  --tokens-per-s N      likewise\n"
          "  --expires-in TIME     seconds, or such as 12h or 30d\n"
          "  --json                the daemon's JSON\n"
          "  --state-dir DIR       in this state directory, while no daemon uses it: for the first key, or when no "
          "key\n"
          "                        with the scope operate is left; run as the user that engramd runs as\n\n"
          "hash reads a key from standard input (line breaks at its end do not count) and prints its SHA-256, for\n"
          "auth.keys of the configuration.\n\n") +
      kOnlineHelp;
  return {"key", "create, list and revoke API keys", kHelp.c_str(), RunKey,
          OnlineOptions({{"scope", true},
                         {"overlay", true},
                         {"requests-per-s", true},
                         {"tokens-per-s", true},
                         {"expires-in", true},
                         {"state-dir", true},
                         {"json"}})};
}

}  // namespace engram
