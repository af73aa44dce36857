// SPDX-License-Identifier: Apache-2.0
// Overlays by name.
#include <map>

#include "access/access_store.h"
#include "core/clock.h"
#include "core/json_text.h"
#include "http/admin_memory.h"
#include "http/deferred_reply.h"
#include "http/endpoints.h"
#include "http/json_body.h"
#include "http/json_out.h"
#include "http/memory_json.h"
#include "http/overlay_body.h"
#include "memory/model_memory.h"

namespace engram {
namespace {

constexpr std::string_view kOverlays = "/admin/v1/overlays/";
constexpr size_t kMaxEntries = 65'536;
constexpr uint64_t kMaxPage = 10'000;

std::string InfoJson(const OverlayInfo& info) {
  std::string out = "{";
  AppendOverlayInfo(out, info);
  out += '}';
  return out;
}

// By overlay: the names of the valid keys whose requests have it attached.
std::map<std::string, std::string, std::less<>> KeysByOverlay(const AccessStore* access) {
  std::map<std::string, std::string, std::less<>> names;
  if (access == nullptr) return names;
  const int64_t now_ms = UnixMs();
  for (const auto& key : access->keys()->keys) {
    if (!key->valid_at(now_ms)) continue;
    for (const std::string& overlay : key->overlays) {
      std::string& list = names[overlay];
      list += (list.empty() ? "" : ",") + JsonQuote(key->name);
    }
  }
  return names;
}

Reply PutOverlay(const LiveMemoryDirectory& memories, const Request& request) {
  auto body = ParseJsonObject(request.body);
  if (!body) return ErrorResponse(body.error());
  JsonFields fields(*body);
  auto target = FindMemory(memories, request, fields);
  if (!target) return ErrorResponse(target.error());
  auto overlay = ReadOverlayFields(fields, target->tokens(), kMaxEntries);
  if (!overlay) return ErrorResponse(overlay.error());
  overlay->name = PathRest(request, kOverlays);
  overlay->actor = request.client;
  // 201 for a new one; of two requests at once both may say so.
  const int status = target->live->FindOverlay(overlay->name) ? 200 : 201;
  DeferredReply reply = MakeDeferredReply();
  target->live->PutOverlay(std::move(*overlay), AnswerWith<OverlayInfo>(reply.send, [status](const OverlayInfo& info) {
                             return JsonTextResponse(status, InfoJson(info));
                           }));
  return std::move(reply.source);
}

Reply DeleteOverlay(const LiveMemoryDirectory& memories, const Request& request) {
  QueryFields query(request);
  auto target = FindMemory(memories, query);
  if (Status status = query.Finish(); !status) return ErrorResponse(status.error());
  if (!target) return ErrorResponse(target.error());
  DeferredReply reply = MakeDeferredReply();
  target->live->DeleteOverlay(std::string(PathRest(request, kOverlays)), request.client,
                              AnswerWith<OverlayReceipt>(reply.send, [](const OverlayReceipt& receipt) {
                                std::string out;
                                AppendReceipt(out, receipt);
                                return JsonTextResponse(200, std::move(out));
                              }));
  return std::move(reply.source);
}

Result<Response> ListOverlays(const LiveMemoryDirectory& memories, const AccessStore* access, const Request& request) {
  QueryFields query(request);
  const uint64_t limit = query.Int("limit", 1000, 1, kMaxPage);
  const std::string after = query.String("after");
  auto target = FindMemory(memories, query);
  ENGRAM_CHECK_OK(query.Finish());
  if (!target) return std::move(target).error();
  const auto keys = KeysByOverlay(access);
  std::string out = "{\"overlays\":[";
  uint64_t shown = 0;
  std::string last;
  bool more = false;
  for (const OverlayInfo& info : target->live->ListOverlays()) {
    if (info.name <= after) continue;
    more = shown == limit;
    if (more) break;
    if (shown++ > 0) out += ',';
    out += '{';
    AppendOverlayInfo(out, info);
    const auto names = keys.find(info.name);
    out += ",\"keys\":[" + (names == keys.end() ? std::string() : names->second) + "]}";
    last = info.name;
  }
  out += "],\"next_after\":" + (more ? JsonQuote(last) : "null") + "}";
  return JsonTextResponse(200, std::move(out));
}

void AppendDecoded(std::string& out, const RowCodec& codec, std::span<const uint8_t> rows) {
  std::vector<float> values(rows.size() / codec.row_bytes() * codec.head_dim());
  for (size_t i = 0; i < rows.size() / codec.row_bytes(); ++i)
    codec.Decode(rows.data() + i * codec.row_bytes(), values.data() + i * codec.head_dim());
  AppendFloats(out, values);
}

// Rows come before guarded entries; `cursor` counts both.
Result<Response> GetOverlay(const LiveMemoryDirectory& memories, const Request& request) {
  QueryFields query(request);
  const uint64_t limit = query.Int("limit", 1000, 0, kMaxPage);
  const uint64_t cursor = query.Int("cursor", 0, 0, INT64_MAX);
  auto target = FindMemory(memories, query);
  ENGRAM_CHECK_OK(query.Finish());
  if (!target) return std::move(target).error();
  ENGRAM_TRY(const LiveMemory::OverlayEntry found, target->live->FindOverlay(PathRest(request, kOverlays)));
  const OverlayContent& content = found.overlay->content();
  const ModelMemory& memory = *target->model.memory;
  const RowCodec& codec = memory.codec();
  const uint64_t total = content.rows.size() + content.guarded.size();
  const uint64_t end = cursor + std::min(limit, total - std::min(cursor, total));
  std::string out = "{";
  AppendOverlayInfo(out, found.info);
  out += ",\"entries\":[";
  for (uint64_t i = cursor; i < end; ++i) {
    if (i > cursor) out += ',';
    if (i < content.rows.size()) {
      const OverlayContent::Row& row = content.rows[i];
      out += "{\"layer\":" + std::to_string(memory.layers()[row.layer]) + ",\"row\":" + std::to_string(row.row) +
             ",\"values\":";
      AppendDecoded(out, codec, row.bytes);
      out += '}';
      continue;
    }
    const OverlayContent::Guarded& guarded = content.guarded[i - content.rows.size()];
    out += "{\"suffix\":{\"compressed\":";
    AppendInts(out, guarded.suffix);
    out += "},\"memory\":{";
    for (const auto& [layer, bytes] : guarded.memory) {
      if (out.back() != '{') out += ',';
      out += "\"" + std::to_string(memory.layers()[layer]) + "\":";
      AppendDecoded(out, codec, bytes);
    }
    out += "}}";
  }
  out += "],\"next_cursor\":" + (end < total ? JsonQuote(std::to_string(end)) : "null") + "}";
  return JsonTextResponse(200, std::move(out));
}

}  // namespace

void AddOverlayEndpoints(Router& router, const EndpointEnvironment& environment) {
  if (environment.admin.memories == nullptr) return;
  const LiveMemoryDirectory& memories = *environment.admin.memories;
  const AccessStore* access = environment.admin.access;
  router.Add("GET", "/admin/v1/overlays", Scope::kRead, [&memories, access](const Request& request) {
    return Reply(Respond([&] { return ListOverlays(memories, access, request); }));
  });
  router.Add(
      "GET", "/admin/v1/overlays/*", Scope::kRead,
      [&memories](const Request& request) { return Reply(Respond([&] { return GetOverlay(memories, request); })); },
      {.blocks = true});
  router.Add("PUT", "/admin/v1/overlays/*", Scope::kEdit,
             [&memories](const Request& request) { return PutOverlay(memories, request); });
  router.Add("DELETE", "/admin/v1/overlays/*", Scope::kEdit,
             [&memories](const Request& request) { return DeleteOverlay(memories, request); });
}

}  // namespace engram
