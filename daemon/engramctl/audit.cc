// SPDX-License-Identifier: Apache-2.0
// audit: who changed what, and who was refused.
#include <cstdio>

#include "engramctl/answers.h"
#include "engramctl/commands.h"
#include "engramctl/text_table.h"

namespace engram {
namespace {

namespace json = boost::json;

Result<HttpCall> AuditCall(const Arguments& arguments) {
  if (!arguments.words().empty()) return InvalidArgument("audit takes no words");
  ENGRAM_TRY(const auto limit, arguments.Integer("limit", 1, 1000));
  ENGRAM_TRY(const auto before, arguments.Integer("before", 0, INT64_MAX));
  std::string target = "/admin/v1/audit?limit=" + std::to_string(limit.value_or(50));
  if (before) target += "&before=" + std::to_string(*before);
  if (const auto key = arguments.Value("of")) target += "&key=" + PercentEncode(*key);
  if (const auto action = arguments.Value("action")) target += "&action=" + PercentEncode(*action);
  return HttpCall{.target = target};
}

void Show(const json::object& answer) {
  using Align = TextTable::Align;
  TextTable table(
      {{"ID", Align::kRight}, {"TIME"}, {"KEY"}, {"ADDRESS"}, {"ACTION"}, {"TARGET"}, {"STATUS"}, {"DETAIL"}});
  for (const json::value& item : ListOf(answer, "entries")) {
    if (!item.is_object()) continue;
    const json::object& entry = item.as_object();
    const std::string key = TextAt(ObjectOf(entry, "key"), "name");
    table.Add({TextAt(entry, "id"), TimeAt(entry, "time", 1), key.empty() ? "-" : key, TextAt(entry, "address"),
               TextAt(entry, "action"), TextAt(entry, "target"), TextAt(entry, "status"), TextAt(entry, "detail")});
  }
  std::fputs(table.empty() ? "no entries\n" : table.Text().c_str(), stdout);
  const std::string next = TextAt(answer, "next_before");
  if (!next.empty()) std::printf("older ones: --before %s\n", next.c_str());
}

}  // namespace

Command AuditCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl audit [OPTION]...\n\nPrints who changed what, and failed authentications, newest first.\n\n"
          "  --limit N      so many entries, default 50\n"
          "  --before ID    those older than this one\n"
          "  --of KEY       those of this key, by id or name\n"
          "  --action TEXT  those whose action has TEXT in it, such as commits or \"DELETE /admin/v1/overlays\"\n"
          "  --json         the daemon's JSON\n") +
      kOnlineHelp;
  return {"audit", "who changed what", kHelp.c_str(),
          [](const Arguments& arguments) {
            return AskAndShow(
                arguments, [&] { return AuditCall(arguments); }, Show);
          },
          OnlineOptions({{"limit", true}, {"before", true}, {"of", true}, {"action", true}, {"json"}})};
}

}  // namespace engram
