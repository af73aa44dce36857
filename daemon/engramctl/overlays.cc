// SPDX-License-Identifier: Apache-2.0
// overlay: named edits that requests attach.
#include <cstdio>

#include "engramctl/answers.h"
#include "engramctl/edit_options.h"
#include "engramctl/text_table.h"

namespace engram {
namespace {

namespace json = boost::json;
using Align = TextTable::Align;

std::string TargetOf(const std::string& name) {
  return "/admin/v1/overlays/" + PercentEncode(name);
}

void ShowOverlays(const json::array& overlays) {
  TextTable table({{"NAME"},
                   {"ROWS", Align::kRight},
                   {"GUARDED", Align::kRight},
                   {"BYTES", Align::kRight},
                   {"CREATED"},
                   {"EXPIRES"},
                   {"DIGEST"}});
  for (const json::value& item : overlays) {
    if (!item.is_object()) continue;
    const json::object& overlay = item.as_object();
    const std::string expires = TimeAt(overlay, "expires_unix_ms");
    table.Add({TextAt(overlay, "name"), TextAt(overlay, "rows"), TextAt(overlay, "guarded"), TextAt(overlay, "bytes"),
               TimeAt(overlay, "created_unix_ms"), expires.empty() ? "never" : expires,
               TextAt(overlay, "digest").substr(0, 12)});
  }
  std::fputs(table.empty() ? "no overlays\n" : table.Text().c_str(), stdout);
}

void ShowReceipt(const json::object& receipt) {
  std::printf("deleted %s at %s\n", TextAt(receipt, "name").c_str(), TimeAt(receipt, "deleted_unix_ms").c_str());
  std::printf("payload %s (%s rows, %s guarded, %s bytes)\n", TextAt(receipt, "digest").c_str(),
              TextAt(receipt, "rows").c_str(), TextAt(receipt, "guarded").c_str(), TextAt(receipt, "bytes").c_str());
  std::printf("erased from the journal: %s; requests that still hold it: %s\n",
              TextAt(receipt, "journal_erased") == "true" ? "yes" : "no", TextAt(receipt, "still_attached").c_str());
}

Result<HttpCall> PutCall(const Arguments& arguments) {
  const auto& words = arguments.words();
  if (words.size() != 3) return InvalidArgument("overlay put needs NAME and FILE");
  ENGRAM_TRY(json::value file, ReadJsonFile(words[2]));
  json::object body;
  if (file.is_array()) {
    body["entries"] = std::move(file);
  } else if (file.is_object()) {
    body = std::move(file.as_object());
  } else {
    return InvalidArgument(words[2] + " holds neither a list of entries nor an object with \"entries\"");
  }
  ENGRAM_TRY(const auto ttl, arguments.Number("ttl", 0, 1e9));
  if (ttl) body["ttl_s"] = *ttl;
  return HttpCall{.method = "PUT", .target = TargetOf(words[1]) + ModelQuery(arguments), .body = json::serialize(body)};
}

Result<HttpCall> NamedCall(const Arguments& arguments, const char* method, const std::string& query) {
  if (arguments.words().size() != 2) return InvalidArgument("overlay " + arguments.words()[0] + " needs one NAME");
  return HttpCall{.method = method, .target = TargetOf(arguments.words()[1]) + query};
}

int RunOverlay(const Arguments& arguments) {
  const std::string what = arguments.words().empty() ? "" : arguments.words()[0];
  if (what == "put")
    return AskAndShow(
        arguments, [&] { return PutCall(arguments); }, [](const json::object& answer) { ShowOverlays({answer}); });
  if (what == "get")
    return AskAndShow(
        arguments,
        [&] {
          // People see the summary; entries are for --json.
          const std::string limit = arguments.Has("json") ? "?limit=10000" : "?limit=0";
          return NamedCall(arguments, "GET", limit + ModelParameter(arguments));
        },
        [](const json::object& answer) { ShowOverlays({answer}); });
  if (what == "delete")
    return AskAndShow(
        arguments, [&] { return NamedCall(arguments, "DELETE", ModelQuery(arguments)); }, ShowReceipt);
  if (what == "list" && arguments.words().size() == 1)
    return AskAndShow(
        arguments,
        [&]() -> Result<HttpCall> {
          return HttpCall{.target = "/admin/v1/overlays?limit=10000" + ModelParameter(arguments)};
        },
        [](const json::object& answer) { ShowOverlays(ListOf(answer, "overlays")); });
  return Report(InvalidArgument("overlay needs put, get, list or delete; see engramctl overlay --help"), true);
}

}  // namespace

Command OverlayCommand() {
  static const std::string kHelp = std::string(
                                       "Usage: engramctl overlay put [OPTION]... NAME FILE|-\n"
                                       "       engramctl overlay get|delete [OPTION]... NAME\n"
                                       "       engramctl overlay list [OPTION]...\n\n"
                                       "Named edits that only those requests see which attach them (\"engram\": "
                                       "{\"overlays\": [NAME]}). delete prints "
                                       "a\nreceipt of what was erased.\n\n"
                                       "  FILE           JSON: {\"entries\": [..]} or the list of entries alone, as "
                                       "PUT /admin/v1/overlays/NAME takes "
                                       "them\n"
                                       "  --ttl SECONDS  forget it after so long\n"
                                       "  --json         the daemon's JSON\n") +
                                   kOnlineHelp;
  return {"overlay", "edits for some requests only", kHelp.c_str(), RunOverlay,
          OnlineOptions({{"ttl", true}, {"json"}})};
}

}  // namespace engram
