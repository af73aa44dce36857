// SPDX-License-Identifier: Apache-2.0
// For tests of constrain: a validator of JSON Schema, straight from the specification, as another, plain reading of
// what constrain makes grammars of. Keywords that it does not know, and those that are not written as they must be,
// hold for every value.
#pragma once

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <regex>
#include <string>
#include <string_view>

namespace engram {

class TestSchemaValidator {
 public:
  struct Options {
    bool patterns = true;        // look at `pattern`; std::regex may take very long over one
    bool inexact = false;        // numbers of many digits may have been read to within a few units in the last place
    size_t max_steps = 100'000;  // schemas looked at; beyond it, everything is valid
  };

  // The schema must outlive it.
  TestSchemaValidator(const boost::json::value& root, Options options) : root_(root), options_(options) {}
  explicit TestSchemaValidator(const boost::json::value& root) : TestSchemaValidator(root, Options()) {}

  bool Valid(const boost::json::value& value) {
    num_steps_ = 0;
    return Valid(root_, value, 0);
  }

 private:
  using Value = boost::json::value;
  using Object = boost::json::object;
  using Array = boost::json::array;
  static constexpr size_t kMaxDepth = 200;

  static size_t NumCharacters(std::string_view text) {
    return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
  }

  static bool HasType(const Value& value, const Value& type) {
    if (type == "integer")
      return value.is_number() && std::floor(value.to_number<double>()) == value.to_number<double>();
    if (type == "number") return value.is_number();
    if (type == "string") return value.is_string();
    if (type == "boolean") return value.is_bool();
    if (type == "null") return value.is_null();
    return type == "array" ? value.is_array() : value.is_object();
  }

  bool Equal(const Value& a, const Value& b) const {
    if (a == b) return true;
    if (!options_.inexact) return false;
    if (a.is_number() && b.is_number()) {
      const double x = a.to_number<double>();
      const double y = b.to_number<double>();
      return std::abs(x - y) <= 1e-14 * std::abs(x);
    }
    if (a.is_array() && b.is_array())
      return std::equal(a.get_array().begin(), a.get_array().end(), b.get_array().begin(), b.get_array().end(),
                        [this](const Value& x, const Value& y) { return Equal(x, y); });
    if (!a.is_object() || !b.is_object() || a.get_object().size() != b.get_object().size()) return false;
    return std::all_of(a.get_object().begin(), a.get_object().end(), [&](const auto& entry) {
      const Value* other = b.get_object().if_contains(entry.key());
      return other != nullptr && Equal(entry.value(), *other);
    });
  }

  static const Array* List(const Object& schema, const char* key) {
    const Value* list = schema.if_contains(key);
    return list == nullptr ? nullptr : list->if_array();
  }
  static const Value* Number(const Object& schema, const char* key) {
    const Value* number = schema.if_contains(key);
    return number != nullptr && number->is_number() ? number : nullptr;
  }
  // Whether `size` is within the bounds of these names.
  static bool Within(const Object& schema, const char* min, const char* max, size_t size) {
    const Value* low = Number(schema, min);
    const Value* high = Number(schema, max);
    return (low == nullptr || static_cast<double>(size) >= low->to_number<double>()) &&
           (high == nullptr || static_cast<double>(size) <= high->to_number<double>());
  }

  bool ValidObject(const Object& schema, const Object& value, size_t depth) {
    const Value* properties = schema.if_contains("properties");
    const Value* additional = schema.if_contains("additionalProperties");
    for (const auto& entry : value) {
      const Value* property = nullptr;
      if (properties != nullptr && properties->is_object())
        property = properties->get_object().if_contains(entry.key());
      const Value* holds = property != nullptr ? property : additional;
      if (holds != nullptr && !Valid(*holds, entry.value(), depth)) return false;
    }
    if (const Array* required = List(schema, "required"))
      for (const Value& name : *required)
        if (name.is_string() && !value.contains(name.get_string())) return false;
    return Within(schema, "minProperties", "maxProperties", value.size());
  }

  bool ValidArray(const Object& schema, const Array& value, size_t depth) {
    if (!Within(schema, "minItems", "maxItems", value.size())) return false;
    size_t i = 0;
    if (const Array* prefix = List(schema, "prefixItems"))
      for (; i < std::min(value.size(), prefix->size()); ++i)
        if (!Valid((*prefix)[i], value[i], depth)) return false;
    if (const Value* items = schema.if_contains("items"))
      for (; i < value.size(); ++i)
        if (!Valid(*items, value[i], depth)) return false;
    return true;
  }

  bool ValidString(const Object& schema, std::string_view text) const {
    if (!Within(schema, "minLength", "maxLength", NumCharacters(text))) return false;
    const Value* pattern = schema.if_contains("pattern");
    if (!options_.patterns || pattern == nullptr || !pattern->is_string()) return true;
    return std::regex_search(std::string(text), std::regex(std::string(pattern->get_string())));
  }

  static bool ValidNumber(const Object& schema, double number) {
    const auto bound = [&](const char* key) { return Number(schema, key); };
    if (const Value* low = bound("minimum"); low != nullptr && number < low->to_number<double>()) return false;
    if (const Value* high = bound("maximum"); high != nullptr && number > high->to_number<double>()) return false;
    if (const Value* low = bound("exclusiveMinimum"); low != nullptr && number <= low->to_number<double>())
      return false;
    const Value* high = bound("exclusiveMaximum");
    return high == nullptr || number < high->to_number<double>();
  }

  // What a reference names, if it is written plainly.
  const Value* Target(const Object& schema) const {
    const Value* reference = schema.if_contains("$ref");
    if (reference == nullptr || !reference->is_string()) return nullptr;
    const std::string text(reference->get_string());
    if (!text.starts_with('#') || text.find('%') != std::string::npos) return nullptr;
    boost::json::error_code none;
    return text == "#" ? &root_ : root_.find_pointer(text.substr(1), none);
  }

  // Keywords that hold whatever the type is.
  bool ValidAny(const Object& s, const Value& value, size_t depth) {
    if (const Value* type = s.if_contains("type")) {
      const Array types = type->is_array() ? type->get_array() : Array{*type};
      const Value* nullable = s.if_contains("nullable");
      const bool null = value.is_null() && nullable != nullptr && *nullable == Value(true);
      if (!null && std::none_of(types.begin(), types.end(), [&](const Value& t) { return HasType(value, t); }))
        return false;
    }
    if (const Array* list = List(s, "enum"))
      if (std::none_of(list->begin(), list->end(), [&](const Value& one) { return Equal(one, value); })) return false;
    if (const Value* only = s.if_contains("const"); only != nullptr && !Equal(*only, value)) return false;
    for (const char* key : {"anyOf", "oneOf"})  // oneOf is taken as anyOf
      if (const Array* list = List(s, key))
        if (std::none_of(list->begin(), list->end(), [&](const Value& way) { return Valid(way, value, depth); }))
          return false;
    if (const Array* list = List(s, "allOf"))
      for (const Value& part : *list)
        if (!Valid(part, value, depth)) return false;
    return true;
  }

  bool Valid(const Value& schema, const Value& value, size_t depth) {
    if (schema.is_bool()) return schema.get_bool();
    if (!schema.is_object() || ++depth > kMaxDepth || ++num_steps_ > options_.max_steps) return true;
    const Object& s = schema.get_object();
    if (const Value* target = Target(s); target != nullptr && !Valid(*target, value, depth)) return false;
    if (!ValidAny(s, value, depth)) return false;
    if (const auto* text = value.if_string()) return ValidString(s, {text->data(), text->size()});
    if (value.is_number()) return ValidNumber(s, value.to_number<double>());
    if (const Object* object = value.if_object()) return ValidObject(s, *object, depth);
    return !value.is_array() || ValidArray(s, value.get_array(), depth);
  }

  const Value& root_;
  const Options options_;
  size_t num_steps_ = 0;
};

}  // namespace engram
