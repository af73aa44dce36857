// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_value.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace engram {
namespace {

int DepthOf(const JinjaItems& items) {
  int depth = 0;
  for (const JinjaValue& item : items) depth = std::max(depth, item.Depth());
  return depth + 1;
}

// Equal keys of Python's dict have equal texts: 1, 1.0 and True are one key.
bool KeyOf(const JinjaValue& key, std::string& out) {
  if (key.IsString()) {
    out = "s" + key.AsString();
  } else if (key.IsIntegral()) {
    out = "n" + std::to_string(key.AsInteger());
  } else if (key.IsNumber()) {
    const double number = key.AsDouble();
    const bool whole = std::trunc(number) == number && std::abs(number) < 9e18;
    out = "n" + (whole ? std::to_string(static_cast<int64_t>(number)) : JinjaFloatRepr(number));
  } else if (key.IsNone()) {
    out = "z";
  } else {
    return false;
  }
  return true;
}

void AppendHex(std::string& out, uint32_t value, int digits) {
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) out += "0123456789abcdef"[(value >> shift) & 15];
}

void AppendStringRepr(std::string& out, const std::string& text) {
  const bool double_quoted = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = double_quoted ? '"' : '\'';
  out += quote;
  for (char32_t c : JinjaCodePoints(text)) {
    const auto code = static_cast<uint32_t>(c);
    if (c == U'\\' || c == static_cast<char32_t>(quote)) {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == U'\n') {
      out += "\\n";
    } else if (c == U'\r') {
      out += "\\r";
    } else if (c == U'\t') {
      out += "\\t";
    } else if (c == U' ' || (u_isprint(static_cast<UChar32>(c)) && !u_isUWhiteSpace(static_cast<UChar32>(c)))) {
      out += JinjaUtf8(std::u32string_view(&c, 1));
    } else if (code < 0x100) {
      out += "\\x";
      AppendHex(out, code, 2);
    } else if (code < 0x10000) {
      out += "\\u";
      AppendHex(out, code, 4);
    } else {
      out += "\\U";
      AppendHex(out, code, 8);
    }
  }
  out += quote;
}

void AppendJsonString(std::string& out, const std::string& text, bool ensure_ascii) {
  out += '"';
  for (char32_t c : JinjaCodePoints(text)) {
    const auto code = static_cast<uint32_t>(c);
    switch (code) {
      case '"':
        out += "\\\"";
        continue;
      case '\\':
        out += "\\\\";
        continue;
      case '\n':
        out += "\\n";
        continue;
      case '\r':
        out += "\\r";
        continue;
      case '\t':
        out += "\\t";
        continue;
      case '\b':
        out += "\\b";
        continue;
      case '\f':
        out += "\\f";
        continue;
      default:
        break;
    }
    if (code >= 0x20 && (code < 0x7F || !ensure_ascii)) {
      out += JinjaUtf8(std::u32string_view(&c, 1));
    } else if (code < 0x10000) {
      out += "\\u";
      AppendHex(out, code, 4);
    } else {
      out += "\\u";
      AppendHex(out, 0xD800 + ((code - 0x10000) >> 10), 4);
      out += "\\u";
      AppendHex(out, 0xDC00 + ((code - 0x10000) & 0x3FF), 4);
    }
  }
  out += '"';
}

void NewLine(std::string& out, const JinjaJsonStyle& style, int level) {
  if (!style.indented) return;
  out += '\n';
  for (int i = 0; i < level; ++i) out += style.indent;
}

// json.dumps writes keys that are not strings as strings of their JSON form.
std::string JsonKey(const JinjaValue& key) {
  if (key.IsString()) return key.AsString();
  if (key.IsNone()) return "null";
  if (const bool* flag = key.If<bool>()) return *flag ? "true" : "false";
  return key.IsIntegral() ? std::to_string(key.AsInteger()) : JinjaFloatRepr(key.AsDouble());
}

std::string JsonFloat(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return JinjaFloatRepr(value);
}

void AppendReprItems(std::string& out, const JinjaItems& items, JinjaBudget& budget) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i != 0) out += ", ";
    JinjaAppendRepr(out, items[i], budget);
    if (budget.exhausted()) return;
  }
}

}  // namespace

JinjaValue JinjaValue::MakeList(JinjaItems items) {
  const int depth = DepthOf(items);
  return JinjaValue(List{std::make_shared<const JinjaItems>(std::move(items)), depth});
}
JinjaValue JinjaValue::MakeTuple(JinjaItems items) {
  const int depth = DepthOf(items);
  return JinjaValue(Tuple{std::make_shared<const JinjaItems>(std::move(items)), depth});
}
JinjaValue JinjaValue::MakeDict(JinjaDict dict) {
  return JinjaValue(Dict(std::make_shared<const JinjaDict>(std::move(dict))));
}
JinjaValue JinjaValue::MakeCallable(JinjaCallable callable) {
  return JinjaValue(Callable(std::make_shared<const JinjaCallable>(std::move(callable))));
}

Result<JinjaValue> JinjaValue::FromJson(const boost::json::value& json, int depth) {
  if (depth > kMaxDepth) return InvalidArgument("nested deeper than " + std::to_string(kMaxDepth) + " levels");
  switch (json.kind()) {
    case boost::json::kind::null:
      return MakeNone();
    case boost::json::kind::bool_:
      return Bool(json.get_bool());
    case boost::json::kind::int64:
      return Int(json.get_int64());
    case boost::json::kind::uint64:
      return InvalidArgument("integer " + std::to_string(json.get_uint64()) + " is above 2^63 - 1");
    case boost::json::kind::double_:
      return Float(json.get_double());
    case boost::json::kind::string:
      return Str(std::string(json.get_string()));
    case boost::json::kind::array: {
      JinjaItems items;
      items.reserve(json.get_array().size());
      for (const boost::json::value& item : json.get_array()) {
        ENGRAM_TRY(JinjaValue value, FromJson(item, depth + 1));
        items.push_back(std::move(value));
      }
      return MakeList(std::move(items));
    }
    case boost::json::kind::object: {
      JinjaDict dict;
      for (const auto& [key, item] : json.get_object()) {
        Result<JinjaValue> value = FromJson(item, depth + 1);
        if (!value) return std::move(value).error().At(std::string(key).substr(0, 64));
        dict.Set(Str(std::string(key)), std::move(*value));
      }
      return MakeDict(std::move(dict));
    }
  }
  return Internal("a JSON value of no known kind");
}

const JinjaItems& JinjaValue::AsItems() const {
  if (const List* list = If<List>()) return *list->items;
  return *If<Tuple>()->items;
}

int64_t JinjaValue::AsInteger() const {
  if (const bool* flag = If<bool>()) return *flag ? 1 : 0;
  return *If<int64_t>();
}

double JinjaValue::AsDouble() const {
  if (const double* number = If<double>()) return *number;
  return static_cast<double>(AsInteger());
}

bool JinjaValue::Truthy() const {
  if (IsUndefined() || IsNone()) return false;
  if (IsIntegral()) return AsInteger() != 0;
  if (IsNumber()) return AsDouble() != 0;
  if (IsString()) return !AsString().empty();
  if (IsSequence()) return !AsItems().empty();
  if (const Dict* dict = If<Dict>()) return !(*dict)->entries.empty();
  return true;
}

std::string_view JinjaValue::TypeName() const {
  constexpr std::string_view kNames[] = {"undefined", "None",  "bool", "int",       "float", "str",
                                         "list",      "tuple", "dict", "namespace", "loop",  "function"};
  static_assert(std::size(kNames) == std::variant_size_v<Data>);
  return kNames[data_.index()];
}

int JinjaValue::Depth() const {
  if (const List* list = If<List>()) return list->depth;
  if (const Tuple* tuple = If<Tuple>()) return tuple->depth;
  if (const Dict* dict = If<Dict>()) return (*dict)->depth;
  if (const Callable* callable = If<Callable>()) return (*callable)->self.Depth();
  return 0;
}

bool JinjaDict::Set(JinjaValue key, JinjaValue value) {
  std::string text;
  if (!KeyOf(key, text)) return false;
  depth = std::max(depth, value.Depth() + 1);
  const auto [at, is_new] = index.emplace(std::move(text), entries.size());
  if (is_new) {
    entries.emplace_back(std::move(key), std::move(value));
  } else {
    entries[at->second].second = std::move(value);
  }
  return true;
}

const JinjaValue* JinjaDict::Find(const JinjaValue& key) const {
  std::string text;
  if (!KeyOf(key, text)) return nullptr;
  const auto at = index.find(text);
  return at == index.end() ? nullptr : &entries[at->second].second;
}

const JinjaValue* JinjaDict::Find(std::string_view key) const {
  const auto at = index.find("s" + std::string(key));
  return at == index.end() ? nullptr : &entries[at->second].second;
}

bool JinjaEqual(const JinjaValue& a, const JinjaValue& b, JinjaBudget& budget) {
  if (!budget.Spend(1)) return false;
  if (a.IsIntegral() && b.IsIntegral()) return a.AsInteger() == b.AsInteger();
  if (a.IsNumber() && b.IsNumber()) return a.AsDouble() == b.AsDouble();
  if (a.IsString() && b.IsString()) {
    return budget.SpendBytes(std::min(a.AsString().size(), b.AsString().size())) && a.AsString() == b.AsString();
  }
  if ((a.IsNone() && b.IsNone()) || (a.IsUndefined() && b.IsUndefined())) return true;
  if (a.TypeName() != b.TypeName()) return false;
  if (a.IsSequence()) {
    const JinjaItems& left = a.AsItems();
    const JinjaItems& right = b.AsItems();
    if (left.size() != right.size()) return false;
    for (size_t i = 0; i < left.size(); ++i) {
      if (!JinjaEqual(left[i], right[i], budget)) return false;
    }
    return true;
  }
  if (const auto* left = a.If<JinjaValue::Dict>()) {
    const JinjaDict& right = **b.If<JinjaValue::Dict>();
    if ((*left)->entries.size() != right.entries.size()) return false;
    for (const auto& [key, value] : (*left)->entries) {
      const JinjaValue* other = right.Find(key);
      if (other == nullptr || !JinjaEqual(value, *other, budget)) return false;
    }
    return true;
  }
  if (const auto* left = a.If<JinjaValue::Namespace>()) {
    return left->attributes == b.If<JinjaValue::Namespace>()->attributes;
  }
  if (const auto* left = a.If<JinjaValue::Loop>()) return *left == *b.If<JinjaValue::Loop>();
  return *a.If<JinjaValue::Callable>() == *b.If<JinjaValue::Callable>();
}

std::string JinjaFloatRepr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // The shortest digits that read back, as Python has them; it writes an exponent below 1e-4 and from 1e16.
  char buffer[64];
  const double magnitude = std::abs(value);
  const bool fixed = value == 0 || (magnitude >= 1e-4 && magnitude < 1e16);
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value,
                                 fixed ? std::chars_format::fixed : std::chars_format::scientific)
                       .ptr;
  std::string text(buffer, end);
  if (fixed && text.find('.') == std::string::npos) text += ".0";
  return text;
}

void JinjaAppendStr(std::string& out, const JinjaValue& value, JinjaBudget& budget) {
  if (value.IsUndefined()) return;
  if (value.IsString()) {
    if (budget.SpendBytes(value.AsString().size())) out += value.AsString();
    return;
  }
  JinjaAppendRepr(out, value, budget);
}

void JinjaAppendRepr(std::string& out, const JinjaValue& value, JinjaBudget& budget) {
  if (!budget.Spend(1)) return;
  if (value.IsUndefined()) {
    out += "Undefined";
  } else if (value.IsNone()) {
    out += "None";
  } else if (const bool* flag = value.If<bool>()) {
    out += *flag ? "True" : "False";
  } else if (value.IsIntegral()) {
    out += std::to_string(value.AsInteger());
  } else if (value.IsNumber()) {
    out += JinjaFloatRepr(value.AsDouble());
  } else if (value.IsString()) {
    if (budget.SpendBytes(4 * value.AsString().size())) AppendStringRepr(out, value.AsString());
  } else if (const auto* list = value.If<JinjaValue::List>()) {
    out += '[';
    AppendReprItems(out, *list->items, budget);
    out += ']';
  } else if (const auto* tuple = value.If<JinjaValue::Tuple>()) {
    out += '(';
    AppendReprItems(out, *tuple->items, budget);
    out += tuple->items->size() == 1 ? ",)" : ")";
  } else if (const auto* dict = value.If<JinjaValue::Dict>()) {
    out += '{';
    const auto& entries = (*dict)->entries;
    for (size_t i = 0; i < entries.size() && !budget.exhausted(); ++i) {
      if (i != 0) out += ", ";
      JinjaAppendRepr(out, entries[i].first, budget);
      out += ": ";
      JinjaAppendRepr(out, entries[i].second, budget);
    }
    out += '}';
  } else {
    out += '<';
    out += value.TypeName();
    out += '>';
  }
}

Status JinjaAppendJson(std::string& out, const JinjaValue& value, const JinjaJsonStyle& style, JinjaBudget& budget,
                       int level) {
  if (!budget.Spend(1)) return {};
  if (value.IsNone()) {
    out += "null";
  } else if (const bool* flag = value.If<bool>()) {
    out += *flag ? "true" : "false";
  } else if (value.IsIntegral()) {
    out += std::to_string(value.AsInteger());
  } else if (value.IsNumber()) {
    out += JsonFloat(value.AsDouble());
  } else if (value.IsString()) {
    if (budget.SpendBytes(2 * value.AsString().size())) AppendJsonString(out, value.AsString(), style.ensure_ascii);
  } else if (value.IsSequence()) {
    const JinjaItems& items = value.AsItems();
    out += '[';
    for (size_t i = 0; i < items.size() && !budget.exhausted(); ++i) {
      if (i != 0) out += style.item_separator;
      NewLine(out, style, level + 1);
      ENGRAM_CHECK_OK(JinjaAppendJson(out, items[i], style, budget, level + 1));
    }
    if (!items.empty()) NewLine(out, style, level);
    out += ']';
  } else if (const auto* dict = value.If<JinjaValue::Dict>()) {
    std::vector<const std::pair<JinjaValue, JinjaValue>*> entries;
    for (const auto& entry : (*dict)->entries) entries.push_back(&entry);
    if (style.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto* a, const auto* b) { return JsonKey(a->first) < JsonKey(b->first); });
    }
    out += '{';
    for (size_t i = 0; i < entries.size() && !budget.exhausted(); ++i) {
      if (i != 0) out += style.item_separator;
      NewLine(out, style, level + 1);
      AppendJsonString(out, JsonKey(entries[i]->first), style.ensure_ascii);
      out += style.key_separator;
      ENGRAM_CHECK_OK(JinjaAppendJson(out, entries[i]->second, style, budget, level + 1));
    }
    if (!entries.empty()) NewLine(out, style, level);
    out += '}';
  } else {
    return InvalidArgument("tojson: a value of type " + std::string(value.TypeName()) + " has no JSON form");
  }
  return {};
}

std::u32string JinjaCodePoints(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  const auto size = static_cast<int64_t>(text.size());
  for (int64_t i = 0; i < size;) {
    UChar32 c;
    U8_NEXT_OR_FFFD(text.data(), i, size, c);
    out.push_back(static_cast<char32_t>(c));
  }
  return out;
}

std::string JinjaUtf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char32_t c : text) {
    char bytes[U8_MAX_LENGTH];
    int length = 0;
    U8_APPEND_UNSAFE(bytes, length, static_cast<UChar32>(c));
    out.append(bytes, static_cast<size_t>(length));
  }
  return out;
}

size_t JinjaLength(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace engram
