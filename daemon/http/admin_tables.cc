// SPDX-License-Identifier: Apache-2.0
// The tables of the model served, and the state of its journal.
#include <engram/packed_table.h>

#include "core/json_text.h"
#include "http/admin_memory.h"
#include "http/deferred_reply.h"
#include "http/endpoints.h"
#include "http/memory_json.h"
#include "memory/base_tables.h"
#include "memory/model_memory.h"

namespace engram {
namespace {

// Multipliers exceed what JSON readers keep of a number, so they are strings.
void AppendAddressing(std::string& out, const Geometry& geometry, const LayerGeometry& layer) {
  out += ",\"multipliers\":[";
  for (const int64_t multiplier : layer.multipliers) {
    if (out.back() != '[') out += ',';
    out += "\"" + std::to_string(multiplier) + "\"";
  }
  out += "],\"columns\":";
  AppendColumns(out, geometry, layer);
}

Result<Response> GetTables(const LiveMemoryDirectory& memories, const Request& request) {
  QueryFields query(request);
  auto target = FindMemory(memories, query);
  ENGRAM_CHECK_OK(query.Finish());
  if (!target) return std::move(target).error();
  const ModelMemory& memory = *target->model.memory;
  const Geometry& geometry = memory.geometry();
  ENGRAM_TRY(const MemoryView view, memory.View());
  std::string out = "{\"model\":" + JsonQuote(target->model.name) + ",\"version\":" + std::to_string(view.version()) +
                    ",\"base_version\":" + std::to_string(target->live->status().base_version) +
                    ",\"variant\":" + JsonQuote(memory.config().variant) +
                    ",\"compressed_vocab_size\":" + std::to_string(memory.compressed_map().compressed_vocab_size()) +
                    ",\"tables\":[";
  for (const LayerGeometry& layer : geometry.layers) {
    ENGRAM_TRY(const uint32_t index, target->LayerIndex(layer.layer));
    if (out.back() != '[') out += ',';
    out += "{\"layer\":" + std::to_string(layer.layer) + ",\"rows\":" + std::to_string(layer.num_rows) +
           ",\"row_bytes\":" + std::to_string(memory.row_bytes()) +
           ",\"head_dim\":" + std::to_string(memory.config().head_dim) + ",\"format\":\"" +
           sdk::PackedFormatName(memory.row_format()) +
           "\",\"bytes\":" + std::to_string(layer.num_rows * memory.row_bytes()) + ",\"identity\":\"" +
           view.base->identities()[index] + "\",\"path\":";
    const auto path = view.base->packed_tables().find(layer.layer);
    out += path == view.base->packed_tables().end() ? "null" : JsonQuote(path->second.string());
    const RowMap* edits = view.edits == nullptr ? nullptr : &view.edits->layers[index];
    out += ",\"edited_rows\":" + std::to_string(edits == nullptr ? 0 : edits->size()) +
           ",\"edited_bytes\":" + std::to_string(edits == nullptr ? 0 : edits->resident_bytes());
    AppendAddressing(out, geometry, layer);
    out += '}';
  }
  out += "]}";
  return JsonTextResponse(200, std::move(out));
}

// Of any model: one without Engram memory has a journal too.
Result<Response> GetJournal(const LiveMemoryDirectory& memories, const Request& request) {
  QueryFields query(request);
  auto live = memories.Find(query.String("model"));
  ENGRAM_CHECK_OK(query.Finish());
  if (!live) return std::move(live).error();
  std::string out;
  AppendStatus(out, (*live)->status());
  return JsonTextResponse(200, std::move(out));
}

Reply VerifyJournal(const LiveMemoryDirectory& memories, const Request& request) {
  QueryFields query(request);
  auto live = memories.Find(query.String("model"));
  if (Status status = query.Finish(); !status) return ErrorResponse(status.error());
  if (!live) return ErrorResponse(live.error());
  DeferredReply reply = MakeDeferredReply();
  (*live)->Verify({}, AnswerWith<JournalFindings>(reply.send, [](const JournalFindings& found) {
                    std::string out;
                    AppendFindings(out, found);
                    return JsonTextResponse(200, std::move(out));
                  }));
  return std::move(reply.source);
}

}  // namespace

void AddTableEndpoints(Router& router, const EndpointEnvironment& environment) {
  if (environment.admin.memories == nullptr) return;
  const LiveMemoryDirectory& memories = *environment.admin.memories;
  router.Add("GET", "/admin/v1/tables", Scope::kRead, [&memories](const Request& request) {
    return Reply(Respond([&] { return GetTables(memories, request); }));
  });
  router.Add("GET", "/admin/v1/journal", Scope::kRead, [&memories](const Request& request) {
    return Reply(Respond([&] { return GetJournal(memories, request); }));
  });
  router.Add("GET", "/admin/v1/journal/verify", Scope::kRead,
             [&memories](const Request& request) { return VerifyJournal(memories, request); });
}

}  // namespace engram
