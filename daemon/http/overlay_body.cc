// SPDX-License-Identifier: Apache-2.0
#include "http/overlay_body.h"

#include <charconv>
#include <cmath>

namespace engram {
namespace {

namespace json = boost::json;

constexpr double kMaxTtlSeconds = 10.0 * 366 * 86400;

Result<OverlayRequest::Guarded> ReadGuarded(const json::object& object, const std::string& path,
                                            const TokenReader& tokens) {
  JsonFields fields(object, path);
  const json::object* suffix = fields.Object("suffix");
  const json::object* memory = fields.Object("memory");
  if (suffix == nullptr) fields.Fail("suffix", "is required");
  if (memory == nullptr) fields.Fail("memory", "is required with suffix");
  ENGRAM_CHECK_OK(fields.Finish());
  OverlayRequest::Guarded guarded;
  JsonFields suffix_fields(*suffix, fields.PathOf("suffix"));
  ENGRAM_TRY(guarded.suffix, tokens.Read(suffix_fields));
  const std::string memory_path = fields.PathOf("memory");
  if (memory->empty()) return InvalidArgument(memory_path + " must name at least one layer", memory_path);
  for (const auto& entry : *memory) {
    const std::string key(entry.key().data(), entry.key().size());
    uint32_t layer = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), layer);
    if (error != std::errc() || end != key.data() + key.size() || std::to_string(layer) != key)
      return InvalidArgument(memory_path + " has the key \"" + key.substr(0, 40) + "\"; keys are layer numbers",
                             memory_path);
    ENGRAM_TRY(guarded.memory[layer], JsonFloats(entry.value(), memory_path + "." + key));
  }
  return guarded;
}

}  // namespace

Result<OverlayRequest> ReadOverlayFields(JsonFields& fields, const TokenReader& tokens, size_t max_entries) {
  OverlayRequest request;
  if (fields.Value("ttl_s") != nullptr) {
    const double seconds = fields.Number("ttl_s", 1, 0, kMaxTtlSeconds, true);
    request.ttl = std::chrono::milliseconds(static_cast<int64_t>(std::ceil(seconds * 1000)));
  }
  const json::value* entries = fields.Value("entries");
  if (entries == nullptr) {
    fields.Fail("entries", "is required");
  } else if (!entries->is_array()) {
    fields.Fail("entries", std::string("must be a list of objects, not ") + JsonKindName(*entries));
  } else if (entries->get_array().size() > max_entries) {
    fields.Fail("entries", "must have at most " + std::to_string(max_entries) + " items");
  }
  ENGRAM_CHECK_OK(fields.Finish());
  const json::array& items = entries->get_array();
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string path = "entries[" + std::to_string(i) + "]";
    if (!items[i].is_object()) return InvalidArgument(path + " must be an object, not " + JsonKindName(items[i]), path);
    const json::object& item = items[i].get_object();
    if (item.contains("suffix") || item.contains("memory")) {
      ENGRAM_TRY(auto guarded, ReadGuarded(item, path, tokens));
      request.guarded.push_back(std::move(guarded));
      request.guarded_entries.push_back(static_cast<uint32_t>(i));
    } else {
      ENGRAM_TRY(auto row, ReadRowEdit(item, path, tokens, false));
      request.rows.push_back(std::move(row));
      request.row_entries.push_back(static_cast<uint32_t>(i));
    }
  }
  return request;
}

}  // namespace engram
