// SPDX-License-Identifier: Apache-2.0
// gates: how much of the memory the model let in, and for which n-grams.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "engramctl/answers.h"
#include "engramctl/text_table.h"

namespace engram {
namespace {

namespace json = boost::json;
using Align = TextTable::Align;

// The most first, as many as there are when the width is not known.
constexpr size_t kHistogramWidths[] = {50, 25, 10};

// `count` columns of heights, the highest of which is full. What is not nothing shows.
std::string Histogram(const json::array& counts, size_t columns) {
  constexpr const char* kHeights[] = {"·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::vector<double> sums(columns);
  for (size_t i = 0; i < counts.size(); ++i)
    if (counts[i].is_number()) sums[i * columns / counts.size()] += counts[i].to_number<double>();
  const double most = *std::max_element(sums.begin(), sums.end());
  std::string text;
  for (const double sum : sums) text += kHeights[sum <= 0 ? 0 : std::clamp(static_cast<int>(1 + 8 * sum / most), 1, 8)];
  return text;
}

TextTable GateTable(const json::object& answer, const char* span, size_t histogram_width) {
  std::string scale = "0" + std::string(histogram_width - 2, ' ') + "1";
  if (histogram_width > 10) scale.replace(histogram_width / 2 - 2, 4, "gate");
  TextTable table({{"LAYER", Align::kRight},
                   {"STREAM", Align::kRight},
                   {"TOKENS", Align::kRight},
                   {"MEAN", Align::kRight},
                   {"P05", Align::kRight},
                   {"P50", Align::kRight},
                   {"P95", Align::kRight},
                   {"P99", Align::kRight},
                   {scale}});
  for (const json::value& item : ListOf(answer, "layers")) {
    if (!item.is_object()) continue;
    const json::object& layer = item.as_object();
    const json::array& streams = ListOf(layer, span);
    for (size_t s = 0; s < streams.size(); ++s) {
      if (!streams[s].is_object()) continue;
      const json::object& stream = streams[s].as_object();
      std::vector<std::string> cells = {s == 0 ? ShowMember(layer, "layer") : "", std::to_string(s),
                                        ShowMember(stream, "count")};
      const bool any = NumberOf(stream, "count") > 0;
      for (const char* key : {"mean", "p05", "p50", "p95", "p99"})
        cells.push_back(any ? ShowNumber(stream, key, "%.3f") : "-");
      cells.push_back(Histogram(ListOf(stream, "histogram"), histogram_width));
      table.Add(std::move(cells));
    }
  }
  return table;
}

void PrintGates(const json::object& answer, const char* span) {
  const size_t width = TerminalWidth();
  for (const size_t columns : kHistogramWidths) {
    const TextTable table = GateTable(answer, span, columns);
    if (table.Width() > width && columns != kHistogramWidths[std::size(kHistogramWidths) - 1]) continue;
    std::fputs(table.Text(width).c_str(), stdout);
    return;
  }
}

void PrintOrders(const json::object& answer) {
  std::vector<TextTable::Column> titles = {{"LAYER", Align::kRight}, {"SAMPLES", Align::kRight}};
  const json::array& layers = ListOf(answer, "layers");
  if (layers.empty() || !layers[0].is_object()) return;
  for (const json::value& order : ListOf(layers[0].as_object(), "orders"))
    if (order.is_object()) titles.push_back({"ORDER " + ShowMember(order.as_object(), "order"), Align::kRight});
  TextTable table(std::move(titles));
  for (const json::value& item : layers) {
    if (!item.is_object()) continue;
    const json::object& layer = item.as_object();
    std::vector<std::string> cells = {ShowMember(layer, "layer"), ShowMember(layer, "order_samples")};
    for (const json::value& order : ListOf(layer, "orders"))
      if (order.is_object()) cells.push_back(Percent(NumberOf(order.as_object(), "share")));
    table.Add(std::move(cells));
  }
  std::printf("\nPart of the memory that rows of each n-gram order hold:\n%s", table.Text(TerminalWidth()).c_str());
}

// Its text, or its hash where no text is kept.
std::string NameOf(const json::object& ngram) {
  return ngram.contains("text") ? "\"" + TextAt(ngram, "text") + "\"" : TextAt(ngram, "hash");
}

void PrintTop(const json::object& answer) {
  TextTable by_gate({{"LAYER", Align::kRight},
                     {"ORDER", Align::kRight},
                     {"COUNT", Align::kRight},
                     {"MEAN GATE", Align::kRight},
                     {"SUM", Align::kRight},
                     {"ERROR", Align::kRight},
                     {"N-GRAM", Align::kLeft, true}});
  for (const json::value& item : ListOf(answer, "layers")) {
    if (!item.is_object()) continue;
    for (const json::value& entry : ListOf(item.as_object(), "top_ngrams")) {
      if (!entry.is_object()) continue;
      const json::object& ngram = entry.as_object();
      by_gate.Add({ShowMember(item.as_object(), "layer"), ShowMember(ngram, "order"), ShowMember(ngram, "count"),
                   ShowNumber(ngram, "mean", "%.3f"), ShowNumber(ngram, "mass", "%.1f"),
                   ShowNumber(ngram, "error", "%.1f"), NameOf(ngram)});
    }
  }
  TextTable by_count(
      {{"ORDER", Align::kRight}, {"COUNT", Align::kRight}, {"ERROR", Align::kRight}, {"N-GRAM", Align::kLeft, true}});
  for (const json::value& entry : ListOf(answer, "top_ngrams_by_count")) {
    if (!entry.is_object()) continue;
    const json::object& ngram = entry.as_object();
    by_count.Add({ShowMember(ngram, "order"), ShowMember(ngram, "count"), ShowMember(ngram, "error"), NameOf(ngram)});
  }
  if (!by_gate.empty()) std::printf("\nN-grams with the largest gates:\n%s", by_gate.Text(TerminalWidth()).c_str());
  if (!by_count.empty()) std::printf("\nN-grams seen most:\n%s", by_count.Text(TerminalWidth()).c_str());
}

std::string GroupText(const json::object& group) {
  if (const std::string key = TextAt(group, "key"); !key.empty()) return "key " + key;
  const std::string overlay = TextAt(group, "overlay");
  return overlay.empty() ? "all requests" : "overlay " + overlay;
}

void ShowGates(const json::object& answer, bool window) {
  std::printf("%s, %s: %s tokens since %s", Printable(TextAt(answer, "model")).c_str(),
              Printable(GroupText(ObjectOf(answer, "group"))).c_str(), ShowMember(answer, "tokens").c_str(),
              TimeAt(answer, "since_unix_ms").c_str());
  if (window) std::printf("; here the last %s s", ShowMember(answer, "window_s").c_str());
  std::puts(TextAt(answer, "counting") == "false" ? "; PAUSED" : "");
  PrintGates(answer, window ? "window" : "streams");
  PrintOrders(answer);
  PrintTop(answer);
  std::string groups;
  for (const json::value& group : ListOf(answer, "groups"))
    if (group.is_object()) groups += (groups.empty() ? "" : ", ") + GroupText(group.as_object());
  if (!groups.empty()) std::printf("\nCounted by themselves, too: %s\n", Printable(groups).c_str());
}

// "key" or "overlay" and its name; two empty texts for neither.
std::pair<const char*, std::string> GroupOf(const Arguments& arguments) {
  if (const auto overlay = arguments.Value("overlay")) return {"overlay", *overlay};
  if (const auto key = arguments.Value("of")) return {"key", *key};
  return {"", ""};
}

Result<HttpCall> GatesCall(const Arguments& arguments) {
  ENGRAM_TRY(const auto top, arguments.Integer("top", 0, 1000));
  std::string target = "/admin/v1/gates?top=" + std::to_string(top.value_or(10)) + ModelParameter(arguments);
  const auto [kind, name] = GroupOf(arguments);
  if (*kind != '\0') target += "&" + std::string(kind) + "=" + PercentEncode(name);
  return HttpCall{.target = target};
}

bool IsChange(const std::string& word) {
  return word == "reset" || word == "pause" || word == "resume" || word == "track" || word == "untrack";
}

// A POST or DELETE with what it is about.
Result<HttpCall> ChangeCall(const Arguments& arguments, const std::string& what) {
  json::object body;
  if (const auto model = arguments.Value("model")) body["model"] = *model;
  const auto [kind, name] = GroupOf(arguments);
  const bool of_group = what == "track" || what == "untrack";
  if (!of_group && *kind != '\0') return InvalidArgument("gates " + what + " is of everything that is counted");
  if (of_group && *kind == '\0') return InvalidArgument("gates " + what + " needs --of KEY or --overlay NAME");
  if (*kind != '\0') body[kind] = name;
  return HttpCall{.method = what == "untrack" ? "DELETE" : "POST",
                  .target = "/admin/v1/gates/" + (of_group ? "groups" : what),
                  .body = json::serialize(body)};
}

int Gates(const Arguments& arguments) {
  const auto& words = arguments.words();
  if (arguments.Has("of") && arguments.Has("overlay"))
    return Report(InvalidArgument("give --of or --overlay, not both"), true);
  if (words.empty()) {
    return AskAndShow(
        arguments, [&] { return GatesCall(arguments); },
        [&](const json::object& answer) { ShowGates(answer, arguments.Has("window")); });
  }
  if (words.size() > 1 || !IsChange(words[0]))
    return Report(InvalidArgument("gates takes reset, pause, resume, track or untrack; see engramctl gates --help"),
                  true);
  return AskAndShow(
      arguments, [&] { return ChangeCall(arguments, words[0]); },
      [&](const json::object&) {
        const auto [kind, name] = GroupOf(arguments);
        if (words[0] == "reset") {
          std::puts("counting begins anew");
        } else if (words[0] == "pause" || words[0] == "resume") {
          std::puts(words[0] == "pause" ? "nothing is counted until engramctl gates resume"
                                        : "gates are counted again");
        } else {
          std::printf("%s %s is %s\n", kind, Printable(name).c_str(),
                      words[0] == "track" ? "counted by itself from now on" : "not counted by itself any more");
        }
      });
}

}  // namespace

Command GatesCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl gates [OPTION]...\n"
          "       engramctl gates reset|pause|resume|track|untrack [OPTION]...\n\n"
          "Shows how much of its memory the model let in: by layer and stream the gates' mean,\n"
          "quantiles and histogram, how much of the memory is of which n-gram order, and the\n"
          "n-grams with the largest gates and the largest counts (at most ERROR too large).\n"
          "reset begins to count anew; pause stops counting and keeps what there is; track\n"
          "counts a key or an overlay by itself, too.\n\n"
          "  --window       the gates of the last minutes (gates.window), not since the start\n"
          "  --top N        so many n-grams of each kind, default 10\n"
          "  --of KEY       of the requests of this API key, by name, once it is tracked\n"
          "  --overlay NAME  of the requests with this overlay, likewise\n"
          "  --json         the daemon's JSON\n") +
      kOnlineHelp;
  return {"gates", "how much of the memory the model lets in", kHelp.c_str(), Gates,
          OnlineOptions({{"window"}, {"top", true}, {"of", true}, {"overlay", true}, {"json"}})};
}

}  // namespace engram
