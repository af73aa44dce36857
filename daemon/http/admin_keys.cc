// SPDX-License-Identifier: Apache-2.0
// Keys and the audit log.
#include "access/access_store.h"
#include "access/key_json.h"
#include "http/admin_json.h"
#include "http/admin_memory.h"
#include "http/endpoints.h"
#include "http/json_fields.h"
#include "http/query_fields.h"

namespace engram {
namespace {

namespace json = boost::json;

constexpr std::string_view kKeys = "/admin/v1/keys/";
constexpr double kMaxRate = 1e12;
constexpr int64_t kMaxExpirySeconds = int64_t{100} * 366 * 86400;
constexpr uint64_t kMaxAuditPage = 1000;

json::object EntryJson(const AuditEntry& entry) {
  json::value key = nullptr;
  if (!entry.key_id.empty()) key = {{"id", entry.key_id}, {"name", entry.key_name}};
  return {{"id", entry.id},         {"time", SecondsOrNull(entry.unix_ms)},
          {"key", std::move(key)},  {"address", entry.address},
          {"action", entry.action}, {"target", entry.target},
          {"status", entry.status}, {"detail", entry.detail}};
}

std::vector<std::string> ReadNames(JsonFields& fields, const char* name) {
  std::vector<std::string> names;
  const json::value* value = fields.Value(name);
  if (value == nullptr) return names;
  if (!value->is_array()) {
    fields.Fail(name, std::string("must be a list of names, not ") + JsonKindName(*value));
    return names;
  }
  for (const json::value& item : value->get_array()) {
    if (item.is_string()) {
      names.emplace_back(item.get_string());
    } else {
      fields.Fail(std::string(name) + "[" + std::to_string(names.size()) + "]",
                  std::string("must be a string, not ") + JsonKindName(item));
      break;
    }
  }
  return names;
}

Result<NewKey> ReadNewKey(JsonFields& fields) {
  NewKey key;
  key.name = fields.String("name", "");
  if (key.name.empty()) fields.Fail("name", "is required");
  if (fields.Value("scopes") == nullptr) fields.Fail("scopes", "is required");
  key.scopes = ReadNames(fields, "scopes");
  key.overlays = ReadNames(fields, "overlays");
  if (const json::object* object = fields.Object("limits")) {
    JsonFields limits(*object, "limits");
    key.requests_per_s = limits.Number("requests_per_second", 0, 0, kMaxRate, true);
    key.tokens_per_s = limits.Number("tokens_per_second", 0, 0, kMaxRate, true);
    if (Status status = limits.Finish(); !status) fields.Fail(std::move(status).error());
  }
  if (const auto seconds = fields.OptionalInt("expires_in", 1, kMaxExpirySeconds)) key.expires_in_ms = *seconds * 1000;
  ENGRAM_CHECK_OK(fields.Finish());
  return key;
}

// Who asks, and what it may do. Without a key where none is needed: everything.
Response SelfJson(const Request& request) {
  json::array scopes;
  for (std::string& name : ScopeNames(request.key ? request.key->scopes : AllScopes()))
    scopes.emplace_back(std::move(name));
  json::value key = nullptr;
  if (request.key) {
    // Not who made it, which is nothing to a key that may only generate.
    const json::object whole = KeyJson(*request.key);
    json::object& own = key.emplace_object();
    for (const char* name : {"id", "name", "expires_at", "limits", "overlays"}) own[name] = whole.at(name);
  }
  return JsonResponse({{"scopes", std::move(scopes)}, {"key", std::move(key)}});
}

Response CreateKey(AccessStore& access, const Request& request, JsonFields& fields) {
  const Result<NewKey> wanted = ReadNewKey(fields);
  if (!wanted) return ErrorResponse(wanted.error());
  const Result<CreatedKey> created = access.Create(*wanted, request.client);
  if (!created) return ErrorResponse(created.error());
  json::object answer = KeyJson(*created->key);
  answer["key"] = created->secret;
  return JsonResponse(answer, 201);
}

Result<Response> ListAudit(AccessStore& access, const Request& request) {
  QueryFields fields(request);
  AuditQuery query;
  query.limit = fields.Int("limit", 100, 1, kMaxAuditPage);
  if (const auto before = fields.OptionalInt("before", 0, INT64_MAX)) query.before = static_cast<int64_t>(*before);
  query.key = fields.String("key");
  query.action = fields.String("action");
  ENGRAM_CHECK_OK(fields.Finish());
  ENGRAM_TRY(const AuditPage page, access.ListAudit(query));
  json::array entries;
  for (const AuditEntry& entry : page.entries) entries.push_back(EntryJson(entry));
  return JsonResponse({{"entries", std::move(entries)},
                       {"next_before", page.next_before ? json::value(*page.next_before) : json::value(nullptr)}});
}

}  // namespace

void AddKeyEndpoints(Router& router, const EndpointEnvironment& environment) {
  router.Add("GET", "/admin/v1/keys/self", Scope::kAny,
             [](const Request& request) -> Reply { return SelfJson(request); });
  if (environment.admin.access == nullptr) return;
  AccessStore& access = *environment.admin.access;
  router.Add("GET", "/admin/v1/keys", Scope::kOperate, [&access](const Request&) -> Reply {
    json::array keys;
    for (const auto& key : access.keys()->keys) keys.push_back(KeyJson(*key));
    return JsonResponse({{"keys", std::move(keys)}});
  });
  router.Add("POST", "/admin/v1/keys", Scope::kOperate,
             [&access](const Request& request) -> Reply {
               return JsonHandler([&](JsonFields& fields) { return CreateKey(access, request, fields); })(request);
             },
             {.blocks = true});
  router.Add("DELETE", "/admin/v1/keys/*", Scope::kOperate,
             [&access](const Request& request) -> Reply {
               const auto revoked = access.Revoke(PathRest(request, kKeys));
               return revoked ? JsonResponse(KeyJson(**revoked)) : ErrorResponse(revoked.error());
             },
             {.blocks = true});
  router.Add("GET", "/admin/v1/audit", Scope::kOperate,
             [&access](const Request& request) { return Reply(Respond([&] { return ListAudit(access, request); })); },
             {.blocks = true});
}

}  // namespace engram
