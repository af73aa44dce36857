// SPDX-License-Identifier: Apache-2.0
// tables, locate and online rows: what the memory holds and where a text looks.
#include <cstdio>
#include <limits>
#include <map>

#include "engramctl/answers.h"
#include "engramctl/edit_options.h"
#include "engramctl/text_table.h"

namespace engram {
namespace {

namespace json = boost::json;
using Align = TextTable::Align;

constexpr int64_t kMaxVersion = std::numeric_limits<int64_t>::max();

int RunTables(const Arguments& arguments) {
  return AskAndShow(
      arguments,
      [&]() -> Result<HttpCall> {
        if (!arguments.words().empty()) return InvalidArgument("tables takes options only");
        return HttpCall{.target = "/admin/v1/tables" + ModelQuery(arguments)};
      },
      [](const json::object& answer) {
        TextTable table({{"LAYER", Align::kRight},
                         {"ROWS", Align::kRight},
                         {"ROW BYTES", Align::kRight},
                         {"FORMAT"},
                         {"COLUMNS", Align::kRight},
                         {"EDITED", Align::kRight},
                         {"IDENTITY"},
                         {"FILE"}});
        for (const json::value& item : ListOf(answer, "tables")) {
          if (!item.is_object()) continue;
          const json::object& layer = item.as_object();
          const std::string path = TextAt(layer, "path");
          table.Add({TextAt(layer, "layer"), TextAt(layer, "rows"), TextAt(layer, "row_bytes"), TextAt(layer, "format"),
                     std::to_string(ListOf(layer, "columns").size()), TextAt(layer, "edited_rows"),
                     TextAt(layer, "identity").substr(0, 12), path.empty() ? "the model's safetensors" : path});
        }
        std::printf("model %s, memory version %s\n%s", TextAt(answer, "model").c_str(),
                    TextAt(answer, "version").c_str(), table.Text().c_str());
      });
}

std::string Place(const json::object& hit) {
  return TextAt(hit, "layer") + "/" + TextAt(hit, "position") + "/" + TextAt(hit, "column");
}

// The marks of rows that are not the base's, by layer, position and column: "*" edited, "+" an overlay's.
std::map<std::string, std::string> MarksOf(const json::object& answer) {
  std::map<std::string, std::string> marks;
  for (const json::value& hit : ListOf(answer, "edited"))
    if (hit.is_object()) marks[Place(hit.as_object())] = "*";
  for (const json::value& hit : ListOf(answer, "overlay_rows"))
    if (hit.is_object()) marks[Place(hit.as_object())] = "+";
  return marks;
}

void ShowLocated(const json::object& answer) {
  const json::value* rows = answer.if_contains("rows");
  const json::value* columns = answer.if_contains("columns");
  if (rows == nullptr || !rows->is_object() || columns == nullptr || !columns->is_object()) return;
  const auto marks = MarksOf(answer);
  const json::array& texts = ListOf(answer, "texts");
  for (const auto& layer : rows->as_object()) {
    const std::string number(layer.key());
    std::vector<TextTable::Column> titles = {{"POS", Align::kRight}, {"TOKEN", Align::kRight}, {"TEXT"}};
    for (const json::value& column : ListOf(columns->as_object(), number)) {
      if (!column.is_object()) continue;
      titles.push_back(
          {"O" + TextAt(column.as_object(), "order") + "/H" + TextAt(column.as_object(), "head"), Align::kRight});
    }
    TextTable table(std::move(titles));
    const json::array& positions = ListOf(rows->as_object(), number);
    for (size_t position = 0; position < positions.size(); ++position) {
      if (!positions[position].is_array()) continue;
      const json::array& tokens = ListOf(answer, "tokens");
      std::vector<std::string> cells = {std::to_string(position),
                                        position < tokens.size() ? json::serialize(tokens[position]) : "",
                                        position < texts.size() && texts[position].is_string()
                                            ? "\"" + std::string(texts[position].as_string()) + "\""
                                            : ""};
      const json::array& ids = positions[position].as_array();
      for (size_t column = 0; column < ids.size(); ++column) {
        const auto mark = marks.find(number + "/" + std::to_string(position) + "/" + std::to_string(column));
        cells.push_back(json::serialize(ids[column]) + (mark == marks.end() ? "" : mark->second));
      }
      table.Add(std::move(cells));
    }
    std::printf("layer %s\n%s\n", number.c_str(), table.Text().c_str());
  }
  for (const json::value& hit : ListOf(answer, "guarded"))
    if (hit.is_object())
      std::printf("position %s: the whole memory comes from overlay %s\n", TextAt(hit.as_object(), "position").c_str(),
                  TextAt(hit.as_object(), "overlay").c_str());
  std::printf("memory version %s; * edited, + an overlay's\n", TextAt(answer, "version").c_str());
}

int RunLocate(const Arguments& arguments) {
  return AskAndShow(
      arguments,
      [&]() -> Result<HttpCall> {
        json::object body;
        if (const auto tokens = arguments.Value("tokens")) {
          ENGRAM_TRY(const json::array list, NumberList("tokens", *tokens));
          json::array ids;
          for (const json::value& id : list) ids.emplace_back(static_cast<int64_t>(id.as_double()));
          body["tokens"] = std::move(ids);
        } else {
          ENGRAM_TRY(body["text"], TextOf(arguments));
        }
        if (arguments.Has("no-special-tokens")) body["add_special_tokens"] = false;
        ENGRAM_TRY(const auto as_of, arguments.Integer("as-of", 0, kMaxVersion));
        if (as_of) body["as_of"] = *as_of;
        json::array overlays;
        for (const std::string& name : arguments.All("overlay")) overlays.emplace_back(name);
        if (!overlays.empty()) body["overlays"] = std::move(overlays);
        return HttpCall{
            .method = "POST", .target = "/admin/v1/locate" + ModelQuery(arguments), .body = json::serialize(body)};
      },
      ShowLocated);
}

std::string Help(const char* text) {
  return std::string(text) + "  --json         the daemon's JSON\n" + kOnlineHelp;
}

}  // namespace

int RunOnlineRows(const Arguments& arguments) {
  return AskAndShow(
      arguments,
      [&]() -> Result<HttpCall> {
        const auto ids = arguments.Value("ids");
        ENGRAM_TRY(const auto layer, arguments.Integer("layer", 0, std::numeric_limits<int32_t>::max()));
        ENGRAM_TRY(const auto as_of, arguments.Integer("as-of", 0, kMaxVersion));
        if (!layer || !ids || !arguments.words().empty())
          return InvalidArgument("rows of a daemon need --layer L and --ids ID,ID,...");
        return HttpCall{.target = "/admin/v1/rows?layer=" + std::to_string(*layer) + "&ids=" + PercentEncode(*ids) +
                                  (as_of ? "&as_of=" + std::to_string(*as_of) : "") + ModelParameter(arguments)};
      },
      [](const json::object& answer) {
        TextTable table(
            {{"ROW", Align::kRight}, {"EDITED"}, {"VERSION", Align::kRight}, {"NORM", Align::kRight}, {"VALUES"}});
        for (const json::value& item : ListOf(answer, "rows")) {
          if (!item.is_object()) continue;
          const json::object& row = item.as_object();
          constexpr size_t kShown = 6;
          const json::array& all = ListOf(row, "values");
          std::string values;
          for (size_t i = 0; i < std::min(all.size(), kShown); ++i) {
            char text[32];
            std::snprintf(text, sizeof(text), "%s%.4g", i == 0 ? "" : " ", all[i].to_number<double>());
            values += text;
          }
          if (all.size() > kShown) values += " .. (" + std::to_string(all.size()) + ")";
          table.Add({TextAt(row, "row"), TextAt(row, "edited") == "true" ? "yes" : "no", TextAt(row, "version"),
                     ShortNumber(row, "norm"), values});
        }
        std::printf("layer %s, memory version %s\n%s", TextAt(answer, "layer").c_str(),
                    TextAt(answer, "version").c_str(), table.Text().c_str());
      });
}

Command TablesCommand() {
  static const std::string kHelp =
      Help("Usage: engramctl tables [OPTION]...\n\nThe model's Engram tables: one per layer.\n\n");
  return {"tables", "the Engram tables of a model", kHelp.c_str(), RunTables, OnlineOptions({{"json"}})};
}

Command LocateCommand() {
  static const std::string kHelp = Help(
      "Usage: engramctl locate [OPTION]... TEXT|-\n\nShows where a text looks: its tokens, and for every position the "
      "table rows of its n-grams, a column per order\nand head.\n\n"
      "  --tokens ID,ID instead of a text\n"
      "  --overlay NAME as seen with this overlay; may be repeated, later ones win\n"
      "  --as-of V      as seen at version V\n"
      "  --no-special-tokens  leave out the tokens that the tokenizer adds to a prompt\n");
  return {"locate", "the table rows a text addresses", kHelp.c_str(), RunLocate,
          OnlineOptions({{"tokens", true}, {"overlay", true}, {"as-of", true}, {"no-special-tokens"}, {"json"}})};
}

}  // namespace engram
