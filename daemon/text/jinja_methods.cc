// SPDX-License-Identifier: Apache-2.0
// Methods of strings, dicts and lists, as Python has them. Those that change their object are refused, as in the
// sandbox that templates are written for.
#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "text/jinja_interpreter.h"

namespace engram {
namespace {

constexpr std::array<std::string_view, 24> kStringMethods = {
    "strip", "lstrip",  "rstrip",  "split",      "rsplit",  "splitlines", "startswith",   "endswith",
    "upper", "lower",   "title",   "capitalize", "replace", "join",       "find",         "rfind",
    "count", "isdigit", "isalpha", "isspace",    "isupper", "islower",    "removeprefix", "removesuffix"};
constexpr std::array<std::string_view, 4> kDictMethods = {"get", "items", "keys", "values"};
constexpr std::array<std::string_view, 2> kListMethods = {"index", "count"};
// Attributes that Python's objects have and templates may not use; refused when called.
constexpr std::array<std::string_view, 14> kRefused = {"append", "extend",  "insert", "pop",        "popitem",
                                                       "remove", "clear",   "update", "setdefault", "copy",
                                                       "sort",   "reverse", "format", "format_map"};

template <size_t N>
bool IsOneOf(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool IsSpace(char32_t c) {
  // Python's isspace() adds the four information separators to White_Space.
  return u_isUWhiteSpace(static_cast<UChar32>(c)) || (c >= 0x1C && c <= 0x1F);
}

size_t Find(std::string_view text, std::string_view part, size_t from) {
  // memmem takes linear time whatever the texts, std::string_view::find at most as many times that as `part` is long,
  // but starts at once: for short parts the better of the two.
  if (part.size() <= 16 || from > text.size()) return text.find(part, from);
  const void* found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return found == nullptr ? std::string_view::npos : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

// Searches from the right compare up to the whole part at every place.
bool SpendBackwardSearch(JinjaInterpreter& run, std::string_view text, std::string_view part) {
  return run.budget().Spend(text.size() / 16 * (part.size() / 16));
}

std::vector<std::string> SplitSpaces(std::string_view text, int64_t limit) {
  std::vector<std::string> parts;
  const std::u32string points = JinjaCodePoints(text);
  size_t at = 0;
  while (true) {
    while (at < points.size() && IsSpace(points[at])) ++at;
    if (at == points.size()) return parts;
    size_t end = at;
    const bool last = limit >= 0 && static_cast<int64_t>(parts.size()) == limit;
    while (end < points.size() && (last || !IsSpace(points[end]))) ++end;
    if (last) {
      while (end > at && IsSpace(points[end - 1])) --end;
    }
    parts.push_back(JinjaUtf8(std::u32string_view(points).substr(at, end - at)));
    if (last) return parts;
    at = end;
  }
}

std::vector<std::string> SplitAt(std::string_view text, std::string_view separator, int64_t limit, bool from_right) {
  std::vector<std::string> parts;
  if (from_right) {
    while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
      const size_t at = text.rfind(separator);
      if (at == std::string_view::npos) break;
      parts.emplace_back(text.substr(at + separator.size()));
      text = text.substr(0, at);
    }
    parts.emplace_back(text);
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  size_t begin = 0;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t at = Find(text, separator, begin);
    if (at == std::string_view::npos) break;
    parts.emplace_back(text.substr(begin, at - begin));
    begin = at + separator.size();
  }
  parts.emplace_back(text.substr(begin));
  return parts;
}

JinjaValue Strings(JinjaInterpreter& run, const std::vector<std::string>& parts) {
  JinjaItems items;
  for (const std::string& part : parts) items.push_back(run.Text(part));
  return run.List(std::move(items));
}

// All of at least one character pass.
template <typename Test>
JinjaValue AllPass(std::string_view text, Test test) {
  const std::u32string points = JinjaCodePoints(text);
  return JinjaValue::Bool(!points.empty() && std::all_of(points.begin(), points.end(), test));
}

// str.isupper() and islower(): at least one cased character, and none of the other case.
JinjaValue HasOnlyCase(std::string_view text, bool upper) {
  bool any = false;
  for (char32_t c : JinjaCodePoints(text)) {
    const auto point = static_cast<UChar32>(c);
    if (upper ? (u_isULowercase(point) || u_istitle(point)) : (u_isUUppercase(point) || u_istitle(point))) {
      return JinjaValue::Bool(false);
    }
    any = any || (upper ? u_isUUppercase(point) : u_isULowercase(point));
  }
  return JinjaValue::Bool(any);
}

JinjaValue StartsOrEnds(JinjaInterpreter& run, const std::string& text, const JinjaValue& parts, bool starts) {
  const auto matches = [&](const JinjaValue& part) {
    if (!part.IsString()) {
      run.Fail("startswith and endswith need a str or a tuple of them, not a " + std::string(part.TypeName()));
      return false;
    }
    return starts ? text.starts_with(part.AsString()) : text.ends_with(part.AsString());
  };
  if (parts.If<JinjaValue::Tuple>() == nullptr) return JinjaValue::Bool(matches(parts));
  return JinjaValue::Bool(std::any_of(parts.AsItems().begin(), parts.AsItems().end(), matches));
}

JinjaValue CallSplit(JinjaInterpreter& run, const std::string& text, const std::string& name,
                     JinjaArguments arguments) {
  const std::vector<JinjaValue> bound = run.Bind(std::move(arguments), {"sep", "maxsplit"});
  const int64_t limit = run.IntegerOr(bound[1], -1);
  const bool from_right = name == "rsplit";
  if (bound[0].IsUndefined() || bound[0].IsNone()) {
    if (from_right && limit >= 0)
      run.Fail(ErrorCode::kUnsupported, "rsplit at white space with a limit is not supported");
    return run.failed() ? JinjaValue() : Strings(run, SplitSpaces(text, limit));
  }
  if (!bound[0].IsString() || bound[0].AsString().empty()) run.Fail(name + " needs a separator that is not empty");
  if (run.failed() || (from_right && !SpendBackwardSearch(run, text, bound[0].AsString()))) return {};
  return Strings(run, SplitAt(text, bound[0].AsString(), limit, from_right));
}

JinjaValue CallStrip(JinjaInterpreter& run, const std::string& text, const std::string& name,
                     JinjaArguments arguments) {
  const JinjaValue characters = run.Bind(std::move(arguments), {"chars"})[0];
  const bool all = characters.IsUndefined() || characters.IsNone();
  if (!all && !characters.IsString()) run.Fail(name + " needs a str");
  if (run.failed()) return {};
  return run.Text(JinjaStrip(text, all ? nullptr : &characters.AsString(), name != "rstrip", name != "lstrip"));
}

JinjaValue CallReplace(JinjaInterpreter& run, const std::string& text, JinjaArguments arguments) {
  const std::vector<JinjaValue> bound = run.Bind(std::move(arguments), {"old", "new", "count"});
  if (!bound[0].IsString() || !bound[1].IsString()) run.Fail("replace needs two strs");
  const int64_t limit = run.IntegerOr(bound[2], -1);
  if (run.failed()) return {};
  std::optional<std::string> replaced =
      JinjaReplace(text, bound[0].AsString(), bound[1].AsString(), limit, JinjaInterpreter::kMaxTextBytes);
  if (!replaced) run.Fail(ErrorCode::kResourceExhausted, "the text that replace makes is too long");
  return replaced ? run.Text(*std::move(replaced)) : JinjaValue();
}

JinjaValue CallStringMethod(JinjaInterpreter& run, const std::string& text, const std::string& name,
                            JinjaArguments arguments) {
  if (name == "strip" || name == "lstrip" || name == "rstrip") return CallStrip(run, text, name, std::move(arguments));
  if (name == "split" || name == "rsplit") return CallSplit(run, text, name, std::move(arguments));
  if (name == "replace") return CallReplace(run, text, std::move(arguments));
  if (name == "join")
    return run.CallFilter("join", run.Bind(std::move(arguments), {"iterable"})[0], {{JinjaValue::Str(text)}, {}});
  if (name == "startswith") return StartsOrEnds(run, text, run.Bind(std::move(arguments), {"prefix"})[0], true);
  if (name == "endswith") return StartsOrEnds(run, text, run.Bind(std::move(arguments), {"suffix"})[0], false);
  if (name == "find" || name == "rfind" || name == "count" || name == "removeprefix" || name == "removesuffix") {
    const JinjaValue part = run.Bind(std::move(arguments), {"sub"})[0];
    if (!part.IsString()) run.Fail(name + " needs a str");
    if (run.failed()) return {};
    const std::string& sub = part.AsString();
    if (name == "removeprefix") return run.Text(text.starts_with(sub) ? text.substr(sub.size()) : text);
    if (name == "removesuffix") {
      return run.Text(text.ends_with(sub) ? text.substr(0, text.size() - sub.size()) : text);
    }
    if (name == "count") {
      if (sub.empty()) return JinjaValue::Int(static_cast<int64_t>(JinjaLength(text)) + 1);
      int64_t count = 0;
      for (size_t at = 0; (at = Find(text, sub, at)) != std::string::npos; at += sub.size()) ++count;
      return JinjaValue::Int(count);
    }
    if (name == "rfind" && !SpendBackwardSearch(run, text, sub)) return {};
    const size_t at = name == "find" ? Find(text, sub, 0) : text.rfind(sub);
    if (at == std::string::npos) return JinjaValue::Int(-1);
    return JinjaValue::Int(static_cast<int64_t>(JinjaLength(std::string_view(text).substr(0, at))));
  }
  if (name == "splitlines") {
    if (!arguments.positional.empty() || !arguments.keywords.empty()) {
      run.Fail(ErrorCode::kUnsupported, "splitlines with arguments is not supported");
      return {};
    }
    std::vector<std::string> lines = text.empty() ? std::vector<std::string>() : SplitAt(text, "\n", -1, false);
    if (!lines.empty() && lines.back().empty()) lines.pop_back();
    for (std::string& line : lines) {
      if (line.ends_with('\r')) line.pop_back();
    }
    return Strings(run, lines);
  }
  run.Bind(std::move(arguments), {});
  if (run.failed()) return {};
  if (name == "upper") return run.Text(JinjaChangeCase(text, JinjaCase::kUpper));
  if (name == "lower") return run.Text(JinjaChangeCase(text, JinjaCase::kLower));
  if (name == "title") return run.Text(JinjaChangeCase(text, JinjaCase::kTitle));
  if (name == "capitalize") return run.Text(JinjaChangeCase(text, JinjaCase::kCapitalize));
  if (name == "isspace") return AllPass(text, IsSpace);
  if (name == "isdigit") return AllPass(text, [](char32_t c) { return u_isdigit(static_cast<UChar32>(c)) != 0; });
  if (name == "isalpha") return AllPass(text, [](char32_t c) { return u_isalpha(static_cast<UChar32>(c)) != 0; });
  return HasOnlyCase(text, name == "isupper");
}

JinjaValue CallDictMethod(JinjaInterpreter& run, const JinjaDict& dict, const std::string& name,
                          JinjaArguments arguments) {
  if (name == "get") {
    const bool has_fallback = arguments.positional.size() > 1;
    std::vector<JinjaValue> bound = run.Bind(std::move(arguments), {"key", "default"});
    const JinjaValue* found = dict.Find(bound[0]);
    if (found != nullptr) return *found;
    return has_fallback || !bound[1].IsUndefined() ? bound[1] : JinjaValue::MakeNone();
  }
  run.Bind(std::move(arguments), {});
  JinjaItems items;
  for (const auto& [key, value] : dict.entries) {
    if (run.failed()) return {};
    items.push_back(name == "keys" ? key : name == "values" ? value : run.Tuple({key, value}));
  }
  return run.List(std::move(items));
}

JinjaValue CallListMethod(JinjaInterpreter& run, const JinjaItems& items, const std::string& name,
                          JinjaArguments arguments) {
  const JinjaValue wanted = run.Bind(std::move(arguments), {"value"})[0];
  int64_t count = 0;
  for (size_t i = 0; i < items.size() && !run.failed(); ++i) {
    if (!JinjaEqual(items[i], wanted, run.budget())) continue;
    if (name == "index") return JinjaValue::Int(static_cast<int64_t>(i));
    ++count;
  }
  if (name == "index") run.Fail("index: the value is not in the list");
  return JinjaValue::Int(count);
}

}  // namespace

bool HasJinjaMethod(const JinjaValue& value, std::string_view name) {
  if (value.IsString()) return IsOneOf(name, kStringMethods) || name == "format" || name == "format_map";
  if (value.If<JinjaValue::Dict>() != nullptr) {
    return IsOneOf(name, kDictMethods) || name == "pop" || name == "popitem" || name == "clear" || name == "update" ||
           name == "setdefault" || name == "copy";
  }
  return value.IsSequence() &&
         (IsOneOf(name, kListMethods) || (value.If<JinjaValue::List>() != nullptr && IsOneOf(name, kRefused)));
}

JinjaValue JinjaInterpreter::CallMethod(const JinjaCallable& method, JinjaArguments arguments) {
  const JinjaValue& self = method.self;
  if (IsOneOf(method.name, kRefused)) {
    Fail(ErrorCode::kUnsupported,
         "method '" + method.name + "' of a " + std::string(self.TypeName()) + " is not supported");
    return {};
  }
  if (self.IsString()) {
    if (!budget_.SpendBytes(4 * self.AsString().size())) return {};
    return CallStringMethod(*this, self.AsString(), method.name, std::move(arguments));
  }
  if (const auto* dict = self.If<JinjaValue::Dict>()) {
    return CallDictMethod(*this, **dict, method.name, std::move(arguments));
  }
  return CallListMethod(*this, self.AsItems(), method.name, std::move(arguments));
}

std::string JinjaStrip(std::string_view text, const std::string* characters, bool left, bool right) {
  const std::u32string points = JinjaCodePoints(text);
  const std::u32string set = characters == nullptr ? std::u32string() : JinjaCodePoints(*characters);
  const auto goes = [&](char32_t c) {
    return characters == nullptr ? IsSpace(c) : set.find(c) != std::u32string::npos;
  };
  size_t begin = 0;
  size_t end = points.size();
  while (left && begin < end && goes(points[begin])) ++begin;
  while (right && end > begin && goes(points[end - 1])) --end;
  return JinjaUtf8(std::u32string_view(points).substr(begin, end - begin));
}

std::optional<std::string> JinjaReplace(std::string_view text, std::string_view old, std::string_view with,
                                        int64_t limit, size_t max_bytes) {
  std::string out;
  size_t at = 0;
  for (int64_t count = 0; (limit < 0 || count < limit) && out.size() <= max_bytes; ++count) {
    size_t next = Find(text, old, at);
    if (next == std::string_view::npos) break;
    if (old.empty()) {  // before every character, and at the end
      out += with;
      if (at == text.size()) return out;
      next = at + 1;
      while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xC0) == 0x80) ++next;
      out += text.substr(at, next - at);
      at = next;
      continue;
    }
    out += text.substr(at, next - at);
    out += with;
    at = next + old.size();
  }
  if (out.size() > max_bytes) return std::nullopt;
  out += text.substr(at);
  return out;
}

}  // namespace engram
