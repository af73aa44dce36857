// SPDX-License-Identifier: Apache-2.0
#include "text/json_fields.h"

#include <boost/json.hpp>

namespace engram {

namespace json = boost::json;

Result<Fields> Fields::Of(const json::value& value, std::string path) {
  if (const json::object* object = value.if_object()) return Fields(*object, std::move(path));
  return InvalidArgument((path.empty() ? "the document" : path) + " must be an object");
}

std::string Fields::PathOf(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

Error Fields::Wrong(std::string_view key, std::string_view what) const {
  return InvalidArgument(PathOf(key) + " " + std::string(what));
}

const json::value* Fields::Find(std::string_view key) const {
  const json::value* value = object_->if_contains(json::string_view(key.data(), key.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<std::string_view> Fields::String(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr || !value->is_string()) return Wrong(key, "must be a string");
  const json::string& text = value->get_string();
  return std::string_view(text.data(), text.size());
}

Result<const json::array*> Fields::Array(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr || !value->is_array()) return Wrong(key, "must be an array");
  return &value->get_array();
}

Result<const json::object*> Fields::Object(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr || !value->is_object()) return Wrong(key, "must be an object");
  return &value->get_object();
}

Result<Fields> Fields::Child(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr) return Wrong(key, "must be an object");
  return Of(*value, PathOf(key));
}

Result<std::vector<Fields>> Fields::Children(std::string_view key, size_t max) const {
  ENGRAM_TRY(const json::array* array, Array(key));
  if (array->size() > max) return Wrong(key, "has more than " + std::to_string(max) + " elements");
  std::vector<Fields> children;
  children.reserve(array->size());
  for (size_t i = 0; i < array->size(); ++i) {
    ENGRAM_TRY(Fields child, Of((*array)[i], PathOf(key) + "[" + std::to_string(i) + "]"));
    children.push_back(std::move(child));
  }
  return children;
}

Result<bool> Fields::Bool(std::string_view key, bool fallback) const {
  const json::value* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) return Wrong(key, "must be true or false");
  return value->get_bool();
}

Status Fields::MustBeUnset(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr) return {};
  const bool unset = (value->is_bool() && !value->get_bool()) ||
                     (value->is_number() && value->to_number<double>() == 0.0) ||
                     (value->is_string() && value->get_string().empty());
  if (!unset) return Unsupported(PathOf(key) + " is not supported");
  return {};
}

std::optional<int32_t> TokenIdOf(const json::value& value) {
  int64_t id = -1;
  if (value.is_int64()) id = value.get_int64();
  if (value.is_uint64() && value.get_uint64() <= kMaxTokenId) id = static_cast<int64_t>(value.get_uint64());
  if (id < 0 || id > kMaxTokenId) return std::nullopt;
  return static_cast<int32_t>(id);
}

}  // namespace engram
