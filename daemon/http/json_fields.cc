// SPDX-License-Identifier: Apache-2.0
#include "http/json_fields.h"

#include <algorithm>
#include <limits>

#include "http/json_out.h"

namespace engram {

namespace json = boost::json;

const char* JsonKindName(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
      return "an integer";
    case json::kind::double_:
      return "a number with a fraction or exponent";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "a list";
    case json::kind::object:
      return "an object";
  }
  return "something else";
}

Result<int64_t> JsonInt(const json::value& value, int64_t min, int64_t max, const std::string& path) {
  const std::string range = max == std::numeric_limits<int64_t>::max() && min == std::numeric_limits<int64_t>::min()
                                ? "in the range of 64 bits"
                                : "from " + std::to_string(min) + " to " + std::to_string(max);
  if (value.is_uint64()) return InvalidArgument(path + " must be " + range, path);
  if (!value.is_int64()) {
    return InvalidArgument(path + " must be an integer " + range + ", not " + JsonKindName(value), path);
  }
  const int64_t number = value.get_int64();
  if (number < min || number > max) {
    return InvalidArgument(path + " must be " + range + ", not " + std::to_string(number), path);
  }
  return number;
}

Result<std::vector<int32_t>> JsonInts(const json::value& value, int32_t min, int32_t max, const std::string& path) {
  if (!value.is_array()) return InvalidArgument(path + " must be a list of integers", path);
  const json::array& items = value.get_array();
  std::vector<int32_t> out;
  out.reserve(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    // The path of an item is only spelled out for the one at fault: lists may have a million.
    if (items[i].is_int64() && items[i].get_int64() >= min && items[i].get_int64() <= max) {
      out.push_back(static_cast<int32_t>(items[i].get_int64()));
      continue;
    }
    auto bad = JsonInt(items[i], min, max, path + "[" + std::to_string(i) + "]");
    return std::move(bad).error();
  }
  return out;
}

std::string JsonFields::PathOf(std::string_view name) const {
  std::string path = path_;
  if (!path.empty() && !name.empty()) path += '.';
  path += name;
  return path;
}

const json::value* JsonFields::Value(std::string_view name) {
  known_.push_back(name);
  const auto it = object_.find(json::string_view(name.data(), name.size()));
  if (it == object_.end() || it->value().is_null()) return nullptr;
  return &it->value();
}

bool JsonFields::Bool(std::string_view name, bool fallback) {
  const json::value* value = Value(name);
  if (value == nullptr) return fallback;
  if (value->is_bool()) return value->get_bool();
  Fail(name, std::string("must be true or false, not ") + JsonKindName(*value));
  return fallback;
}

std::optional<int64_t> JsonFields::OptionalInt(std::string_view name, int64_t min, int64_t max) {
  const json::value* value = Value(name);
  if (value == nullptr) return std::nullopt;
  auto number = JsonInt(*value, min, max, PathOf(name));
  if (number) return *number;
  Fail(std::move(number).error());
  return std::nullopt;
}

int64_t JsonFields::Int(std::string_view name, int64_t fallback, int64_t min, int64_t max) {
  return OptionalInt(name, min, max).value_or(fallback);
}

double JsonFields::Number(std::string_view name, double fallback, double min, double max, bool min_excluded) {
  const json::value* value = Value(name);
  if (value == nullptr) return fallback;
  if (!value->is_number()) {
    Fail(name, std::string("must be a number, not ") + JsonKindName(*value));
    return fallback;
  }
  const double number = value->to_number<double>();
  if (number >= min && number <= max && !(min_excluded && number == min)) return number;
  std::string range = min_excluded ? "must be above " : "must be from ";
  AppendDouble(range, min);
  range += min_excluded ? " and at most " : " to ";
  AppendDouble(range, max);
  range += ", not ";
  AppendDouble(range, number);
  Fail(name, range);
  return fallback;
}

std::string JsonFields::String(std::string_view name, std::string fallback) {
  const json::value* value = Value(name);
  if (value == nullptr) return fallback;
  if (value->is_string()) return std::string(value->get_string());
  Fail(name, std::string("must be a string, not ") + JsonKindName(*value));
  return fallback;
}

const json::object* JsonFields::Object(std::string_view name) {
  const json::value* value = Value(name);
  if (value == nullptr) return nullptr;
  if (value->is_object()) return &value->get_object();
  Fail(name, std::string("must be an object, not ") + JsonKindName(*value));
  return nullptr;
}

std::vector<int32_t> JsonFields::Ints(std::string_view name, int32_t min, int32_t max) {
  const json::value* value = Value(name);
  if (value == nullptr) return {};
  auto list = JsonInts(*value, min, max, PathOf(name));
  if (list) return std::move(*list);
  Fail(std::move(list).error());
  return {};
}

void JsonFields::Accept(std::initializer_list<std::string_view> names) {
  known_.insert(known_.end(), names.begin(), names.end());
}

void JsonFields::Fail(std::string_view field, const std::string& message) {
  std::string path = PathOf(field);
  Fail(InvalidArgument(path + " " + message, path));
}

void JsonFields::Fail(Error error) {
  if (!error_) error_ = std::move(error);
}

Status JsonFields::Finish() {
  if (error_) return *error_;
  for (const auto& field : object_) {
    const std::string_view name(field.key().data(), field.key().size());
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    const std::string path = PathOf(name);
    return InvalidArgument("unknown field \"" + path + "\"", path);
  }
  return {};
}

}  // namespace engram
