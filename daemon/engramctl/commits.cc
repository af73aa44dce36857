// SPDX-License-Identifier: Apache-2.0
// commit, log, show, diff, rollback: the history of a model's memory.
#include <cmath>
#include <cstdio>
#include <limits>

#include "core/file.h"
#include "engramctl/answers.h"
#include "engramctl/edit_options.h"
#include "engramctl/text_table.h"

namespace engram {
namespace {

namespace json = boost::json;
using Align = TextTable::Align;

constexpr int64_t kMaxVersion = std::numeric_limits<int64_t>::max();
constexpr uint64_t kMaxUploadBytes = 16ull << 30;

Result<std::string> VersionWord(const std::string& word) {
  const auto version = ParseSigned(word);
  if (!version || *version < 0) return InvalidArgument("\"" + word + "\" is not a version");
  return std::to_string(*version);
}

void ShowCommits(const json::array& commits) {
  TextTable table(
      {{"VERSION", Align::kRight}, {"TIME"}, {"KIND"}, {"ROWS", Align::kRight}, {"AUTHOR"}, {"NOTE"}, {"DIGEST"}});
  for (const json::value& item : commits) {
    if (!item.is_object()) continue;
    const json::object& commit = item.as_object();
    const std::string restores = TextAt(commit, "restores");
    table.Add({TextAt(commit, "version"), TimeAt(commit, "created_unix_ms"),
               TextAt(commit, "kind") + (restores.empty() ? "" : " to " + restores), TextAt(commit, "rows"),
               TextAt(commit, "author"), TextAt(commit, "note"), TextAt(commit, "digest").substr(0, 12)});
  }
  std::fputs(table.empty() ? "no commits: every row is as in the base tables\n" : table.Text().c_str(), stdout);
}

void ShowCommitted(const json::object& answer) {
  std::printf("version %s: %s rows, digest %s\n", TextAt(answer, "version").c_str(), TextAt(answer, "rows").c_str(),
              TextAt(answer, "digest").c_str());
}

void ShowPlan(const json::object& plan) {
  TextTable table({{"EDIT", Align::kRight},
                   {"LAYER", Align::kRight},
                   {"ROW", Align::kRight},
                   {"NORM", Align::kRight},
                   {"THEN", Align::kRight},
                   {"LAST VERSION", Align::kRight},
                   {"CHANGES"},
                   {"HIDDEN BY OVERLAYS"}});
  for (const json::value& item : ListOf(plan, "rows")) {
    if (!item.is_object()) continue;
    const json::object& row = item.as_object();
    std::string overlays;
    for (const json::value& name : ListOf(row, "overlays"))
      if (name.is_string()) overlays += (overlays.empty() ? "" : ", ") + std::string(name.as_string());
    table.Add({TextAt(row, "edit"), TextAt(row, "layer"), TextAt(row, "row"), ShortNumber(row, "norm_before"),
               ShortNumber(row, "norm_after"), TextAt(row, "last_version"),
               TextAt(row, "changes") == "true" ? "yes" : "no", overlays});
  }
  std::fputs(table.Text().c_str(), stdout);
  std::printf("planned on version %s: %s rows would change; nothing was written\n", TextAt(plan, "version").c_str(),
              TextAt(plan, "rows_changed").c_str());
  if (TextAt(plan, "ngrams_found") == "0") return;
  TextTable ngrams({{"SHARED WITH"}, {"SEEN", Align::kRight}, {"ROWS", Align::kRight}});
  for (const json::value& item : ListOf(plan, "ngrams"))
    if (item.is_object())
      ngrams.Add(
          {TextAt(item.as_object(), "text"), TextAt(item.as_object(), "count"), TextAt(item.as_object(), "rows")});
  std::printf("\n%s of the n-grams sampled from the operator's text read these rows too:\n%s",
              TextAt(plan, "ngrams_found").c_str(), ngrams.Text().c_str());
}

// What commit and rollback take alike.
Status AddDescription(const Arguments& arguments, json::object& body, HttpCall& call) {
  for (const char* name : {"note", "author"})
    if (const auto value = arguments.Value(name)) body[name] = *value;
  ENGRAM_TRY(const auto version, arguments.Integer("if-version", 0, kMaxVersion));
  if (version) body["if_version"] = *version;
  if (const auto key = arguments.Value("idempotency-key")) call.headers.emplace_back("Idempotency-Key", *key);
  return {};
}

Result<HttpCall> CommitCall(const Arguments& arguments) {
  HttpCall call{.method = "POST", .target = "/admin/v1/commits" + ModelQuery(arguments)};
  const auto& words = arguments.words();
  if (words.size() > 1) return InvalidArgument("one FILE at a time");
  ENGRAM_TRY(auto edit, EditOf(arguments));
  if (edit.has_value() != words.empty())
    return InvalidArgument("commit needs either a FILE or an edit by --layer; see engramctl commit --help");
  if (!words.empty() && words[0].ends_with(".safetensors")) {
    for (const char* name : {"note", "author", "if-version", "plan"})
      if (arguments.Has(name))
        return InvalidArgument(std::string("--") + name + ": a safetensors file has it in its __metadata__");
    ENGRAM_TRY(call.body, ReadFile(words[0], kMaxUploadBytes));
    call.content_type = "application/x-safetensors";
    if (const auto key = arguments.Value("idempotency-key")) call.headers.emplace_back("Idempotency-Key", *key);
    return call;
  }
  json::object body;
  if (edit) {
    body["edits"] = json::array{std::move(*edit)};
  } else {
    ENGRAM_TRY(json::value file, ReadJsonFile(words[0]));
    if (file.is_array()) {
      body["edits"] = std::move(file);
    } else if (file.is_object()) {
      body = std::move(file.as_object());
    } else {
      return InvalidArgument(words[0] + " holds neither a list of edits nor an object with \"edits\"");
    }
  }
  ENGRAM_CHECK_OK(AddDescription(arguments, body, call));
  if (arguments.Has("plan")) body["plan"] = true;
  call.body = json::serialize(body);
  return call;
}

int RunCommit(const Arguments& arguments) {
  return AskAndShow(
      arguments, [&] { return CommitCall(arguments); },
      [](const json::object& answer) {
        if (answer.contains("plan")) {
          ShowPlan(answer);
        } else {
          ShowCommitted(answer);
        }
      });
}

int RunRollback(const Arguments& arguments) {
  return AskAndShow(
      arguments,
      [&]() -> Result<HttpCall> {
        if (arguments.words().size() != 1) return InvalidArgument("rollback needs one VERSION");
        ENGRAM_TRY(const std::string version, VersionWord(arguments.words()[0]));
        HttpCall call{.method = "POST", .target = "/admin/v1/rollback" + ModelQuery(arguments)};
        json::object body{{"to", *ParseSigned(version)}};
        ENGRAM_CHECK_OK(AddDescription(arguments, body, call));
        call.body = json::serialize(body);
        return call;
      },
      ShowCommitted);
}

int RunLog(const Arguments& arguments) {
  return AskAndShow(
      arguments,
      [&]() -> Result<HttpCall> {
        if (!arguments.words().empty()) return InvalidArgument("log takes options only");
        ENGRAM_TRY(const auto limit, arguments.Integer("limit", 1, 1000));
        ENGRAM_TRY(const auto before, arguments.Integer("before", 1, kMaxVersion));
        return HttpCall{.target = "/admin/v1/commits?limit=" + std::to_string(limit.value_or(20)) +
                                  (before ? "&before=" + std::to_string(*before) : "") + ModelParameter(arguments)};
      },
      [](const json::object& answer) { ShowCommits(ListOf(answer, "commits")); });
}

void ShowDiff(const json::object& diff) {
  TextTable table({{"LAYER", Align::kRight},
                   {"ROW", Align::kRight},
                   {"NORM", Align::kRight},
                   {"THEN", Align::kRight},
                   {"DISTANCE", Align::kRight},
                   {"VERSION", Align::kRight},
                   {"THEN", Align::kRight}});
  for (const json::value& item : ListOf(diff, "rows")) {
    const json::object* row = item.if_object();
    const json::value* before = row ? row->if_contains("before") : nullptr;
    const json::value* after = row ? row->if_contains("after") : nullptr;
    if (before == nullptr || after == nullptr || !before->is_object() || !after->is_object()) continue;
    const json::array& old_values = ListOf(before->as_object(), "values");
    const json::array& new_values = ListOf(after->as_object(), "values");
    double square = 0;
    for (size_t i = 0; i < std::min(old_values.size(), new_values.size()); ++i) {
      if (!old_values[i].is_number() || !new_values[i].is_number()) continue;
      const double step = new_values[i].to_number<double>() - old_values[i].to_number<double>();
      square += step * step;
    }
    char distance[32];
    std::snprintf(distance, sizeof(distance), "%.4g", std::sqrt(square));
    table.Add({TextAt(*row, "layer"), TextAt(*row, "row"), ShortNumber(before->as_object(), "norm"),
               ShortNumber(after->as_object(), "norm"), distance, TextAt(before->as_object(), "version"),
               TextAt(after->as_object(), "version")});
  }
  std::fputs(table.Text().c_str(), stdout);
  std::printf("%s rows touched from version %s to %s", TextAt(diff, "total").c_str(), TextAt(diff, "from").c_str(),
              TextAt(diff, "to").c_str());
  const std::string next = TextAt(diff, "next_cursor");
  std::printf(next.empty() ? "\n" : "; go on with --cursor %s\n", next.c_str());
}

Result<std::string> DiffTarget(const Arguments& arguments, const std::string& from, const std::string& to) {
  ENGRAM_TRY(const auto limit, arguments.Integer("limit", 1, 1000));
  ENGRAM_TRY(const auto cursor, arguments.Integer("cursor", 0, kMaxVersion));
  return "/admin/v1/diff?from=" + from + "&to=" + to + "&limit=" + std::to_string(limit.value_or(100)) +
         (cursor ? "&cursor=" + std::to_string(*cursor) : "") + ModelParameter(arguments);
}

int RunDiff(const Arguments& arguments) {
  return AskAndShow(
      arguments,
      [&]() -> Result<HttpCall> {
        if (arguments.words().size() != 2) return InvalidArgument("diff needs two versions: FROM TO");
        ENGRAM_TRY(const std::string from, VersionWord(arguments.words()[0]));
        ENGRAM_TRY(const std::string to, VersionWord(arguments.words()[1]));
        ENGRAM_TRY(std::string target, DiffTarget(arguments, from, to));
        return HttpCall{.target = std::move(target)};
      },
      ShowDiff);
}

int RunShow(const Arguments& arguments) {
  if (arguments.words().size() != 1) return Report(InvalidArgument("show needs one VERSION"), true);
  const auto version = VersionWord(arguments.words()[0]);
  if (!version) return Report(version.error(), true);
  std::string parent;
  const int status = AskAndShow(
      arguments,
      [&]() -> Result<HttpCall> { return HttpCall{.target = "/admin/v1/commits/" + *version + ModelQuery(arguments)}; },
      [&](const json::object& commit) {
        parent = TextAt(commit, "parent");
        ShowCommits({commit});
        std::printf("digest %s\n\n", TextAt(commit, "digest").c_str());
      });
  if (status != kDone || parent.empty()) return status;
  return AskAndShow(
      arguments,
      [&]() -> Result<HttpCall> {
        ENGRAM_TRY(std::string target, DiffTarget(arguments, parent, *version));
        return HttpCall{.target = std::move(target)};
      },
      ShowDiff);
}

std::string Help(const char* text) {
  return std::string(text) + "  --json         the daemon's JSON\n" + kOnlineHelp;
}

}  // namespace

Command CommitCommand() {
  static const std::string kHelp = Help(R"(Usage: engramctl commit [OPTION]... FILE|-
       engramctl commit [OPTION]... --layer L (--row R | --ngram TEXT) --values X,X,...

Changes rows of the served model's memory, all at once, durably and at once visible to new requests.

  FILE           JSON: {"edits": [..]} or the list of edits alone, as POST /admin/v1/commits takes them; or, named
                 *.safetensors, tensors layer.L.rows and layer.L.values
  --layer L      model layer of the one edit
  --row R        the row it changes
  --ngram TEXT   or the rows of the text's last tokens, one per head
  --order N      how many tokens that are; default all of TEXT
  --heads H,H    of these heads only
  --values X,X   the row's new values
  --mode MODE    set (the default) or add
  --plan         say what would change and write nothing
  --note TEXT, --author NAME
  --if-version V only if V is the current version
  --idempotency-key KEY  the same commit sent again is not made twice
)");
  return {"commit", "change rows of the memory", kHelp.c_str(), RunCommit,
          OnlineOptions({{"layer", true},
                         {"row", true},
                         {"ngram", true},
                         {"order", true},
                         {"heads", true},
                         {"values", true},
                         {"mode", true},
                         {"plan"},
                         {"note", true},
                         {"author", true},
                         {"if-version", true},
                         {"idempotency-key", true},
                         {"json"}})};
}

Command LogCommand() {
  static const std::string kHelp = Help(
      "Usage: engramctl log [OPTION]...\n\nLists commits, newest first.\n\n"
      "  --limit N      at most so many, default 20\n"
      "  --before V     only those before version V\n");
  return {"log", "the history of the memory", kHelp.c_str(), RunLog,
          OnlineOptions({{"limit", true}, {"before", true}, {"json"}})};
}

Command ShowCommand() {
  static const std::string kHelp = Help(
      "Usage: engramctl show [OPTION]... VERSION\n\nOne commit, and the rows it changed.\n\n"
      "  --limit N      at most so many rows, default 100\n"
      "  --cursor N     go on from there\n");
  return {"show", "one commit and its rows", kHelp.c_str(), RunShow,
          OnlineOptions({{"limit", true}, {"cursor", true}, {"json"}})};
}

Command DiffCommand() {
  static const std::string kHelp = Help(
      "Usage: engramctl diff [OPTION]... FROM TO\n\nThe rows that differ between two versions; version 0 is the base."
      "\n\n  --limit N      at most so many rows, default 100\n"
      "  --cursor N     go on from there\n");
  return {"diff", "rows that differ between two versions", kHelp.c_str(), RunDiff,
          OnlineOptions({{"limit", true}, {"cursor", true}, {"json"}})};
}

Command RollbackCommand() {
  static const std::string kHelp = Help(
      "Usage: engramctl rollback [OPTION]... VERSION\n\nMakes a commit after which every row is as at VERSION; 0 is "
      "the "
      "base.\n\n"
      "  --note TEXT, --author NAME\n"
      "  --if-version V only if V is the current version\n"
      "  --idempotency-key KEY  the same rollback sent again is not made twice\n");
  return {"rollback", "go back to an older version", kHelp.c_str(), RunRollback,
          OnlineOptions({{"note", true}, {"author", true}, {"if-version", true}, {"idempotency-key", true}, {"json"}})};
}

}  // namespace engram
