// SPDX-License-Identifier: Apache-2.0
// inspect: what memory does at each token of a prompt.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <vector>

#include "engramctl/answers.h"
#include "engramctl/text_table.h"

namespace engram {
namespace {

namespace json = boost::json;
using Align = TextTable::Align;

constexpr int64_t kMaxVersion = std::numeric_limits<int64_t>::max();
// Gates above the first are worth a look, above the second the memory speaks.
constexpr double kWarmGate = 0.3;
constexpr double kHotGate = 0.7;
// Narrower ones have no room for the column that takes most of it.
constexpr size_t kWideTerminal = 100;

std::string Quoted(const json::object& object) {
  return "\"" + TextAt(object, "text") + "\"";
}

// The numbers of `key` at `layer`, a stream each.
std::vector<double> ByStream(const json::object& position, const char* key, const std::string& layer) {
  std::vector<double> values;
  for (const json::value& value : ListOf(ObjectOf(position, key), layer))
    values.push_back(value.is_number() ? value.to_number<double>() : 0);
  return values;
}

double Norm(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

std::string GatesAt(const json::object& position, const std::string& layer) {
  std::string text;
  for (const double gate : ByStream(position, "gates", layer)) {
    char number[40];
    std::snprintf(number, sizeof(number), "%.2f", gate);
    text += (text.empty() ? "" : " ") + std::string(number);
  }
  return text.empty() ? "-" : text;
}

Style StyleOfGates(const json::object& position, const std::string& layer) {
  const std::vector<double> gates = ByStream(position, "gates", layer);
  const double most = gates.empty() ? 0 : *std::max_element(gates.begin(), gates.end());
  return most >= kHotGate ? Style::kGood : most >= kWarmGate ? Style::kPlain : Style::kDim;
}

// What memory added to the streams, as a part of what was there.
std::string AddedAt(const json::object& position, const std::string& layer) {
  const double before = Norm(ByStream(position, "stream_norms", layer));
  return before > 0 ? Percent(Norm(ByStream(position, "memory_norms", layer)) / before, 0) : "-";
}

// "dram", "v3" for a commit's, or an overlay's name.
std::string PlaceOf(const json::object& row) {
  const std::string version = TextAt(row, "version");
  return !version.empty() ? "v" + version : ShowMember(row, "name");
}

// How many rows came from where.
std::string PlacesOf(const json::object& position) {
  if (position.contains("guarded"))
    return "guarded, " + ShowMember(ObjectOf(position, "guarded"), "suffix_tokens") + " tokens";
  std::map<std::string, size_t> counts;
  for (const auto& layer : ObjectOf(position, "rows"))
    if (layer.value().is_array())
      for (const json::value& row : layer.value().get_array())
        if (row.is_object()) ++counts[PlaceOf(row.get_object())];
  std::string text;
  for (const auto& [place, count] : counts) text += (text.empty() ? "" : ", ") + place + " " + std::to_string(count);
  return text.empty() ? "-" : text;
}

// The likeliest token that the lens shows at `layer`; nothing where it shows none.
const json::object* TopAt(const json::array& lens, size_t layer) {
  if (layer >= lens.size() || !lens[layer].is_object()) return nullptr;
  const json::array& top = ListOf(lens[layer].get_object(), "top");
  return top.empty() ? nullptr : top[0].if_object();
}

std::string NextOf(const json::array& lens) {
  const json::object* top = lens.empty() ? nullptr : TopAt(lens, lens.size() - 1);
  return top == nullptr ? "-" : Quoted(*top) + " " + Percent(NumberOf(*top, "p"), 0);
}

// From which layer on the lens shows which token.
std::string LensOf(const json::array& lens) {
  std::string text;
  std::string shown;
  for (size_t layer = 0; layer < lens.size(); ++layer) {
    const json::object* top = TopAt(lens, layer);
    if (top == nullptr || Quoted(*top) == shown) continue;
    shown = Quoted(*top);
    text += (text.empty() ? "" : " > ") + std::to_string(layer) + " " + shown;
  }
  return text;
}

std::vector<std::string> LayersOf(const json::object& answer) {
  std::vector<std::string> layers;
  for (const json::value& layer : ListOf(answer, "engram_layers")) layers.push_back(json::serialize(layer));
  return layers;
}

void ShowAll(const json::object& answer, bool compare) {
  const std::vector<std::string> layers = LayersOf(answer);
  std::vector<TextTable::Column> titles = {{"POS", Align::kRight}, {"TOKEN", Align::kLeft, true}};
  for (const std::string& layer : layers) {
    titles.push_back({"GATE L" + layer, Align::kRight});
    titles.push_back({"ADDS", Align::kRight});
  }
  if (!layers.empty()) titles.push_back({"ROWS FROM", Align::kLeft, true});
  titles.push_back({"NEXT", Align::kLeft, true});
  if (compare) titles.push_back({"WITHOUT", Align::kLeft, true});
  const bool by_layer = TerminalWidth() >= kWideTerminal;
  if (by_layer) titles.push_back({"BY LAYER", Align::kLeft, true});
  TextTable table(std::move(titles));
  for (const json::value& item : ListOf(answer, "positions")) {
    if (!item.is_object()) continue;
    const json::object& position = item.get_object();
    std::vector<std::string> cells = {ShowMember(position, "position"), Quoted(position)};
    std::vector<Style> styles = {Style::kDim, Style::kPlain};
    for (const std::string& layer : layers) {
      cells.push_back(GatesAt(position, layer));
      cells.push_back(AddedAt(position, layer));
      styles.push_back(StyleOfGates(position, layer));
      styles.push_back(Style::kPlain);
    }
    if (!layers.empty()) cells.push_back(PlacesOf(position));
    if (!layers.empty()) styles.push_back(Style::kPlain);
    const json::array& lens = ListOf(position, "lens");
    cells.push_back(NextOf(lens));
    styles.push_back(Style::kBold);
    if (compare) {
      const json::array& off = ListOf(ObjectOf(position, "off"), "lens");
      const json::object* with = lens.empty() ? nullptr : TopAt(lens, lens.size() - 1);
      const json::object* without = off.empty() ? nullptr : TopAt(off, off.size() - 1);
      cells.push_back(NextOf(off));
      const bool differs = with != nullptr && without != nullptr && Quoted(*with) != Quoted(*without);
      styles.push_back(differs ? Style::kWarn : Style::kDim);
    }
    if (by_layer) cells.push_back(LensOf(lens));
    table.Add(std::move(cells), std::move(styles));
  }
  std::printf("%s, memory version %s\n%s", Printable(TextAt(answer, "model")).c_str(),
              ShowMember(answer, "memory_version").c_str(), table.Text(TerminalWidth()).c_str());
}

// Every token the lens shows at a layer, likeliest first.
std::string TopsOf(const json::object& layer) {
  std::string text;
  for (const json::value& item : ListOf(layer, "top"))
    if (const json::object* top = item.if_object())
      text += (text.empty() ? "" : "  ") + Quoted(*top) + " " + Percent(NumberOf(*top, "p"));
  return text;
}

void ShowLens(const char* title, const json::array& lens) {
  TextTable table({{"LAYER", Align::kRight}, {"KL", Align::kRight}, {"NEXT TOKENS", Align::kLeft, true}});
  for (const json::value& item : lens)
    if (const json::object* layer = item.if_object())
      table.Add({ShowMember(*layer, "layer"), ShowNumber(*layer, "kl", "%.3f"), TopsOf(*layer)});
  std::printf("\n%s\n%s", title, table.Text(TerminalWidth()).c_str());
}

void ShowOne(const json::object& answer, const json::object& position) {
  std::printf("%s, memory version %s, position %s: %s\n", Printable(TextAt(answer, "model")).c_str(),
              ShowMember(answer, "memory_version").c_str(), ShowMember(position, "position").c_str(),
              Printable(Quoted(position)).c_str());
  TextTable rows({{"LAYER", Align::kRight},
                  {"GATE", Align::kRight},
                  {"ADDS", Align::kRight},
                  {"ORDER", Align::kRight},
                  {"HEAD", Align::kRight},
                  {"ROW", Align::kRight},
                  {"FROM"}});
  for (const std::string& layer : LayersOf(answer)) {
    bool first = true;
    for (const json::value& item : ListOf(ObjectOf(position, "rows"), layer)) {
      const json::object* row = item.if_object();
      if (row == nullptr) continue;
      rows.Add({first ? layer : "", first ? GatesAt(position, layer) : "", first ? AddedAt(position, layer) : "",
                ShowMember(*row, "order"), ShowMember(*row, "head"), ShowMember(*row, "row"), PlaceOf(*row)},
               {Style::kPlain, StyleOfGates(position, layer)});
      first = false;
    }
  }
  std::fputs(rows.Text(TerminalWidth()).c_str(), stdout);
  if (position.contains("guarded")) std::printf("guarded: an overlay's entry stands for these rows\n");
  ShowLens("What each layer would say next:", ListOf(position, "lens"));
  if (position.contains("off")) ShowLens("Without memory:", ListOf(ObjectOf(position, "off"), "lens"));
}

Result<HttpCall> InspectCall(const Arguments& arguments) {
  ENGRAM_TRY(const auto at, arguments.Integer("at", 0, std::numeric_limits<int32_t>::max()));
  ENGRAM_TRY(const auto top, arguments.Integer("top", 1, 20));
  ENGRAM_TRY(const auto as_of, arguments.Integer("as-of", 0, kMaxVersion));
  json::object body{{"top", top.value_or(at ? 5 : 1)}, {"compare", arguments.Has("off")}};
  if (const auto model = arguments.Value("model")) body["model"] = *model;
  if (arguments.Has("no-special-tokens")) body["add_special_tokens"] = false;
  json::object memory;
  if (as_of) memory["as_of"] = *as_of;
  if (arguments.Has("overlay")) {
    json::array& overlays = (memory["overlays"] = json::array()).as_array();
    for (const std::string& name : arguments.All("overlay")) overlays.emplace_back(name);
  }
  if (!memory.empty()) body["engram"] = std::move(memory);
  ENGRAM_TRY(body["prompt"], TextOf(arguments));
  return HttpCall{.method = "POST", .target = "/admin/v1/inspect", .body = json::serialize(body)};
}

int Inspect(const Arguments& arguments) {
  bool found = true;
  const int status = AskAndShow(
      arguments, [&] { return InspectCall(arguments); },
      [&](const json::object& answer) {
        const auto at = arguments.Integer("at", 0, std::numeric_limits<int32_t>::max());
        if (!at || !*at) return ShowAll(answer, arguments.Has("off"));
        const json::array& positions = ListOf(answer, "positions");
        const auto position = static_cast<size_t>(**at);
        found = position < positions.size() && positions[position].is_object();
        if (found) ShowOne(answer, positions[position].get_object());
      });
  if (!found) return Report(NotFound("the prompt has no position " + *arguments.Value("at")));
  return status;
}

}  // namespace

Command InspectCommand() {
  static const std::string kHelp =
      std::string(
          "Usage: engramctl inspect [OPTION]... PROMPT|-\n\n"
          "Runs PROMPT (- or none: standard input) and shows for each token what memory did: by layer the\n"
          "gate of each stream and the norm of what was added as a part of the stream's, where the rows came\n"
          "from (a tier, vN for a commit's, an overlay), the likeliest next token, and from which layer on\n"
          "which token would come next (logit lens; left out on a narrow terminal).\n\n"
          "  --off             also what comes next without memory\n"
          "  --at POSITION     one token in full: its rows, and the lens at each layer\n"
          "  --top N           so many tokens of the lens, default 1, with --at 5; --json has all of them\n"
          "  --as-of VERSION   with the memory as it was at that version\n"
          "  --overlay NAME    with this overlay; may be repeated, later ones win\n"
          "  --no-special-tokens  do not add the tokens a model puts before a text\n"
          "  --json            the daemon's JSON\n") +
      kOnlineHelp;
  return {
      "inspect", "what memory does at each token of a prompt", kHelp.c_str(), Inspect,
      OnlineOptions(
          {{"off"}, {"at", true}, {"top", true}, {"as-of", true}, {"overlay", true}, {"no-special-tokens"}, {"json"}})};
}

}  // namespace engram
