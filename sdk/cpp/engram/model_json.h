// SPDX-License-Identifier: Apache-2.0
//
// JSON of model files (config.json, safetensors headers and indices): read with bounds, refused on duplicate keys.
#ifndef ENGRAM_CPP_MODEL_JSON_H_
#define ENGRAM_CPP_MODEL_JSON_H_

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engram/plugin_error.h"

namespace engram::sdk {

namespace internal {

// Finds a key that occurs twice in one object, which the value parser would silently resolve to the last one.
class DuplicateKeyHandler {
 public:
  static constexpr size_t max_object_size = static_cast<size_t>(-1);
  static constexpr size_t max_array_size = static_cast<size_t>(-1);
  static constexpr size_t max_key_size = static_cast<size_t>(-1);
  static constexpr size_t max_string_size = static_cast<size_t>(-1);
  using Error = boost::json::error_code;
  using Text = boost::json::string_view;

  const std::string& duplicate() const { return duplicate_; }

  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) {
    keys_.emplace_back();
    return true;
  }
  bool on_object_end(size_t, Error&) {
    keys_.pop_back();
    return true;
  }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(size_t, Error&) { return true; }
  bool on_key_part(Text part, size_t, Error&) {
    key_.append(part.data(), part.size());
    return true;
  }
  bool on_key(Text part, size_t, Error&) {
    key_.append(part.data(), part.size());
    if (!keys_.back().insert(key_).second && duplicate_.empty()) duplicate_ = key_;
    key_.clear();
    return true;
  }
  bool on_string_part(Text, size_t, Error&) { return true; }
  bool on_string(Text, size_t, Error&) { return true; }
  bool on_number_part(Text, Error&) { return true; }
  bool on_int64(int64_t, Text, Error&) { return true; }
  bool on_uint64(uint64_t, Text, Error&) { return true; }
  bool on_double(double, Text, Error&) { return true; }
  bool on_bool(bool, Error&) { return true; }
  bool on_null(Error&) { return true; }
  bool on_comment_part(Text, Error&) { return true; }
  bool on_comment(Text, Error&) { return true; }

 private:
  std::vector<std::set<std::string>> keys_;
  std::string key_;
  std::string duplicate_;
};

}  // namespace internal

// Parses one JSON object of at most `max_depth` levels. `place` (a file name) begins every error, which is a
// PluginError with ENGRAM_DATA_LOSS.
inline boost::json::object ParseJsonObject(std::string_view text, const std::string& place, size_t max_depth) {
  boost::json::parse_options options;
  options.max_depth = max_depth;
  boost::json::basic_parser<internal::DuplicateKeyHandler> keys(options);
  boost::json::error_code error;
  const size_t used = keys.write_some(false, text.data(), text.size(), error);
  if (error) {
    throw PluginError(ENGRAM_DATA_LOSS, place + ": bad JSON at byte " + std::to_string(used) + ": " + error.message());
  }
  if (!keys.handler().duplicate().empty()) {
    throw PluginError(ENGRAM_DATA_LOSS, place + ": key '" + keys.handler().duplicate() + "' occurs twice");
  }
  boost::json::value value = boost::json::parse(text, error, {}, options);
  if (error) throw PluginError(ENGRAM_DATA_LOSS, place + ": bad JSON: " + error.message());
  if (!value.is_object()) throw PluginError(ENGRAM_DATA_LOSS, place + ": not a JSON object");
  return std::move(value.as_object());
}

}  // namespace engram::sdk

#endif  // ENGRAM_CPP_MODEL_JSON_H_
