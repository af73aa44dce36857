// SPDX-License-Identifier: Apache-2.0
#include "constrain/schema_merge.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "core/json_text.h"

namespace engram {
namespace json = boost::json;
namespace {

constexpr uint32_t kMaxMergeDepth = 64;
constexpr size_t kBytesPerValue = 64;

std::string_view View(const json::string& text) {
  return {text.data(), text.size()};
}

Error CannotMerge(std::string_view keyword) {
  return Unsupported("\"" + std::string(keyword.substr(0, 100)) + "\" of schemas that hold at once cannot be combined");
}

// One step of a JSON pointer, with %XX of a URI and ~0 ~1 undone.
std::optional<std::string> PointerStep(std::string_view step) {
  std::string plain;
  for (size_t i = 0; i < step.size(); ++i) {
    if (step[i] != '%') {
      plain += step[i];
      continue;
    }
    uint32_t byte = 0;
    if (i + 3 > step.size()) return std::nullopt;
    const auto [end, ec] = std::from_chars(step.data() + i + 1, step.data() + i + 3, byte, 16);
    if (ec != std::errc() || end != step.data() + i + 3) return std::nullopt;
    plain += static_cast<char>(static_cast<uint8_t>(byte));
    i += 2;
  }
  std::string out;
  for (size_t i = 0; i < plain.size(); ++i) {
    if (plain[i] != '~') {
      out += plain[i];
      continue;
    }
    if (++i == plain.size() || (plain[i] != '0' && plain[i] != '1')) return std::nullopt;
    out += plain[i] == '0' ? '~' : '/';
  }
  return out;
}

// As ==, which copies all that is in an object that it compares (Boost.JSON 1.81).
bool Same(const json::value& a, const json::value& b) {
  if (a.is_array() && b.is_array())
    return std::equal(a.get_array().begin(), a.get_array().end(), b.get_array().begin(), b.get_array().end(), Same);
  if (!a.is_object() || !b.is_object()) return a == b;
  const json::object& other = b.get_object();
  return a.get_object().size() == other.size() &&
         std::all_of(a.get_object().begin(), a.get_object().end(), [&](const auto& entry) {
           const json::value* found = other.if_contains(entry.key());
           return found != nullptr && Same(entry.value(), *found);
         });
}

// Whether the list has the value.
bool Has(const json::array& list, const json::value& value) {
  return std::any_of(list.begin(), list.end(), [&](const json::value& one) { return Same(one, value); });
}

json::array TypesOf(const json::value& type) {
  if (type.is_array()) return type.get_array();
  return {type};
}

// Types in both lists, each once; an integer is a number.
json::array CommonTypes(const json::array& a, const json::array& b) {
  json::array common;
  const auto add = [&](const json::value& type) {
    if (!Has(common, type)) common.push_back(type);
  };
  for (const json::value& x : a) {
    for (const json::value& y : b) {
      if (Same(x, y)) add(x);
      if ((x == "integer" && y == "number") || (x == "number" && y == "integer")) add("integer");
    }
  }
  return common;
}

// Makes `present` hold all that `more` says, too. However many come, it does not get deeper.
void AlsoHolds(json::value& present, const json::value& more) {
  json::object* object = present.if_object();
  if (object == nullptr || object->size() != 1 || !object->contains("allOf") || !object->at("allOf").is_array()) {
    json::array parts;
    parts.push_back(std::move(present));
    object = &present.emplace_object();
    object->emplace("allOf", std::move(parts));
  }
  object->at("allOf").get_array().push_back(more);
}

bool SameKeys(const json::value* a, const json::value* b) {
  const json::object none;
  const json::object& x = a != nullptr && a->is_object() ? a->get_object() : none;
  const json::object& y = b != nullptr && b->is_object() ? b->get_object() : none;
  return x.size() == y.size() &&
         std::all_of(x.begin(), x.end(), [&](const auto& entry) { return y.contains(entry.key()); });
}

}  // namespace

bool IsSchemaAnnotation(std::string_view keyword) {
  constexpr std::string_view kAnnotations[] = {
      "$schema",      "$id",      "$comment",        "$defs",      "definitions", "title",     "description",
      "default",      "examples", "example",         "deprecated", "readOnly",    "writeOnly", "contentEncoding",
      "externalDocs", "xml",      "contentMediaType"};
  return keyword.starts_with("x-") ||
         std::find(std::begin(kAnnotations), std::end(kAnnotations), keyword) != std::end(kAnnotations);
}

size_t CountJsonValues(const json::value& value, size_t limit, size_t bytes_per_value) {
  size_t count = 0;
  std::vector<const json::value*> work{&value};
  while (!work.empty() && count <= limit) {
    const json::value& at = *work.back();
    work.pop_back();
    ++count;
    if (const json::string* text = at.if_string()) {
      count += text->size() / bytes_per_value;
    } else if (at.is_object()) {
      for (const auto& entry : at.get_object()) {
        count += entry.key().size() / bytes_per_value;
        work.push_back(&entry.value());
      }
    } else if (at.is_array()) {
      for (const json::value& item : at.get_array()) work.push_back(&item);
    }
  }
  return count;
}

Result<const json::value*> SchemaMerger::Resolve(const json::value& reference) const {
  if (!reference.is_string()) return InvalidArgument("must be a string");
  const std::string_view text = View(reference.get_string());
  const std::string quoted = JsonQuote(text.substr(0, 200));
  if (!text.starts_with('#')) return Unsupported("is " + quoted + "; only references within the schema are supported");
  const json::value* at = &root_;
  for (std::string_view rest = text.substr(1); !rest.empty();) {
    if (rest[0] != '/') return Unsupported("is " + quoted + "; only \"#\" and \"#/..\" are supported");
    const size_t end = std::min(rest.find('/', 1), rest.size());
    const std::optional<std::string> step = PointerStep(rest.substr(1, end - 1));
    rest = rest.substr(end);
    const json::value* next = nullptr;
    if (step && at->is_object()) {
      next = at->get_object().if_contains(*step);
    } else if (step && at->is_array()) {
      size_t index = 0;
      const auto [stop, ec] = std::from_chars(step->data(), step->data() + step->size(), index);
      if (ec == std::errc() && stop == step->data() + step->size() && index < at->get_array().size())
        next = &at->get_array()[index];
    }
    if (next == nullptr) return InvalidArgument("is " + quoted + ", which the schema does not have");
    at = next;
  }
  return at;
}

Result<const json::value*> SchemaMerger::Merge(const json::object& base, std::initializer_list<std::string_view> but,
                                               const std::vector<const json::value*>& others) {
  json::object out;
  json::object rest;
  for (const auto& entry : base) {
    const std::string_view key(entry.key().data(), entry.key().size());
    if (std::find(but.begin(), but.end(), key) == but.end() && !IsSchemaAnnotation(key)) rest[key] = entry.value();
  }
  ENGRAM_CHECK_OK(Add(out, rest, 0));
  for (const json::value* other : others) ENGRAM_CHECK_OK(Add(out, *other, 0));
  return &merged_.emplace_back(std::move(out));
}

Status SchemaMerger::Add(json::object& out, const json::value& schema, uint32_t depth) {
  if (depth > kMaxMergeDepth)
    return InvalidArgument("combines schemas more than " + std::to_string(kMaxMergeDepth) +
                           " deep, or one with itself");
  num_copied_ += CountJsonValues(schema, kMaxCopied, kBytesPerValue);
  if (num_copied_ > kMaxCopied) return InvalidArgument("combines too many schemas");
  if (schema.is_bool()) {
    if (!schema.get_bool()) out["enum"] = json::array();
    return {};
  }
  if (!schema.is_object()) return InvalidArgument("must be an object, true or false");
  const json::object& object = schema.get_object();
  // What properties there are is looked at before additionalProperties is.
  if (object.contains("properties") || object.contains("additionalProperties"))
    ENGRAM_CHECK_OK(AddProperties(out, object));
  for (const auto& entry : object) {
    const std::string_view key(entry.key().data(), entry.key().size());
    if (key == "properties" || key == "additionalProperties" || IsSchemaAnnotation(key)) continue;
    if (key == "$ref") {
      ENGRAM_TRY(const json::value* target, Resolve(entry.value()));
      ENGRAM_CHECK_OK(Add(out, *target, depth + 1));
    } else if (key == "allOf") {
      if (!entry.value().is_array()) return InvalidArgument("allOf must be a list");
      for (const json::value& part : entry.value().get_array()) ENGRAM_CHECK_OK(Add(out, part, depth + 1));
    } else {
      ENGRAM_CHECK_OK(AddKeyword(out, key, entry.value()));
    }
  }
  return {};
}

Status SchemaMerger::AddProperties(json::object& out, const json::object& more) {
  const json::value* present_additional = out.if_contains("additionalProperties");
  const json::value* additional = more.if_contains("additionalProperties");
  const json::value* properties = more.if_contains("properties");
  // The first that has either says all.
  const bool others = out.contains("properties") || present_additional != nullptr;
  if (others) {
    const bool closed = (present_additional != nullptr && *present_additional != json::value(true)) ||
                        (additional != nullptr && *additional != json::value(true));
    if (closed && !SameKeys(out.if_contains("properties"), properties)) return CannotMerge("additionalProperties");
    if (additional != nullptr && present_additional != nullptr && !Same(*additional, *present_additional)) {
      if (additional->is_object() && present_additional->is_object()) return CannotMerge("additionalProperties");
      // false says more than a schema, a schema more than true.
      if (*additional == json::value(false) || *present_additional == json::value(true))
        out["additionalProperties"] = *additional;
    } else if (additional != nullptr) {
      out["additionalProperties"] = *additional;
    }
  } else if (additional != nullptr) {
    out["additionalProperties"] = *additional;
  }
  if (properties == nullptr) return {};
  if (!properties->is_object()) return InvalidArgument("properties must be an object");
  if (!out.contains("properties")) out["properties"] = json::object();
  json::object& all = out["properties"].get_object();
  for (const auto& entry : properties->get_object()) {
    if (json::value* present = all.if_contains(entry.key())) {
      if (!Same(*present, entry.value())) AlsoHolds(*present, entry.value());
    } else {
      all[entry.key()] = entry.value();
    }
  }
  return {};
}

Status SchemaMerger::AddKeyword(json::object& out, std::string_view key, const json::value& value) {
  json::value* present = out.if_contains(key);
  if (present == nullptr) {
    out[key] = value;
    return {};
  }
  if (Same(*present, value)) return {};
  if (present->is_array() && value.is_array()) {
    num_compared_ += present->get_array().size() * value.get_array().size();
    if (num_compared_ > kMaxCompared) return InvalidArgument("combines too long lists of \"" + std::string(key) + "\"");
  }
  if (key == "type") {
    *present = CommonTypes(TypesOf(*present), TypesOf(value));
    return {};
  }
  if (key == "required" && present->is_array() && value.is_array()) {
    json::array& names = present->get_array();
    for (const json::value& name : value.get_array())
      if (!Has(names, name)) names.push_back(name);
    return {};
  }
  if (key == "enum" && present->is_array() && value.is_array()) {
    json::array common;
    const json::array& other = value.get_array();
    for (const json::value& item : present->get_array())
      if (Has(other, item)) common.push_back(item);
    *present = std::move(common);
    return {};
  }
  if (key == "items") {
    AlsoHolds(*present, value);
    return {};
  }
  const bool at_least = key == "minimum" || key == "exclusiveMinimum" || key == "minLength" || key == "minItems" ||
                        key == "minProperties";
  const bool at_most = key == "maximum" || key == "exclusiveMaximum" || key == "maxLength" || key == "maxItems" ||
                       key == "maxProperties";
  if ((at_least || at_most) && present->is_number() && value.is_number()) {
    const bool larger = value.to_number<double>() > present->to_number<double>();
    if (larger == at_least) *present = value;
    return {};
  }
  return CannotMerge(key);
}

}  // namespace engram
