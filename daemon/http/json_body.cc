// SPDX-License-Identifier: Apache-2.0
#include "http/json_body.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

namespace engram {
namespace {

namespace json = boost::json;

constexpr size_t kMaxDepth = 64;

// Builds the value and notices what Boost.JSON's own parser lets pass: keys given twice and numbers that overflow.
class StrictHandler {
 public:
  static constexpr size_t max_object_size = json::object::max_size();
  static constexpr size_t max_array_size = json::array::max_size();
  static constexpr size_t max_key_size = json::string::max_size();
  static constexpr size_t max_string_size = json::string::max_size();

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) {
    keys_.emplace_back();
    return true;
  }
  bool on_object_end(size_t n, json::error_code& ec) {
    std::vector<std::string>& keys = keys_.back();
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) {
      duplicate_key = *twice;
      ec = json::error::syntax;
      return false;
    }
    keys_.pop_back();
    stack_.push_object(n);
    return true;
  }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_array_end(size_t n, json::error_code&) {
    stack_.push_array(n);
    return true;
  }
  bool on_key_part(json::string_view part, size_t, json::error_code&) {
    stack_.push_chars(part);
    key_ += part;
    return true;
  }
  bool on_key(json::string_view part, size_t, json::error_code&) {
    stack_.push_key(part);
    key_ += part;
    keys_.back().push_back(std::move(key_));
    key_.clear();
    return true;
  }
  bool on_string_part(json::string_view part, size_t, json::error_code&) {
    stack_.push_chars(part);
    return true;
  }
  bool on_string(json::string_view part, size_t, json::error_code&) {
    stack_.push_string(part);
    return true;
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(int64_t value, json::string_view, json::error_code&) {
    stack_.push_int64(value);
    return true;
  }
  bool on_uint64(uint64_t value, json::string_view, json::error_code&) {
    stack_.push_uint64(value);
    return true;
  }
  bool on_double(double value, json::string_view, json::error_code& ec) {
    if (!std::isfinite(value)) {
      overflow = true;
      ec = json::error::exponent_overflow;
      return false;
    }
    stack_.push_double(value);
    return true;
  }
  bool on_bool(bool value, json::error_code&) {
    stack_.push_bool(value);
    return true;
  }
  bool on_null(json::error_code&) {
    stack_.push_null();
    return true;
  }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

  void Begin() { stack_.reset(); }
  json::value Release() { return stack_.release(); }

  std::optional<std::string> duplicate_key;
  bool overflow = false;

 private:
  json::value_stack stack_;
  std::string key_;
  std::vector<std::vector<std::string>> keys_;  // of the objects that are open
};

}  // namespace

Result<json::object> ParseJsonObject(std::string_view body) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return InvalidArgument("the request body is empty; a JSON object is needed");
  }
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::basic_parser<StrictHandler> parser(options);
  StrictHandler& handler = parser.handler();
  handler.Begin();
  json::error_code ec;
  const size_t consumed = parser.write_some(false, body.data(), body.size(), ec);
  if (!ec && consumed < body.size()) ec = json::error::extra_data;
  if (ec) {
    const std::string where = " at byte " + std::to_string(consumed) + " of the request body";
    if (handler.duplicate_key) {
      return InvalidArgument("key \"" + *handler.duplicate_key + "\" is given twice in one object" + where,
                             *handler.duplicate_key);
    }
    if (handler.overflow) return InvalidArgument("a number is too large" + where);
    if (ec == json::error::too_deep) {
      return InvalidArgument("JSON is nested deeper than " + std::to_string(kMaxDepth) + " levels" + where);
    }
    return InvalidArgument("the request body is not valid JSON: " + ec.message() + where);
  }
  json::value value = handler.Release();
  if (!value.is_object()) return InvalidArgument("the request body must be a JSON object");
  return std::move(value.get_object());
}

}  // namespace engram
