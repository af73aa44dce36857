// SPDX-License-Identifier: Apache-2.0
// tiers: where rows live, what reading them costs, and which of them are read.
#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <cstdio>
#include <limits>

#include "engramctl/answers.h"
#include "engramctl/commands.h"
#include "engramctl/json_answer.h"
#include "engramctl/text_table.h"

namespace engram {
namespace {

namespace json = boost::json;

void PrintTiers(const json::object& answer) {
  using Align = TextTable::Align;
  TextTable tiers({{"MODEL"},
                   {"LAYER", Align::kRight},
                   {"TIER"},
                   {"KIND"},
                   {"CAPACITY", Align::kRight},
                   {"RESIDENT", Align::kRight},
                   {"ROWS", Align::kRight},
                   {"HITS", Align::kRight},
                   {"ERRORS", Align::kRight},
                   {"P50", Align::kRight},
                   {"P99", Align::kRight}});
  for (const json::value& entry : ListOf(answer, "tiers")) {
    const json::object* tier = entry.if_object();
    if (tier == nullptr) continue;
    const double rows = NumberOf(*tier, "rows");
    const json::object& latency = ObjectOf(*tier, "read_latency");
    tiers.Add({ShowMember(*tier, "model"), ShowMember(*tier, "table"), ShowMember(*tier, "name"),
               ShowMember(*tier, "kind"),
               NumberOf(*tier, "capacity_bytes") == 0 ? "-" : ShowBytes(*tier, "capacity_bytes"),
               ShowBytes(*tier, "resident_bytes"), ShowMember(*tier, "rows"),
               rows == 0 ? "-" : Percent(NumberOf(*tier, "hits") / rows), ShowMember(*tier, "errors"),
               ShowNumber(latency, "p50_us", "%.0f us"), ShowNumber(latency, "p99_us", "%.0f us")});
  }
  std::fputs(tiers.Text().c_str(), stdout);
  TextTable layers({{"MODEL"},
                    {"LAYER", Align::kRight},
                    {"TABLE ROWS", Align::kRight},
                    {"BATCHES", Align::kRight},
                    {"ROWS READ", Align::kRight},
                    {"STALL", Align::kRight},
                    {"LEAD", Align::kRight},
                    {"TIMEOUTS", Align::kRight}});
  for (const json::value& entry : ListOf(answer, "layers")) {
    const json::object* layer = entry.if_object();
    if (layer == nullptr) continue;
    layers.Add({ShowMember(*layer, "model"), ShowMember(*layer, "layer"), ShowMember(*layer, "num_rows"),
                ShowMember(*layer, "batches"), ShowMember(*layer, "rows_read"),
                ShowNumber(*layer, "stall_seconds", "%.3f s"), ShowNumber(*layer, "lead_seconds", "%.3f s"),
                ShowMember(*layer, "timeouts")});
  }
  std::printf("\n%s", layers.Text().c_str());
  const json::object& warm_up = ObjectOf(answer, "warm_up");
  std::printf("\nwarm-up: %s", Printable(ShowMember(warm_up, "state")).c_str());
  if (NumberOf(warm_up, "rows_total") > 0)
    std::printf(", %s of %s rows", ShowMember(warm_up, "rows_done").c_str(), ShowMember(warm_up, "rows_total").c_str());
  std::printf("\n");
}

// 256 ranges as one line of shades, the hottest of which is the darkest.
std::string HeatLine(const json::array& ranges) {
  constexpr const char* kShades[] = {"·", "░", "▒", "▓", "█"};
  double most = 0;
  for (const json::value& range : ranges)
    if (range.is_object()) most = std::max(most, NumberOf(range.get_object(), "reads"));
  std::string line;
  for (const json::value& range : ranges) {
    const double reads = range.is_object() ? NumberOf(range.get_object(), "reads") : 0;
    // In the logarithm: a range with a tenth of the reads is still warm.
    const double heat = reads <= 0 ? 0 : 1 + 3 * std::log1p(reads) / std::log1p(most);
    line += kShades[std::clamp(static_cast<int>(std::lround(heat)), 0, 4)];
  }
  return line;
}

int PrintHeat(const HttpClient& client, const Arguments& arguments) {
  const auto layer = arguments.Integer("layer", 0, std::numeric_limits<int32_t>::max());
  if (!layer) return Report(layer.error(), true);
  if (!*layer) return Report(InvalidArgument("tiers --heat needs --layer L"), true);
  const std::string target = "/admin/v1/tiers/heat?layer=" + std::to_string(**layer) + ModelParameter(arguments);
  const auto heat = JsonAnswer(client.Call(target));
  if (!heat) return Report(heat.error());
  if (arguments.Has("json")) {
    std::printf("%s\n", json::serialize(*heat).c_str());
    return kDone;
  }
  std::printf("layer %s: %s rows, %s reads sampled (%s of all)\n", ShowMember(*heat, "layer").c_str(),
              ShowMember(*heat, "rows").c_str(), ShowMember(*heat, "sampled_reads").c_str(),
              Percent(NumberOf(*heat, "sample_rate")).c_str());
  std::printf("first row to last: %s\n", HeatLine(ListOf(*heat, "ranges")).c_str());
  TextTable curve({{"HOTTEST ROWS", TextTable::Align::kRight}, {"SHARE OF READS", TextTable::Align::kRight}});
  for (const json::value& point : ListOf(*heat, "curve"))
    if (const json::object* object = point.if_object())
      curve.Add({Percent(NumberOf(*object, "rows_share"), 6), Percent(NumberOf(*object, "reads_share"))});
  if (!curve.empty()) std::fputs(curve.Text().c_str(), stdout);
  return kDone;
}

int Tiers(const Arguments& arguments) {
  if (!arguments.words().empty())
    return Report(InvalidArgument("tiers takes no words; see engramctl tiers --help"), true);
  const auto client = ClientOf(arguments);
  if (!client) return Report(client.error(), true);
  if (arguments.Has("heat")) return PrintHeat(*client, arguments);
  const auto answer = JsonAnswer(client->Call("/admin/v1/tiers"));
  if (!answer) return Report(answer.error());
  if (arguments.Has("json")) {
    std::printf("%s\n", json::serialize(*answer).c_str());
  } else {
    PrintTiers(*answer);
  }
  return kDone;
}

}  // namespace

Command TiersCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl tiers [OPTION]...\n       engramctl tiers --heat --layer L [OPTION]...\n\n"
          "Shows where the rows of each table live and what reading them costs; with --heat which\nrows of a table are "
          "read: a line of 256 ranges, dark where reads are many, and which share\nof the reads goes to which share of "
          "the rows, the most read ones first.\n\n"
          "  --heat         which rows are read\n"
          "  --layer L      of which layer's table\n"
          "  --json         the answer as JSON\n") +
      kOnlineHelp;
  return {"tiers", "where rows live, what reading them costs, which are read", kHelp.c_str(), Tiers,
          OnlineOptions({{"json"}, {"heat"}, {"layer", true}})};
}

}  // namespace engram
