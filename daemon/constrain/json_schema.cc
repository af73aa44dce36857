// SPDX-License-Identifier: Apache-2.0
#include "constrain/json_schema.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "constrain/number_range.h"
#include "constrain/regex_pattern.h"
#include "constrain/schema_formats.h"
#include "constrain/schema_merge.h"
#include "core/json_text.h"

namespace engram {
namespace json = boost::json;
namespace {

constexpr std::string_view kTypes[] = {"null", "boolean", "string", "number", "integer", "array", "object"};
// The type that a keyword speaks of; "": of any.
struct Keyword {
  std::string_view name;
  std::string_view type;
};
constexpr Keyword kKeywords[] = {
    {"type", ""},
    {"nullable", ""},
    {"enum", ""},
    {"const", ""},
    {"anyOf", ""},
    {"oneOf", ""},
    {"allOf", ""},
    {"$ref", ""},
    {"properties", "object"},
    {"required", "object"},
    {"additionalProperties", "object"},
    {"minProperties", "object"},
    {"maxProperties", "object"},
    {"items", "array"},
    {"prefixItems", "array"},
    {"minItems", "array"},
    {"maxItems", "array"},
    {"uniqueItems", "array"},
    {"minLength", "string"},
    {"maxLength", "string"},
    {"pattern", "string"},
    {"format", "string"},
    {"minimum", "number"},
    {"maximum", "number"},
    {"exclusiveMinimum", "number"},
    {"exclusiveMaximum", "number"},
};

// Of a path, which each of many rules has: the names in a reference may be as long as the schema.
constexpr size_t kMaxPathBytes = 300;

std::string Shortened(const std::string& path) {
  if (path.size() <= kMaxPathBytes) return path;
  return Utf8Lossy(path.substr(0, kMaxPathBytes / 2)) + ".." + Utf8Lossy(path.substr(path.size() - kMaxPathBytes / 2));
}

std::string_view View(json::string_view text) {
  return {text.data(), text.size()};
}

class Compiler {
 public:
  Compiler(const json::value& root, std::string path, Grammar& grammar, JsonGrammar& json)
      : root_(root), path_(std::move(path)), grammar_(grammar), json_(json), merger_(root) {}

  Result<ExprId> Run() {
    if (CountJsonValues(root_, kMaxSchemaValues) > kMaxSchemaValues)
      return InvalidArgument(path_ + ": the schema has more than " + std::to_string(kMaxSchemaValues) + " values",
                             path_);
    const ExprId root = Call(root_, path_);
    // Each schema is a rule of its own, whoever refers to it: references may form cycles.
    while (!work_.empty()) {
      const Work work = std::move(work_.front());
      work_.pop_front();
      Result<ExprId> body = Compile(*work.schema, work.path);
      if (!body) {
        Error error = std::move(body).error();
        error.field = path_;
        return error;
      }
      grammar_.Define(work.rule, *body);
      if (auto large = TooLarge(); !large) return std::move(large).error();
    }
    return root;
  }

 private:
  struct Work {
    const json::value* schema;
    std::string path;
    RuleId rule;
  };

  ExprId Call(const json::value& schema, const std::string& path) {
    const auto [found, added] = rules_.try_emplace(&schema, 0);
    if (added) {
      std::string shortened = Shortened(path);
      found->second = grammar_.AddRule(shortened);
      work_.push_back({&schema, std::move(shortened), found->second});
    }
    return grammar_.Call(found->second);
  }

  // Asked wherever the schema has many of something: what is beyond would be made for nothing.
  Status TooLarge() const {
    if (grammar_.expressions().size() < Grammar::kMaxExpressions) return {};
    return InvalidArgument(path_ + ": the schema is too large", path_);
  }

  ExprId Nothing() { return grammar_.Choice({}); }

  Error Wrong(const std::string& path, const std::string& message) const {
    return InvalidArgument(path + " " + message);
  }

  Result<ExprId> Compile(const json::value& value, const std::string& path) {
    if (value.is_bool()) return value.get_bool() ? json_.Value() : Nothing();
    if (!value.is_object()) return Wrong(path, "must be an object, true or false");
    const json::object& schema = value.get_object();
    bool constrains = false;
    for (const auto& entry : schema) {
      const std::string_view key = View(entry.key());
      if (IsSchemaAnnotation(key)) continue;
      constrains = true;
      if (std::none_of(std::begin(kKeywords), std::end(kKeywords), [&](const Keyword& k) { return k.name == key; }))
        return Unsupported(path + "/" + std::string(key.substr(0, 100)) + " is not supported");
    }
    if (!constrains) return json_.Value();
    if (schema.contains("$ref")) return CompileReference(schema, path);
    if (schema.contains("allOf")) return CompileAllOf(schema, path);
    for (const char* key : {"anyOf", "oneOf"})
      if (schema.contains(key)) return CompileAnyOf(schema, key, path);
    if (schema.contains("enum") || schema.contains("const")) return CompileEnum(schema, path);
    return CompileTypes(schema, path);
  }

  // Does the schema say anything but `but`?
  static bool SaysMore(const json::object& schema, std::string_view but) {
    return std::any_of(schema.begin(), schema.end(), [&](const auto& entry) {
      return View(entry.key()) != but && !IsSchemaAnnotation(View(entry.key()));
    });
  }

  Result<ExprId> Merged(const json::object& schema, std::string_view but, const std::vector<const json::value*>& others,
                        const std::string& path) {
    Result<const json::value*> merged = merger_.Merge(schema, {but}, others);
    if (!merged) return std::move(merged).error().At(path);
    return Call(**merged, path);
  }

  Result<ExprId> CompileReference(const json::object& schema, const std::string& path) {
    Result<const json::value*> target = merger_.Resolve(schema.at("$ref"));
    if (!target) {
      Error error = std::move(target).error();
      error.message = path + "/$ref " + error.message;
      return error;
    }
    if (!SaysMore(schema, "$ref")) {
      const json::string* text = schema.at("$ref").if_string();
      return Call(**target, path_ + (text != nullptr && !text->empty() ? std::string(View(*text).substr(1)) : ""));
    }
    return Merged(schema, "$ref", {*target}, path);
  }

  Result<const json::array*> List(const json::object& schema, const char* key, const std::string& path) const {
    const json::array* list = schema.at(key).if_array();
    if (list == nullptr || list->empty()) return Wrong(path + "/" + key, "must be a list with at least one entry");
    return list;
  }

  Result<ExprId> CompileAllOf(const json::object& schema, const std::string& path) {
    ENGRAM_TRY(const json::array* list, List(schema, "allOf", path));
    if (list->size() == 1 && !SaysMore(schema, "allOf")) return Call((*list)[0], path + "/allOf/0");
    std::vector<const json::value*> parts;
    for (const json::value& part : *list) parts.push_back(&part);
    return Merged(schema, "allOf", parts, path);
  }

  Result<ExprId> CompileAnyOf(const json::object& schema, const char* key, const std::string& path) {
    ENGRAM_TRY(const json::array* list, List(schema, key, path));
    const bool more = SaysMore(schema, key);
    std::vector<ExprId> ways;
    for (size_t i = 0; i < list->size(); ++i) {
      ENGRAM_CHECK_OK(TooLarge());
      const std::string way_path = path + "/" + key + "/" + std::to_string(i);
      if (!more) {
        ways.push_back(Call((*list)[i], way_path));
        continue;
      }
      ENGRAM_TRY(const ExprId way, Merged(schema, key, {&(*list)[i]}, way_path));
      ways.push_back(way);
    }
    return grammar_.Choice(std::move(ways));
  }

  static bool HasType(const json::value& value, std::string_view type) {
    if (type == "null") return value.is_null();
    if (type == "boolean") return value.is_bool();
    if (type == "string") return value.is_string();
    if (type == "array") return value.is_array();
    if (type == "object") return value.is_object();
    if (type == "number") return value.is_number();
    return value.is_int64() || value.is_uint64() ||
           (value.is_double() && std::trunc(value.get_double()) == value.get_double());
  }

  Result<ExprId> CompileEnum(const json::object& schema, const std::string& path) {
    for (const auto& entry : schema) {
      const std::string_view key = View(entry.key());
      if (key != "enum" && key != "const" && key != "type" && key != "nullable" && !IsSchemaAnnotation(key))
        return Unsupported(path + "/" + std::string(key.substr(0, 100)) + " is not supported beside enum or const");
    }
    ENGRAM_TRY(const std::vector<std::string> types, Types(schema, path));
    std::vector<const json::value*> values;
    if (const json::value* list = schema.if_contains("enum")) {
      if (!list->is_array()) return Wrong(path + "/enum", "must be a list");
      for (const json::value& value : list->get_array()) values.push_back(&value);
    }
    if (const json::value* only = schema.if_contains("const")) {
      if (schema.contains("enum")) {
        std::erase_if(values, [&](const json::value* value) { return *value != *only; });
      } else {
        values.push_back(only);
      }
    }
    std::vector<std::string> texts;
    for (const json::value* value : values)
      if (types.empty() ||
          std::any_of(types.begin(), types.end(), [&](const auto& type) { return HasType(*value, type); }))
        texts.push_back(json::serialize(*value));
    return grammar_.AnyOf(std::move(texts));
  }

  // What `type` and `nullable` allow; empty: everything.
  Result<std::vector<std::string>> Types(const json::object& schema, const std::string& path) const {
    std::vector<std::string> types;
    const json::value* type = schema.if_contains("type");
    if (type == nullptr) return types;
    const auto add = [&](const json::value& name) -> Status {
      const json::string* text = name.if_string();
      if (text == nullptr || std::find(std::begin(kTypes), std::end(kTypes), View(*text)) == std::end(kTypes))
        return Wrong(path + "/type",
                     "must be null, boolean, string, number, integer, array, object or a list of these");
      if (std::find(types.begin(), types.end(), View(*text)) == types.end()) types.emplace_back(View(*text));
      return {};
    };
    if (type->is_array()) {
      for (const json::value& name : type->get_array()) ENGRAM_CHECK_OK(add(name));
      // Only an empty list of combined types.
      if (types.empty()) types.emplace_back("none");
    } else {
      ENGRAM_CHECK_OK(add(*type));
    }
    const json::value* nullable = schema.if_contains("nullable");
    if (nullable != nullptr && !nullable->is_bool()) return Wrong(path + "/nullable", "must be true or false");
    if (nullable != nullptr && nullable->get_bool() && std::find(types.begin(), types.end(), "null") == types.end())
      types.emplace_back("null");
    return types;
  }

  Result<ExprId> CompileTypes(const json::object& schema, const std::string& path) {
    ENGRAM_TRY(std::vector<std::string> types, Types(schema, path));
    if (types.empty()) {
      // Without a type: those that the keywords speak of, or any.
      for (const Keyword& keyword : kKeywords)
        if (!keyword.type.empty() && schema.contains(keyword.name) &&
            std::find(types.begin(), types.end(), keyword.type) == types.end())
          types.emplace_back(keyword.type);
      if (types.empty()) return json_.Value();
    }
    std::vector<ExprId> ways;
    for (const std::string& type : types) {
      ENGRAM_TRY(const ExprId way, CompileType(type, schema, path));
      ways.push_back(way);
    }
    return grammar_.Choice(std::move(ways));
  }

  Result<ExprId> CompileType(std::string_view type, const json::object& schema, const std::string& path) {
    if (type == "null") return grammar_.Literal("null");
    if (type == "boolean") return grammar_.AnyOf({"true", "false"});
    if (type == "string") return CompileString(schema, path);
    if (type == "number" || type == "integer") return CompileNumber(type == "integer", schema, path);
    if (type == "array") return CompileArray(schema, path);
    if (type == "object") return CompileObject(schema, path);
    return Nothing();
  }

  // A number of things: not negative, at most 10^9.
  Result<std::optional<uint32_t>> Count(const json::object& schema, const char* key, const std::string& path) const {
    const json::value* value = schema.if_contains(key);
    if (value == nullptr) return std::optional<uint32_t>();
    const double number = value->is_number() ? value->to_number<double>() : -1;
    if (!(number >= 0 && number <= 1e9 && number == static_cast<double>(static_cast<uint32_t>(number))))
      return Wrong(path + "/" + key, "must be a whole number from 0 to 1000000000");
    return std::optional<uint32_t>(static_cast<uint32_t>(number));
  }

  Result<ExprId> CompileString(const json::object& schema, const std::string& path) {
    ENGRAM_TRY(const std::optional<uint32_t> min, Count(schema, "minLength", path));
    ENGRAM_TRY(const std::optional<uint32_t> max, Count(schema, "maxLength", path));
    if (min.value_or(0) > max.value_or(Expr::kUnbounded)) return Wrong(path + "/minLength", "is above maxLength");
    for (const char* key : {"pattern", "format"}) {
      const json::value* value = schema.if_contains(key);
      if (value == nullptr) continue;
      const std::string place = path + "/" + key;
      if (!value->is_string()) return Wrong(place, "must be a string");
      if (min.value_or(0) > 0 || max || schema.contains(key == std::string_view("pattern") ? "format" : "pattern"))
        return Unsupported(place + " is not supported beside minLength, maxLength, pattern or format");
      std::string pattern(View(value->get_string()));
      if (key == std::string_view("format")) {
        const std::optional<std::string_view> known = PatternOfFormat(pattern);
        if (!known)
          return Unsupported(place + " is " + JsonQuote(pattern.substr(0, 100)) + "; supported are " + KnownFormats());
        pattern = *known;
      }
      Result<ExprId> matched = ParseRegexPattern(pattern, grammar_, json_);
      if (!matched) return std::move(matched).error().At(place);
      return matched;
    }
    if (!min && !max) return json_.String();
    return json_.Quoted(grammar_.Repeat(json_.Character(), min.value_or(0), max.value_or(Expr::kUnbounded)));
  }

  Result<ExprId> CompileNumber(bool integer, const json::object& schema, const std::string& path) {
    NumberBounds bounds;
    const auto read = [&](const char* key, std::optional<double>& bound, bool& excluded, bool exclude,
                          bool upper) -> Status {
      const json::value* value = schema.if_contains(key);
      if (value == nullptr) return {};
      if (!value->is_number()) return Wrong(path + "/" + key, "must be a number");
      const double number = value->to_number<double>();
      const bool tighter = !bound || (upper ? number < *bound : number > *bound) || (number == *bound && exclude);
      if (!tighter) return {};
      bound = number;
      excluded = exclude;
      return {};
    };
    ENGRAM_CHECK_OK(read("minimum", bounds.minimum, bounds.minimum_excluded, false, false));
    ENGRAM_CHECK_OK(read("exclusiveMinimum", bounds.minimum, bounds.minimum_excluded, true, false));
    ENGRAM_CHECK_OK(read("maximum", bounds.maximum, bounds.maximum_excluded, false, true));
    ENGRAM_CHECK_OK(read("exclusiveMaximum", bounds.maximum, bounds.maximum_excluded, true, true));
    if (!bounds.minimum && !bounds.maximum) return integer ? json_.Integer() : json_.Number();
    Result<ExprId> numbers = integer ? IntegersBetween(grammar_, bounds) : NumbersBetween(grammar_, bounds);
    if (!numbers) {
      Error error = std::move(numbers).error();
      error.message = path + " " + error.message;
      return error;
    }
    return numbers;
  }

  Result<ExprId> CompileArray(const json::object& schema, const std::string& path) {
    ENGRAM_TRY(const std::optional<uint32_t> min_items, Count(schema, "minItems", path));
    ENGRAM_TRY(const std::optional<uint32_t> max_items, Count(schema, "maxItems", path));
    const uint32_t max = max_items.value_or(Expr::kUnbounded);
    if (min_items.value_or(0) > max) return Wrong(path + "/minItems", "is above maxItems");
    if (const json::value* unique = schema.if_contains("uniqueItems");
        unique != nullptr && *unique != json::value(false))
      return Unsupported(path + "/uniqueItems is not supported");
    const json::value* items = schema.if_contains("items");
    if (items != nullptr && items->is_array())
      return Unsupported(path + "/items must be a schema; a list of them is called prefixItems");
    const json::value* prefix = schema.if_contains("prefixItems");
    const auto item = [&] { return items == nullptr ? json_.Value() : Call(*items, path + "/items"); };
    if (prefix == nullptr) {
      // Items that nothing can be: none, rather than never an end.
      if (items != nullptr && *items == json::value(false))
        return min_items.value_or(0) > 0 ? Nothing() : json_.ArrayOf(Nothing(), 0, 0);
      return json_.ArrayOf(item(), min_items.value_or(0), max);
    }
    if (!prefix->is_array()) return Wrong(path + "/prefixItems", "must be a list of schemas");
    // Without minItems all of them are given. After them, more only where items is a schema.
    const json::array& first = prefix->get_array();
    const auto num_first = static_cast<uint32_t>(std::min<size_t>(first.size(), max));
    const uint32_t min = min_items.value_or(num_first);
    ExprId tail = grammar_.Literal("");
    if (max > num_first && items != nullptr && *items != json::value(false)) {
      const uint32_t most = max == Expr::kUnbounded ? max : max - num_first;
      const ExprId more = grammar_.Sequence({num_first > 0 ? json_.Comma() : grammar_.Literal(""), item()});
      if (num_first == 0) return json_.ArrayOf(item(), min, max);
      tail = grammar_.Repeat(more, min > num_first ? min - num_first : 0, most);
    } else if (min > num_first) {
      return Nothing();
    }
    for (uint32_t i = num_first; i > 0; --i) {
      ENGRAM_CHECK_OK(TooLarge());
      const ExprId one = Call(first[i - 1], path + "/prefixItems/" + std::to_string(i - 1));
      ExprId rest = grammar_.Sequence({i > 1 ? json_.Comma() : grammar_.Literal(""), one, tail});
      if (i > min) rest = grammar_.Optional(rest);
      const RuleId rule = grammar_.AddRule(path + "/prefixItems");
      grammar_.Define(rule, rest);
      tail = grammar_.Call(rule);
    }
    return grammar_.Sequence({grammar_.Literal("["), json_.Space(), tail, json_.Space(), grammar_.Literal("]")});
  }

  struct Property {
    std::string name;
    ExprId value = 0;
    bool required = false;
  };

  Result<ExprId> CompileObject(const json::object& schema, const std::string& path) {
    std::vector<Property> properties;
    std::vector<std::string> names;
    const json::value* listed = schema.if_contains("properties");
    if (listed != nullptr && !listed->is_object()) return Wrong(path + "/properties", "must be an object");
    const json::value* additional = schema.if_contains("additionalProperties");
    // Where properties are listed, others come only when the schema says so itself.
    const bool others = additional == nullptr ? listed == nullptr : *additional != json::value(false);
    const auto other_value = [&] {
      return additional == nullptr ? json_.Value() : Call(*additional, path + "/additionalProperties");
    };
    std::unordered_map<std::string, size_t> places;
    if (listed != nullptr) {
      for (const auto& entry : listed->get_object()) {
        ENGRAM_CHECK_OK(TooLarge());
        const std::string name(View(entry.key()));
        places.emplace(name, properties.size());
        properties.push_back({name, Call(entry.value(), path + "/properties/" + name.substr(0, 100))});
      }
    }
    if (const json::value* required = schema.if_contains("required")) {
      if (!required->is_array()) return Wrong(path + "/required", "must be a list of names");
      for (const json::value& item : required->get_array()) {
        ENGRAM_CHECK_OK(TooLarge());
        if (!item.is_string()) return Wrong(path + "/required", "must be a list of names");
        const std::string name(View(item.get_string()));
        const auto [found, added] = places.emplace(name, properties.size());
        if (added) {
          if (additional != nullptr && !others)
            return Wrong(path + "/required",
                         "has " + JsonQuote(name.substr(0, 100)) + ", which additionalProperties forbids");
          properties.push_back({name, other_value()});
        }
        properties[found->second].required = true;
      }
    }
    ENGRAM_CHECK_OK(CheckNumProperties(schema, path, properties, others));
    if (properties.empty() && others && additional == nullptr) return json_.Object();
    for (const Property& property : properties) names.push_back(property.name);

    // From the last: what may come when something was written before, and when nothing was.
    ExprId after = grammar_.Literal("");
    ExprId at_start = after;
    if (others) {
      const ExprId key = names.empty() ? json_.String() : json_.StringBut(names);
      const ExprId member = json_.Member(key, other_value());
      after = grammar_.Repeat(grammar_.Sequence({json_.Comma(), member}), 0, Expr::kUnbounded);
      at_start = grammar_.Optional(grammar_.Sequence({member, after}));
    }
    for (size_t i = properties.size(); i > 0; --i) {
      ENGRAM_CHECK_OK(TooLarge());
      const Property& property = properties[i - 1];
      const ExprId member = json_.Member(grammar_.Literal(JsonQuote(property.name)), property.value);
      const ExprId first = grammar_.Sequence({member, after});
      const ExprId later = grammar_.Sequence({json_.Comma(), member, after});
      const auto rule = [&](ExprId body) {
        const RuleId id = grammar_.AddRule(path + "/properties");
        grammar_.Define(id, body);
        return grammar_.Call(id);
      };
      at_start = rule(property.required ? first : grammar_.Choice({first, at_start}));
      after = rule(property.required ? later : grammar_.Choice({later, after}));
    }
    return grammar_.Sequence({grammar_.Literal("{"), json_.Space(), at_start, json_.Space(), grammar_.Literal("}")});
  }

  Status CheckNumProperties(const json::object& schema, const std::string& path,
                            const std::vector<Property>& properties, bool others) const {
    ENGRAM_TRY(const std::optional<uint32_t> min, Count(schema, "minProperties", path));
    ENGRAM_TRY(const std::optional<uint32_t> max, Count(schema, "maxProperties", path));
    const auto num_required = static_cast<size_t>(
        std::count_if(properties.begin(), properties.end(), [](const Property& p) { return p.required; }));
    if (min && *min > num_required)
      return Unsupported(path + "/minProperties is only supported up to the number of required properties");
    if (max && (others || *max < properties.size()))
      return Unsupported(path + "/maxProperties is only supported from the number of properties up, without others");
    return {};
  }

  const json::value& root_;
  const std::string path_;
  Grammar& grammar_;
  JsonGrammar& json_;
  SchemaMerger merger_;
  std::unordered_map<const json::value*, RuleId> rules_;
  std::deque<Work> work_;
};

}  // namespace

Result<ExprId> AddJsonSchema(const json::value& schema, const std::string& path, Grammar& grammar, JsonGrammar& json) {
  return Compiler(schema, path, grammar, json).Run();
}

}  // namespace engram
