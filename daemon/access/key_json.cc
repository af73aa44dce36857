// SPDX-License-Identifier: Apache-2.0
#include "access/key_json.h"

#include <boost/json.hpp>

namespace engram {
namespace {

namespace json = boost::json;

json::value TextOrNull(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::value RateOrNull(double per_s) {
  return per_s == 0 ? json::value(nullptr) : json::value(per_s);
}

json::array Names(const std::vector<std::string>& names) {
  json::array array;
  for (const std::string& name : names) array.emplace_back(name);
  return array;
}

}  // namespace

json::value SecondsOrNull(const std::optional<int64_t>& unix_ms) {
  return unix_ms && *unix_ms != 0 ? json::value(*unix_ms / 1000) : json::value(nullptr);
}

json::object KeyJson(const AccessKey& key) {
  return {
      {"id", key.id},
      {"name", key.name},
      {"scopes", Names(ScopeNames(key.scopes))},
      {"prefix", TextOrNull(key.prefix)},
      {"source", key.source == AccessKey::Source::kConfig ? "config" : "journal"},
      {"created_at", SecondsOrNull(key.created_ms)},
      {"created_by", TextOrNull(key.created_by)},
      {"expires_at", SecondsOrNull(key.expires_ms)},
      {"last_used_at", SecondsOrNull(key.last_used_ms->load())},
      {"revoked_at", SecondsOrNull(key.revoked_ms)},
      {"limits",
       {{"requests_per_second", RateOrNull(key.requests_per_s)}, {"tokens_per_second", RateOrNull(key.tokens_per_s)}}},
      {"overlays", Names(key.overlays)}};
}

}  // namespace engram
