// SPDX-License-Identifier: Apache-2.0
// Rows by id, and the rows a text addresses.
#include <algorithm>

#include "core/json_text.h"
#include "http/admin_memory.h"
#include "http/endpoints.h"
#include "http/json_body.h"
#include "http/json_out.h"
#include "http/memory_json.h"
#include "memory/model_memory.h"

namespace engram {
namespace {

constexpr size_t kMaxRows = 10'000;
// 4096 tokens of the largest published model make an answer of 2 MB.
constexpr size_t kMaxLocateTokens = 4096;
constexpr size_t kMaxOverlays = 64;
constexpr uint64_t kMaxVersion = INT64_MAX;

Result<Response> GetRows(const LiveMemoryDirectory& memories, const Request& request) {
  QueryFields query(request);
  const auto layer = static_cast<uint32_t>(query.RequiredInt("layer", 0, INT32_MAX));
  const std::vector<uint64_t> ids = query.Ints("ids", kMaxRows);
  if (ids.empty()) query.Fail("ids", "is required: row ids such as 7,8");
  const auto as_of = query.OptionalInt("as_of", 0, kMaxVersion);
  auto target = FindMemory(memories, query);
  ENGRAM_CHECK_OK(query.Finish());
  if (!target) return std::move(target).error();
  ENGRAM_TRY(const RowsReport report, target->live->ReadRows(layer, ids, as_of));
  std::string out;
  AppendRows(out, layer, report);
  return JsonTextResponse(200, std::move(out));
}

struct LocateRequest {
  MemoryTarget target;
  std::vector<int32_t> tokens;
  MemoryView view;
};

Result<std::vector<std::string>> ReadOverlayNames(JsonFields& fields) {
  std::vector<std::string> names;
  const boost::json::value* list = fields.Value("overlays");
  if (list == nullptr) return names;
  if (!list->is_array())
    return InvalidArgument(std::string("overlays must be a list of names, not ") + JsonKindName(*list), "overlays");
  if (list->get_array().size() > kMaxOverlays)
    return InvalidArgument("overlays must have at most " + std::to_string(kMaxOverlays) + " names", "overlays");
  for (const boost::json::value& item : list->get_array()) {
    const std::string path = "overlays[" + std::to_string(names.size()) + "]";
    if (!item.is_string()) return InvalidArgument(path + " must be a string, not " + JsonKindName(item), path);
    names.emplace_back(item.get_string());
  }
  return names;
}

Result<LocateRequest> ReadLocate(const LiveMemoryDirectory& memories, const Request& request) {
  ENGRAM_TRY(const boost::json::object body, ParseJsonObject(request.body));
  JsonFields fields(body);
  LocateRequest locate;
  ENGRAM_TRY(locate.target, FindMemory(memories, request, fields));
  const bool add_special_tokens = fields.Bool("add_special_tokens", true);
  const auto as_of = fields.OptionalInt("as_of", 0, INT64_MAX);
  ENGRAM_TRY(const std::vector<std::string> overlays, ReadOverlayNames(fields));
  ENGRAM_TRY(locate.tokens, locate.target.tokens().Read(fields, add_special_tokens));
  if (locate.tokens.size() > kMaxLocateTokens) {
    const std::string what = std::to_string(locate.tokens.size()) + " tokens are more than the " +
                             std::to_string(kMaxLocateTokens) + " that are located at once";
    return InvalidArgument(what, fields.Value("tokens") != nullptr ? "tokens" : "text");
  }
  std::optional<uint64_t> version;
  if (as_of) version = static_cast<uint64_t>(*as_of);
  auto view = locate.target.model.memory->View(version, overlays);
  if (!view) {
    // Named there as generations name them, "engram.overlays"; here they are the body's own.
    Error error = std::move(view).error();
    if (error.field.starts_with("engram.")) error.field.erase(0, std::string_view("engram.").size());
    return error;
  }
  locate.view = std::move(*view);
  return locate;
}

// One layer's part of the answer, position after position.
struct LocatedLayer {
  uint32_t number = 0;
  uint32_t index = 0;  // among the Engram layers, ascending
  std::string rows;    // [[per column] per position]
};

// The rows that are not the base's, as lists of objects without their brackets.
struct Hits {
  std::string edited;
  std::string overlays;
  std::string guarded;
};

void AppendPlace(std::string& out, uint32_t layer, size_t position, size_t column, uint64_t row) {
  out += out.empty() ? "{\"layer\":" : ",{\"layer\":";
  out += std::to_string(layer) + ",\"position\":" + std::to_string(position) + ",\"column\":" + std::to_string(column) +
         ",\"row\":" + std::to_string(row);
}

void AppendRowHits(const MemoryView& view, const LocatedLayer& layer, size_t position, std::span<const uint64_t> rows,
                   Hits& hits) {
  for (size_t column = 0; column < rows.size(); ++column) {
    if (view.edits != nullptr) {
      const RowMap::Entry entry = view.edits->layers[layer.index].Find(rows[column]);
      // Version 0: a row of an older base, kept because the present one has another there.
      if (entry.bytes != nullptr && entry.version != 0) {
        AppendPlace(hits.edited, layer.number, position, column, rows[column]);
        hits.edited += ",\"version\":" + std::to_string(entry.version) + "}";
      }
    }
    for (auto overlay = view.overlays.rbegin(); overlay != view.overlays.rend(); ++overlay) {
      if ((*overlay)->FindRow(layer.index, rows[column]) == nullptr) continue;
      AppendPlace(hits.overlays, layer.number, position, column, rows[column]);
      hits.overlays += ",\"overlay\":" + JsonQuote((*overlay)->name()) + "}";
      break;  // later overlays win
    }
  }
}

void AppendGuardedHit(const LocateRequest& locate, size_t position, std::span<const int32_t> tail, Hits& hits) {
  const OverlayContent::Guarded* entry = locate.view.FindGuarded(tail);
  if (entry == nullptr) return;
  std::string name;
  for (const auto& overlay : locate.view.overlays)
    if (overlay->FindGuarded(tail) == entry) name = overlay->name();
  hits.guarded += (hits.guarded.empty() ? "{\"position\":" : ",{\"position\":") + std::to_string(position) +
                  ",\"overlay\":" + JsonQuote(name) + ",\"suffix\":";
  AppendInts(hits.guarded, entry->suffix);
  hits.guarded += ",\"layers\":[";
  for (const auto& [index, memory] : entry->memory) {
    if (hits.guarded.back() != '[') hits.guarded += ',';
    hits.guarded += std::to_string(locate.target.model.memory->layers()[index]);
  }
  hits.guarded += "]}";
}

Result<Response> PostLocate(const LiveMemoryDirectory& memories, const Request& request) {
  ENGRAM_TRY(const LocateRequest locate, ReadLocate(memories, request));
  const ModelMemory& memory = *locate.target.model.memory;
  const Geometry& geometry = memory.geometry();
  const size_t columns = geometry.num_columns;
  std::vector<LocatedLayer> layers;
  for (const LayerGeometry& layer : geometry.layers) {
    ENGRAM_TRY(const uint32_t index, locate.target.LayerIndex(layer.layer));
    layers.push_back({layer.layer, index, {}});
  }

  RowAddresser addresser(geometry);
  SuffixTail tail;
  std::vector<uint64_t> rows(layers.size() * columns);  // [layers][columns]
  std::vector<int32_t> compressed;
  Hits hits;
  for (size_t position = 0; position < locate.tokens.size(); ++position) {
    const int32_t id = memory.compressed_map()[locate.tokens[position]];
    compressed.push_back(id);
    addresser.Append(id, /*masked=*/false, rows);
    tail.Push(id);
    for (size_t l = 0; l < layers.size(); ++l) {
      const std::span<const uint64_t> own = std::span(rows).subspan(l * columns, columns);
      std::string& out = layers[l].rows;
      for (size_t column = 0; column < columns; ++column) {
        out += column > 0 ? "," : out.empty() ? "[" : ",[";
        AppendUnsigned(out, own[column]);
      }
      out += ']';
      AppendRowHits(locate.view, layers[l], position, own, hits);
    }
    AppendGuardedHit(locate, position, tail.ids(), hits);
  }

  std::string out = "{\"tokens\":";
  AppendInts(out, locate.tokens);
  out += ",\"compressed\":";
  AppendInts(out, compressed);
  out += ",\"rows\":{";
  for (const LocatedLayer& layer : layers) {
    if (out.back() != '{') out += ',';
    out += "\"" + std::to_string(layer.number) + "\":[" + layer.rows + "]";
  }
  out += "},\"texts\":[";
  const Tokenizer* tokenizer = locate.target.model.tokenizer.get();
  for (const int32_t token : locate.tokens) {
    if (out.back() != '[') out += ',';
    out += tokenizer == nullptr ? "\"\"" : JsonQuote(tokenizer->Decode(std::span(&token, 1), false));
  }
  out += "],\"columns\":{";
  for (const LayerGeometry& layer : geometry.layers) {
    if (out.back() != '{') out += ',';
    out += "\"" + std::to_string(layer.layer) + "\":";
    AppendColumns(out, geometry, layer);
  }
  out += "},\"version\":";
  AppendUnsigned(out, locate.view.version());
  out +=
      ",\"edited\":[" + hits.edited + "],\"overlay_rows\":[" + hits.overlays + "],\"guarded\":[" + hits.guarded + "]}";
  return JsonTextResponse(200, std::move(out));
}

}  // namespace

void AddRowEndpoints(Router& router, const EndpointEnvironment& environment) {
  if (environment.admin.memories == nullptr) return;
  const LiveMemoryDirectory& memories = *environment.admin.memories;
  router.Add("GET", "/admin/v1/rows", Scope::kRead,
             [&memories](const Request& request) { return Reply(Respond([&] { return GetRows(memories, request); })); },
             {.blocks = true});
  router.Add("POST", "/admin/v1/locate", Scope::kRead, [&memories](const Request& request) {
    return Reply(Respond([&] { return PostLocate(memories, request); }));
  });
}

}  // namespace engram
