// SPDX-License-Identifier: Apache-2.0
// Filters of sequences. Where Jinja2 gives a generator these give a list.
#include <algorithm>

#include "text/jinja_filters.h"

namespace engram {
namespace {

using Run = JinjaInterpreter;

// item.a.b.0 of "a.b.0", or of an integer; `fallback`, where given, for each part that is undefined.
JinjaValue Path(Run& run, JinjaValue item, const JinjaValue& path, const JinjaValue& fallback = {}) {
  const auto step = [&](const JinjaValue& key) {
    item = run.Item(item, key);
    if (item.IsUndefined() && JinjaGiven(fallback)) item = fallback;
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
  JinjaValue key = JinjaGiven(attribute) ? Path(run, item, attribute) : item;
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
    sum = run.Arithmetic("+", sum, JinjaGiven(bound[0]) ? Path(run, item, bound[0]) : item);
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
    text += run.StringOf(JinjaGiven(bound[1]) ? Path(run, item, bound[1]) : item);
    if (text.size() > Run::kMaxTextBytes || run.failed()) break;
  }
  return run.Text(std::move(text));
}

}  // namespace

JinjaFilters JinjaSequenceFilters() {
  return {
      {"count", Length},
      {"dictsort", DictSort},
      {"first", First},
      {"items", Items},
      {"join", Join},
      {"last", Last},
      {"length", Length},
      {"list", ToList},
      {"map", Map},
      {"max", Max},
      {"min", Min},
      {"reject", Reject},
      {"rejectattr", RejectAttr},
      {"reverse", Reverse},
      {"select", Select},
      {"selectattr", SelectAttr},
      {"sort", Sort},
      {"sum", Sum},
      {"unique", Unique},
  };
}

}  // namespace engram
