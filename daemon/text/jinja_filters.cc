// SPDX-License-Identifier: Apache-2.0
// Filters of texts, numbers and any value.
#include "text/jinja_filters.h"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>

namespace engram {
namespace {

using Run = JinjaInterpreter;

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
  return run.Text(JinjaStrip(run.StringOf(value), JinjaGiven(characters) ? &set : nullptr, true, true));
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
  if (JinjaGiven(bound[1])) {
    const int64_t width = bound[1].IsString() ? 0 : run.IntegerOr(bound[1], 0);
    if (width < 0 || width > 64) run.Fail("tojson takes an indent of 0 to 64");
    if (run.failed()) return {};
    style.indented = true;
    style.indent = bound[1].IsString() ? bound[1].AsString() : std::string(static_cast<size_t>(width), ' ');
    style.item_separator = ",";
  }
  if (JinjaGiven(bound[2])) {
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

const JinjaFilters& Filters() {
  static const JinjaFilters filters = [] {
    JinjaFilters all = JinjaSequenceFilters();
    all.insert({
        {"abs", Abs},
        {"capitalize", ChangeCase<JinjaCase::kCapitalize>},
        {"d", Default},
        {"default", Default},
        {"float", ToFloat},
        {"indent", Indent},
        {"int", ToInt},
        {"lower", ChangeCase<JinjaCase::kLower>},
        {"replace", Replace},
        {"round", Round},
        {"safe", Safe},
        {"string", ToString},
        {"title", Title},
        {"tojson", ToJson},
        {"trim", Trim},
        {"upper", ChangeCase<JinjaCase::kUpper>},
    });
    return all;
  }();
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
