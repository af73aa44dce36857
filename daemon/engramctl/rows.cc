// SPDX-License-Identifier: Apache-2.0
// rows: which table rows a text's n-grams address, from a geometry file alone.
#include <boost/json.hpp>
#include <cstdio>
#include <limits>

#include "core/file.h"
#include "engramctl/commands.h"
#include "ngram/geometry.h"
#include "ngram/row_addresser.h"

namespace engram {
namespace {

namespace json = boost::json;

struct Addressing {
  EngramConfig config;
  uint32_t compressed_vocab_size = 0;
  int32_t pad_compressed_id = 0;
};

// A non-negative integer at `key` of either object; empty where neither has it.
Result<std::optional<int64_t>> IntegerAt(const json::object& inner, const json::object& outer, const char* key) {
  const json::value* value = inner.if_contains(key);
  if (!value) value = outer.if_contains(key);
  if (!value) return std::optional<int64_t>();
  boost::system::error_code error;
  const int64_t number = value->to_number<int64_t>(error);
  if (error || number < 0 || number > std::numeric_limits<int32_t>::max())
    return InvalidArgument(std::string(key) + " is not a whole number in range");
  return std::optional<int64_t>(number);
}

// `text`: an `engram` object, or an object that has one (a config.json).
Result<Addressing> ReadGeometry(const std::string& text, std::optional<int64_t> pad) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error) return InvalidArgument("not JSON: " + error.message());
  const json::object* outer = value.if_object();
  if (!outer) return InvalidArgument("not a JSON object");
  const json::object* inner = outer;
  if (const json::value* engram = outer->if_contains("engram")) {
    inner = engram->if_object();
    if (!inner) return InvalidArgument("engram is not an object");
  }
  Addressing addressing;
  ENGRAM_TRY(addressing.config, EngramConfig::FromJson(*inner));
  ENGRAM_TRY(const auto size, IntegerAt(*inner, *outer, "compressed_vocab_size"));
  if (!size || *size == 0) return InvalidArgument("compressed_vocab_size is missing: every multiplier depends on it");
  addressing.compressed_vocab_size = static_cast<uint32_t>(*size);
  ENGRAM_TRY(const auto stated_pad, IntegerAt(*inner, *outer, "pad_compressed_id"));
  addressing.pad_compressed_id =
      static_cast<int32_t>(pad.value_or(stated_pad.value_or(addressing.config.pad_token_id)));
  if (addressing.pad_compressed_id < 0 || addressing.pad_compressed_id > *size)
    return InvalidArgument("the pad's compressed id " + std::to_string(addressing.pad_compressed_id) +
                           " is above compressed_vocab_size " + std::to_string(*size) +
                           ": give it with --pad or pad_compressed_id");
  return addressing;
}

Result<std::vector<int32_t>> ParseIds(const std::string& text, uint32_t size) {
  std::vector<int32_t> ids;
  for (size_t start = 0; start < text.size();) {
    const size_t comma = std::min(text.find(',', start), text.size());
    const std::string word = text.substr(start, comma - start);
    const auto id = ParseSigned(word);
    if (!id || *id < 0 || *id >= size)
      return InvalidArgument("--compressed-ids: \"" + word + "\" is not an id from 0 to " + std::to_string(size - 1));
    ids.push_back(static_cast<int32_t>(*id));
    start = comma + 1;
  }
  if (ids.empty() || text.ends_with(',')) return InvalidArgument("--compressed-ids needs ids such as 1,2,3");
  return ids;
}

int Rows(const Arguments& arguments) {
  if (arguments.Has("layer") || arguments.Has("ids")) return RunOnlineRows(arguments);
  const auto file = arguments.Value("geometry");
  const auto id_text = arguments.Value("compressed-ids");
  if (!file || !id_text || !arguments.words().empty())
    return Report(InvalidArgument("rows needs --layer and --ids, or --geometry FILE and --compressed-ids ID,ID,..."),
                  true);
  const auto pad = arguments.Integer("pad", 0, std::numeric_limits<int32_t>::max());
  if (!pad) return Report(pad.error(), true);
  const auto text = ReadFile(*file, 64u << 20);
  if (!text) return Report(text.error());
  auto addressing = ReadGeometry(*text, *pad);
  if (!addressing) return Report(std::move(addressing).error().At(*file));
  const auto ids = ParseIds(*id_text, addressing->compressed_vocab_size);
  if (!ids) return Report(ids.error(), true);
  auto geometry =
      Geometry::Create(addressing->config, addressing->compressed_vocab_size, addressing->pad_compressed_id);
  if (!geometry) return Report(std::move(geometry).error().At(*file));

  RowAddresser addresser(*geometry);
  const size_t columns = geometry->num_columns;
  std::vector<uint64_t> rows(geometry->layers.size() * columns);  // [layers][columns]
  std::vector<std::string> lists(geometry->layers.size());
  for (const int32_t id : *ids) {
    addresser.Append(id, false, rows);
    for (size_t layer = 0; layer < lists.size(); ++layer) {
      lists[layer] += lists[layer].empty() ? "[" : ", [";
      for (size_t column = 0; column < columns; ++column)
        lists[layer] += (column ? ", " : "") + std::to_string(rows[layer * columns + column]);
      lists[layer] += "]";
    }
  }
  if (arguments.Has("json")) {
    std::string out;
    for (size_t layer = 0; layer < lists.size(); ++layer)
      out += (layer ? ", \"" : "\"") + std::to_string(geometry->layers[layer].layer) + "\": [" + lists[layer] + "]";
    std::printf("{\"rows\": {%s}}\n", out.c_str());
  } else {
    for (size_t layer = 0; layer < lists.size(); ++layer)
      std::printf("layer %u (%llu rows): %s\n", geometry->layers[layer].layer,
                  static_cast<unsigned long long>(geometry->layers[layer].num_rows), lists[layer].c_str());
  }
  return kDone;
}

}  // namespace

Command RowsCommand() {
  return {"rows", "rows of the memory; or those that compressed token ids address (offline)",
          R"(Usage: engramctl rows --layer L --ids ID,ID,... [--as-of V] [--json] [--url URL] [--key KEY] [--model NAME]
       engramctl rows --geometry FILE --compressed-ids ID,ID,... [--pad ID] [--json]

The first form prints rows of the served model: whether and by which version they were edited, norm and values.

  --layer L             model layer
  --ids IDS             row ids
  --as-of V             as they were at version V

The second form prints, for every Engram layer and position, the table rows its n-grams address: column (order-2)*heads + head.
Needs no daemon.

  --geometry FILE       a config.json with an "engram" object, or that object alone; compressed_vocab_size must be there
  --compressed-ids IDS  the sequence, as compressed ids (not token ids)
  --pad ID              compressed id of the pad token; default pad_compressed_id in FILE, else its pad_token_id
  --json                {"rows": {"LAYER": [[row per column] per position]}}
)",
          Rows,
          OnlineOptions({{"geometry", true},
                         {"compressed-ids", true},
                         {"pad", true},
                         {"layer", true},
                         {"ids", true},
                         {"as-of", true},
                         {"json"}})};
}

}  // namespace engram
