// SPDX-License-Identifier: Apache-2.0
// Filters. Where Jinja2 gives a generator these give a list.
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <unordered_map>

#include "text/jinja_interpreter.h"

namespace engram {
namespace {

using Run = JinjaInterpreter;
using Filter = JinjaValue (*)(Run& run, const JinjaValue& value, JinjaArguments arguments);

bool Given(const JinjaValue& value) {
  return !value.IsUndefined() && !value.IsNone();
}

// item.a.b.0 of "a.b.0", or of an integer; `fallback`, where given, for each part that is undefined.
JinjaValue Path(Run& run, JinjaValue item, const JinjaValue& path, const JinjaValue& fallback = {}) {
  const auto step = [&](const JinjaValue& key) {
    item = run.Item(item, key);
    if (item.IsUndefined() && Given(fallback)) item = fallback;
  };
  if (path.IsIntegral()) {
    step(path);
    return item;
  }
  if (!path.IsString()) {
    run.Fail("an attribute must be a str or an integer");
    return {};
  }
  const std::string& text = path.AsString();
  for (size_t begin = 0; begin <= text.size() && !run.failed();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const bool digits = !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
    step(digits ? JinjaValue::Int(std::stoll(part)) : JinjaValue::Str(part));
    begin = end + 1;
  }
  return item;
}

// What sort, unique, min and max compare.
JinjaValue SortKey(Run& run, const JinjaValue& item, const JinjaValue& attribute, bool case_sensitive) {
  JinjaValue key = Given(attribute) ? Path(run, item, attribute) : item;
  if (case_sensitive || !key.IsString()) return key;
  return run.Text(JinjaChangeCase(key.AsString(), JinjaCase::kLower));
}

// Stable; merges, because std::sort may run wild where a comparison fails half way.
JinjaItems SortItems(Run& run, const JinjaItems& items, const std::vector<JinjaValue>& keys, bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::vector<size_t> merged(order.size());
  for (size_t width = 1; width < order.size() && !run.failed(); width *= 2) {
    for (size_t begin = 0; begin < order.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, order.size());
      const size_t end = std::min(begin + 2 * width, order.size());
      size_t left = begin;
      size_t right = middle;
      for (size_t out = begin; out < end; ++out) {
        bool take_right = left == middle;
        if (!take_right && right < end) {
          const int sign = run.Order(keys[order[right]], keys[order[left]]);
          take_right = reverse ? sign > 0 : sign < 0;
        }
        merged[out] = take_right ? order[right++] : order[left++];
      }
    }
    order.swap(merged);
  }
  JinjaItems sorted;
  for (size_t i : order) sorted.push_back(items[i]);
  return sorted;
}

JinjaValue Sort(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const auto bound = run.Bind(std::move(arguments), {"reverse", "case_sensitive", "attribute"});
  const auto items = run.ItemsOf(value);
  std::vector<JinjaValue> keys;
  for (const JinjaValue& item : *items) keys.push_back(SortKey(run, item, bound[2], bound[1].Truthy()));
  return run.List(SortItems(run, *items, keys, bound[0].Truthy()));
}

JinjaValue DictSort(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const auto bound = run.Bind(std::move(arguments), {"case_sensitive", "by", "reverse"});
  const auto* dict = value.If<JinjaValue::Dict>();
  if (dict == nullptr) {
    run.Fail("dictsort needs a dict, not a " + std::string(value.TypeName()));
    return {};
  }
  const std::string by = bound[1].IsUndefined() ? "key" : run.StringOf(bound[1]);
  if (by != "key" && by != "value") run.Fail("dictsort sorts by \"key\" or \"value\"");
  const bool by_value = by == "value";
  JinjaItems items;
  std::vector<JinjaValue> keys;
  for (const auto& [key, item] : (*dict)->entries) {
    items.push_back(run.Tuple({key, item}));
    keys.push_back(SortKey(run, by_value ? item : key, {}, bound[0].Truthy()));
  }
  return run.List(SortItems(run, items, keys, bound[2].Truthy()));
}

JinjaValue Unique(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const auto bound = run.Bind(std::move(arguments), {"case_sensitive", "attribute"});
  JinjaItems kept;
  JinjaItems seen;
  const auto items = run.ItemsOf(value);
  for (const JinjaValue& item : *items) {
    const JinjaValue key = SortKey(run, item, bound[1], bound[0].Truthy());
    if (run.failed()) return {};
    if (std::any_of(seen.begin(), seen.end(), [&](const JinjaValue& x) { return JinjaEqual(x, key, run.budget()); })) {
      continue;
    }
    seen.push_back(key);
    kept.push_back(item);
  }
  return run.List(std::move(kept));
}

JinjaValue Extreme(Run& run, const JinjaValue& value, JinjaArguments arguments, int wanted) {
  const auto bound = run.Bind(std::move(arguments), {"case_sensitive", "attribute"});
  JinjaValue best;
  JinjaValue best_key;
  bool is_first = true;
  const auto items = run.ItemsOf(value);
  for (const JinjaValue& item : *items) {
    JinjaValue key = SortKey(run, item, bound[1], bound[0].Truthy());
    if (run.failed()) return {};
    if (is_first || run.Order(key, best_key) == wanted) {
      best = item;
      best_key = std::move(key);
    }
    is_first = false;
  }
  return best;
}
JinjaValue Min(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  return Extreme(run, value, std::move(arguments), -1);
}
JinjaValue Max(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  return Extreme(run, value, std::move(arguments), 1);
}

JinjaValue Sum(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const auto bound = run.Bind(std::move(arguments), {"attribute", "start"});
  JinjaValue sum = bound[1].IsUndefined() ? JinjaValue::Int(0) : bound[1];
  const auto items = run.ItemsOf(value);
  for (const JinjaValue& item : *items) {
    if (run.failed()) return {};
    sum = run.Arithmetic("+", sum, Given(bound[0]) ? Path(run, item, bound[0]) : item);
  }
  return sum;
}

// map(attribute=..., default=...) or map("filter", arguments...)
JinjaValue Map(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  JinjaItems out;
  if (!arguments.positional.empty()) {
    const JinjaValue name = arguments.positional[0];
    arguments.positional.erase(arguments.positional.begin());
    if (!name.IsString() || !IsJinjaFilter(name.AsString())) {
      run.Fail(ErrorCode::kUnsupported, "filter '" + run.StringOf(name).substr(0, 40) + "' is not supported");
    }
    if (run.failed()) return {};
    const auto items = run.ItemsOf(value);
    for (const JinjaValue& item : *items) {
      if (run.failed()) return {};
      out.push_back(run.CallFilter(name.AsString(), item, arguments));
    }
    return run.List(std::move(out));
  }
  const auto bound = run.Bind(std::move(arguments), {"attribute", "default"});
  const auto items = run.ItemsOf(value);
  for (const JinjaValue& item : *items) {
    if (run.failed()) return {};
    out.push_back(Path(run, item, bound[0], bound[1]));
  }
  return run.List(std::move(out));
}

// select, reject and, by an attribute, selectattr and rejectattr: with a test's name and arguments, or by truth.
JinjaValue Choose(Run& run, const JinjaValue& value, JinjaArguments arguments, bool by_attribute, bool keeps) {
  JinjaValue attribute;
  auto& positional = arguments.positional;
  if (by_attribute) {
    if (positional.empty()) run.Fail("needs the name of an attribute");
    if (run.failed()) return {};
    attribute = positional[0];
    positional.erase(positional.begin());
  }
  std::string test;
  if (!positional.empty()) {
    test = run.StringOf(positional[0]);
    positional.erase(positional.begin());
    if (!IsJinjaTest(test)) run.Fail(ErrorCode::kUnsupported, "test '" + test.substr(0, 40) + "' is not supported");
  }
  JinjaItems out;
  const auto items = run.ItemsOf(value);
  for (const JinjaValue& item : *items) {
    if (run.failed()) return {};
    const JinjaValue part = by_attribute ? Path(run, item, attribute) : item;
    if ((test.empty() ? part.Truthy() : run.CallTest(test, part, arguments)) == keeps) out.push_back(item);
  }
  return run.List(std::move(out));
}
JinjaValue Select(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  return Choose(run, value, std::move(arguments), false, true);
}
JinjaValue Reject(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  return Choose(run, value, std::move(arguments), false, false);
}
JinjaValue SelectAttr(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  return Choose(run, value, std::move(arguments), true, true);
}
JinjaValue RejectAttr(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  return Choose(run, value, std::move(arguments), true, false);
}

JinjaValue Abs(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  run.Bind(std::move(arguments), {});
  if (!value.IsNumber()) run.Fail("abs needs a number, not a " + std::string(value.TypeName()));
  if (run.failed()) return {};
  if (!value.IsIntegral()) return JinjaValue::Float(std::abs(value.AsDouble()));
  return value.AsInteger() < 0 ? run.Arithmetic("-", JinjaValue::Int(0), value) : JinjaValue::Int(value.AsInteger());
}

template <JinjaCase kCase>
JinjaValue ChangeCase(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  run.Bind(std::move(arguments), {});
  return run.Text(JinjaChangeCase(run.StringOf(value), kCase));
}

// The filter's title(): the first character of every word in upper case, where words end at white space, brackets and
// hyphens; unlike str.title().
JinjaValue Title(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  run.Bind(std::move(arguments), {});
  std::string out;
  std::u32string word;
  const auto flush = [&] {
    if (word.empty()) return;
    out += JinjaChangeCase(JinjaUtf8(word.substr(0, 1)), JinjaCase::kUpper);
    out += JinjaChangeCase(JinjaUtf8(word.substr(1)), JinjaCase::kLower);
    word.clear();
  };
  for (char32_t c : JinjaCodePoints(run.StringOf(value))) {
    const bool breaks =
        std::u32string_view(U"-({[<").find(c) != std::u32string_view::npos || u_isUWhiteSpace(static_cast<UChar32>(c));
    if (breaks) flush();
    if (breaks) {
      out += JinjaUtf8(std::u32string_view(&c, 1));
    } else {
      word += c;
    }
  }
  flush();
  return run.Text(std::move(out));
}

JinjaValue Default(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const auto bound = run.Bind(std::move(arguments), {"default_value", "boolean"});
  const bool missing = value.IsUndefined() || (bound[1].Truthy() && !value.Truthy());
  if (!missing) return value;
  return bound[0].IsUndefined() ? JinjaValue::Str("") : bound[0];
}

JinjaValue First(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  run.Bind(std::move(arguments), {});
  const auto items = run.ItemsOf(value);
  return items->empty() ? JinjaValue::MakeUndefined("the first item of an empty sequence") : items->front();
}
JinjaValue Last(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  run.Bind(std::move(arguments), {});
  const auto items = run.ItemsOf(value);
  return items->empty() ? JinjaValue::MakeUndefined("the last item of an empty sequence") : items->back();
}

JinjaValue Length(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  run.Bind(std::move(arguments), {});
  if (value.IsString()) return JinjaValue::Int(static_cast<int64_t>(JinjaLength(value.AsString())));
  if (const auto* dict = value.If<JinjaValue::Dict>()) {
    return JinjaValue::Int(static_cast<int64_t>((*dict)->entries.size()));
  }
  if (!value.IsSequence() && !value.IsUndefined()) run.Fail("a " + std::string(value.TypeName()) + " has no length");
  return JinjaValue::Int(value.IsSequence() ? static_cast<int64_t>(value.AsItems().size()) : 0);
}

JinjaValue ToList(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  run.Bind(std::move(arguments), {});
  return run.List(*run.ItemsOf(value));
}

JinjaValue Reverse(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  run.Bind(std::move(arguments), {});
  if (value.IsString()) {
    std::u32string points = JinjaCodePoints(value.AsString());
    std::reverse(points.begin(), points.end());
    return run.Text(JinjaUtf8(points));
  }
  JinjaItems items = *run.ItemsOf(value);
  std::reverse(items.begin(), items.end());
  return run.List(std::move(items));
}

JinjaValue Items(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  run.Bind(std::move(arguments), {});
  if (value.IsUndefined()) return run.List({});
  const auto* dict = value.If<JinjaValue::Dict>();
  if (dict == nullptr) run.Fail("items needs a dict, not a " + std::string(value.TypeName()));
  if (run.failed()) return {};
  JinjaItems items;
  for (const auto& [key, item] : (*dict)->entries) items.push_back(run.Tuple({key, item}));
  return run.List(std::move(items));
}

JinjaValue Join(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const auto bound = run.Bind(std::move(arguments), {"d", "attribute"});
  const std::string separator = run.StringOf(bound[0]);
  std::string text;
  bool is_first = true;
  const auto items = run.ItemsOf(value);
  for (const JinjaValue& item : *items) {
    if (!is_first) text += separator;
    is_first = false;
    text += run.StringOf(Given(bound[1]) ? Path(run, item, bound[1]) : item);
    if (text.size() > Run::kMaxTextBytes || run.failed()) break;
  }
  return run.Text(std::move(text));
}

JinjaValue ToString(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  run.Bind(std::move(arguments), {});
  return run.Text(run.StringOf(value));
}

JinjaValue Safe(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  run.Bind(std::move(arguments), {});
  return value;  // nothing is escaped, so nothing is to be exempted
}

// The number a text begins and ends with, white space aside; nothing for another text.
std::optional<double> ParseNumber(const std::string& text) {
  const std::string stripped = JinjaStrip(text, nullptr, true, true);
  if (stripped.empty() || stripped.find_first_of("xXpP") != std::string::npos) return std::nullopt;
  char* end = nullptr;
  const double number = std::strtod(stripped.c_str(), &end);
  return *end == '\0' ? std::optional<double>(number) : std::nullopt;
}

JinjaValue ToInt(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const auto bound = run.Bind(std::move(arguments), {"default", "base"});
  const int64_t base = run.IntegerOr(bound[1], 10);
  const JinjaValue fallback = bound[0].IsUndefined() ? JinjaValue::Int(0) : bound[0];
  if (value.IsUndefined()) run.Fail(value.If<JinjaValue::Undefined>()->name + " is undefined");
  if (base != 10) run.Fail(ErrorCode::kUnsupported, "int with another base is not supported");
  if (run.failed()) return {};
  if (value.IsIntegral()) return JinjaValue::Int(value.AsInteger());
  std::optional<double> number;
  if (value.IsNumber()) number = value.AsDouble();
  if (value.IsString()) {
    const std::string text = JinjaStrip(value.AsString(), nullptr, true, true);
    errno = 0;
    char* end = nullptr;
    const long long integer = std::strtoll(text.c_str(), &end, 10);
    if (!text.empty() && *end == '\0' && errno == 0) return JinjaValue::Int(integer);
    number = ParseNumber(text);
  }
  if (!number || !(std::abs(*number) < 9.2e18)) return fallback;
  return JinjaValue::Int(static_cast<int64_t>(*number));
}

JinjaValue ToFloat(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const auto bound = run.Bind(std::move(arguments), {"default"});
  if (value.IsUndefined()) run.Fail(value.If<JinjaValue::Undefined>()->name + " is undefined");
  if (value.IsNumber()) return JinjaValue::Float(value.AsDouble());
  if (value.IsString()) {
    if (const std::optional<double> number = ParseNumber(value.AsString())) return JinjaValue::Float(*number);
  }
  return bound[0].IsUndefined() ? JinjaValue::Float(0) : bound[0];
}

JinjaValue Round(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const auto bound = run.Bind(std::move(arguments), {"precision", "method"});
  const int64_t precision = run.IntegerOr(bound[0], 0);
  const std::string method = bound[1].IsUndefined() ? "common" : run.StringOf(bound[1]);
  if (!value.IsNumber()) run.Fail("round needs a number, not a " + std::string(value.TypeName()));
  if (precision < -15 || precision > 15) run.Fail("round takes a precision of -15 to 15");
  if (method != "common" && method != "ceil" && method != "floor") run.Fail("round: unknown method '" + method + "'");
  if (run.failed()) return {};
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = value.AsDouble() * scale;
  if (method == "common") {
    if (value.IsIntegral() && precision >= 0) return JinjaValue::Int(value.AsInteger());
    // Python rounds the decimal value correctly, halves to even; so does printf.
    if (precision < 0) return JinjaValue::Float(std::nearbyint(scaled) / scale);
    char text[512];
    std::snprintf(text, sizeof text, "%.*f", static_cast<int>(precision), value.AsDouble());
    return JinjaValue::Float(std::strtod(text, nullptr));
  }
  return JinjaValue::Float((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

JinjaValue Replace(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const auto bound = run.Bind(std::move(arguments), {"old", "new", "count"});
  const int64_t limit = run.IntegerOr(bound[2], -1);
  if (run.failed()) return {};
  auto replaced =
      JinjaReplace(run.StringOf(value), run.StringOf(bound[0]), run.StringOf(bound[1]), limit, Run::kMaxTextBytes);
  if (!replaced) run.Fail(ErrorCode::kResourceExhausted, "the text that replace makes is too long");
  return replaced ? run.Text(*std::move(replaced)) : JinjaValue();
}

JinjaValue Trim(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const JinjaValue characters = run.Bind(std::move(arguments), {"chars"})[0];
  const std::string set = run.StringOf(characters);
  return run.Text(JinjaStrip(run.StringOf(value), Given(characters) ? &set : nullptr, true, true));
}

JinjaValue Indent(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const auto bound = run.Bind(std::move(arguments), {"width", "first", "blank"});
  if (!bound[0].IsString()) {
    const int64_t width = run.IntegerOr(bound[0], 4);
    if (width < 0 || width > 1000) run.Fail("indent takes a width of 0 to 1000");
    if (run.failed()) return {};
  }
  const std::string indent =
      bound[0].IsString() ? bound[0].AsString() : std::string(static_cast<size_t>(run.IntegerOr(bound[0], 4)), ' ');
  const std::string text = run.StringOf(value);
  std::string out = bound[1].Truthy() ? indent : "";
  for (size_t i = 0; i < text.size() && out.size() <= Run::kMaxTextBytes; ++i) {
    out += text[i];
    if (text[i] != '\n') continue;
    const bool blank = i + 1 == text.size() || text[i + 1] == '\n';
    if (!blank || bound[2].Truthy()) out += indent;
  }
  return run.Text(std::move(out));
}

JinjaValue ToJson(Run& run, const JinjaValue& value, JinjaArguments arguments) {
  const auto bound = run.Bind(std::move(arguments), {"ensure_ascii", "indent", "separators", "sort_keys"});
  JinjaJsonStyle style;
  style.ensure_ascii = bound[0].Truthy();
  style.sort_keys = bound[3].Truthy();
  if (Given(bound[1])) {
    const int64_t width = bound[1].IsString() ? 0 : run.IntegerOr(bound[1], 0);
    if (width < 0 || width > 64) run.Fail("tojson takes an indent of 0 to 64");
    if (run.failed()) return {};
    style.indented = true;
    style.indent = bound[1].IsString() ? bound[1].AsString() : std::string(static_cast<size_t>(width), ' ');
    style.item_separator = ",";
  }
  if (Given(bound[2])) {
    const auto separators = run.ItemsOf(bound[2]);
    if (separators->size() != 2) run.Fail("tojson needs two separators");
    if (run.failed()) return {};
    style.item_separator = run.StringOf((*separators)[0]);
    style.key_separator = run.StringOf((*separators)[1]);
  }
  std::string text;
  if (Status status = JinjaAppendJson(text, value, style, run.budget()); !status) run.Fail(status.error().message);
  return run.Text(std::move(text));
}

const std::unordered_map<std::string_view, Filter>& Filters() {
  static const std::unordered_map<std::string_view, Filter> filters = {
      {"abs", Abs},
      {"capitalize", ChangeCase<JinjaCase::kCapitalize>},
      {"count", Length},
      {"d", Default},
      {"default", Default},
      {"dictsort", DictSort},
      {"first", First},
      {"float", ToFloat},
      {"indent", Indent},
      {"int", ToInt},
      {"items", Items},
      {"join", Join},
      {"last", Last},
      {"length", Length},
      {"list", ToList},
      {"lower", ChangeCase<JinjaCase::kLower>},
      {"map", Map},
      {"max", Max},
      {"min", Min},
      {"reject", Reject},
      {"rejectattr", RejectAttr},
      {"replace", Replace},
      {"reverse", Reverse},
      {"round", Round},
      {"safe", Safe},
      {"select", Select},
      {"selectattr", SelectAttr},
      {"sort", Sort},
      {"string", ToString},
      {"sum", Sum},
      {"title", Title},
      {"tojson", ToJson},
      {"trim", Trim},
      {"unique", Unique},
      {"upper", ChangeCase<JinjaCase::kUpper>},
  };
  return filters;
}

}  // namespace

bool IsJinjaFilter(std::string_view name) {
  return Filters().count(name) != 0;
}

JinjaValue JinjaInterpreter::CallFilter(const std::string& name, const JinjaValue& value, JinjaArguments arguments) {
  if (failed() || !budget_.Spend(1)) return {};
  if (value.IsString() && !budget_.SpendBytes(4 * value.AsString().size())) return {};
  return Filters().at(name)(*this, value, std::move(arguments));
}

std::string JinjaChangeCase(std::string_view text, JinjaCase kind) {
  const auto length = static_cast<int32_t>(std::min<size_t>(text.size(), INT32_MAX));
  const auto convert = [](const icu::UnicodeString& part, bool upper) {
    icu::UnicodeString out(part);
    upper ? out.toUpper(icu::Locale::getRoot()) : out.toLower(icu::Locale::getRoot());
    std::string utf8;
    out.toUTF8String(utf8);
    return utf8;
  };
  const auto unicode = icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), length));
  if (kind == JinjaCase::kUpper || kind == JinjaCase::kLower) return convert(unicode, kind == JinjaCase::kUpper);
  std::string out;
  bool in_word = false;
  for (int32_t i = 0; i < unicode.length();) {
    const UChar32 c = unicode.char32At(i);
    const icu::UnicodeString one(c);
    const bool first = kind == JinjaCase::kCapitalize ? i == 0 : !in_word;
    if (first) {
      const icu::UnicodeString title(u_totitle(c));
      title.toUTF8String(out);
    } else {
      out += convert(one, false);
    }
    in_word = u_hasBinaryProperty(c, UCHAR_CASED);
    i += one.length();
  }
  return out;
}

}  // namespace engram
