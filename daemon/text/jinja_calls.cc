// SPDX-License-Identifier: Apache-2.0
// Calls: binding of arguments, the global functions, macros, and the functions of `loop`.
#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include "text/jinja_interpreter.h"

namespace engram {
namespace {

constexpr std::array<std::string_view, 5> kGlobals = {"range", "dict", "namespace", "raise_exception", "strftime_now"};
constexpr size_t kMaxTimeFormatBytes = 256;

}  // namespace

bool IsJinjaGlobal(std::string_view name) {
  return std::find(kGlobals.begin(), kGlobals.end(), name) != kGlobals.end();
}

JinjaValue JinjaInterpreter::EvaluateCall(const JinjaExpression& node) {
  const JinjaValue callee = Evaluate(*node.children[0]);
  JinjaArguments arguments = EvaluateArguments(node);
  position_ = node.position;
  if (failed()) return {};
  const auto* callable = callee.If<JinjaValue::Callable>();
  if (callable == nullptr) {
    if (const auto* undefined = callee.If<JinjaValue::Undefined>()) {
      Fail(undefined->name + " is undefined");
    } else {
      Fail("a " + std::string(callee.TypeName()) + " cannot be called");
    }
    return {};
  }
  if ((*callable)->macro != nullptr) return CallMacro(**callable, std::move(arguments));
  if (!(*callable)->is_method) return CallGlobal((*callable)->name, std::move(arguments));
  if ((*callable)->self.If<JinjaValue::Loop>() != nullptr) return CallLoop(**callable, std::move(arguments));
  return CallMethod(**callable, std::move(arguments));
}

std::vector<JinjaValue> JinjaInterpreter::Bind(JinjaArguments arguments,
                                               std::initializer_list<std::string_view> names) {
  std::vector<JinjaValue> bound(names.size());
  if (arguments.positional.size() > names.size()) {
    Fail("takes at most " + std::to_string(names.size()) + " arguments, not " +
         std::to_string(arguments.positional.size()));
    return bound;
  }
  std::move(arguments.positional.begin(), arguments.positional.end(), bound.begin());
  for (auto& [name, value] : arguments.keywords) {
    const auto at = std::find(names.begin(), names.end(), name);
    const auto index = static_cast<size_t>(at - names.begin());
    if (at == names.end() || index < arguments.positional.size()) {
      Fail("argument '" + name + (at == names.end() ? "' is not supported here" : "' is given twice"));
      return bound;
    }
    bound[index] = std::move(value);
  }
  return bound;
}

int64_t JinjaInterpreter::IntegerOr(const JinjaValue& value, int64_t fallback) {
  if (value.IsUndefined() || value.IsNone()) return fallback;
  if (value.IsIntegral()) return value.AsInteger();
  Fail("expected an integer, not a " + std::string(value.TypeName()));
  return fallback;
}

JinjaValue JinjaInterpreter::CallGlobal(const std::string& name, JinjaArguments arguments) {
  if (name == "raise_exception") {
    Fail(StringOf(Bind(std::move(arguments), {"message"})[0]));
    return {};
  }
  if (name == "strftime_now") {
    const JinjaValue format = Bind(std::move(arguments), {"format"})[0];
    if (!format.IsString() || format.AsString().size() > kMaxTimeFormatBytes) {
      Fail("strftime_now needs a format of at most " + std::to_string(kMaxTimeFormatBytes) + " bytes");
      return {};
    }
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    std::array<char, 16 * kMaxTimeFormatBytes> text;
    return Text(std::string(text.data(), std::strftime(text.data(), text.size(), format.AsString().c_str(), &local)));
  }
  if (name == "range") {
    const size_t num_arguments = arguments.positional.size();
    const std::vector<JinjaValue> bound = Bind(std::move(arguments), {"start", "stop", "step"});
    for (size_t i = 0; i < num_arguments && !failed(); ++i) {
      if (!bound[i].IsIntegral()) Fail("range needs integers, not a " + std::string(bound[i].TypeName()));
    }
    if (num_arguments == 0) Fail("range needs an argument");
    if (failed()) return {};
    const int64_t start = num_arguments == 1 ? 0 : bound[0].AsInteger();
    const int64_t stop = bound[num_arguments == 1 ? 0 : 1].AsInteger();
    const int64_t step = num_arguments == 3 ? bound[2].AsInteger() : 1;
    if (step == 0) Fail("range needs a step other than 0");
    JinjaItems items;
    for (int64_t i = start; !failed() && (step > 0 ? i < stop : i > stop);) {
      if (items.size() == static_cast<size_t>(kMaxRange)) {
        Fail(ErrorCode::kResourceExhausted, "range of more than " + std::to_string(kMaxRange) + " numbers");
      }
      items.push_back(JinjaValue::Int(i));
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    return List(std::move(items));
  }
  // dict() and namespace(): named values, over those of one dict.
  JinjaDict dict;
  if (arguments.positional.size() > 1) Fail(name + " takes at most one argument without a name");
  for (const JinjaValue& base : arguments.positional) {
    const auto* entries = base.If<JinjaValue::Dict>();
    if (entries == nullptr) {
      Fail(name + " of a " + std::string(base.TypeName()) + " is not supported");
      return {};
    }
    dict = **entries;
  }
  for (auto& [key, value] : arguments.keywords) dict.Set(JinjaValue::Str(key), std::move(value));
  JinjaValue value = Dict(std::move(dict));
  if (name == "dict" || failed()) return value;
  JinjaValue space = JinjaValue::MakeNamespace();
  for (const auto& [key, item] : (*value.If<JinjaValue::Dict>())->entries) {
    if (key.IsString()) (*space.If<JinjaValue::Namespace>()->attributes)[key.AsString()] = item;
  }
  return space;
}

JinjaValue JinjaInterpreter::CallMacro(const JinjaCallable& callable, JinjaArguments arguments) {
  const auto& parameters = callable.macro->parameters;
  if (arguments.positional.size() > parameters.size()) {
    Fail("macro '" + callable.name + "' takes at most " + std::to_string(parameters.size()) + " arguments");
    return {};
  }
  JinjaScope scope{callable.scope};
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    scope.variables[parameters[i].first] = std::move(arguments.positional[i]);
  }
  for (auto& [name, value] : arguments.keywords) {
    const bool known = std::any_of(parameters.begin(), parameters.end(),
                                   [&key = name](const auto& parameter) { return parameter.first == key; });
    if (!known || scope.variables.count(name) != 0) {
      Fail("macro '" + callable.name + "': argument '" + name + (known ? "' is given twice" : "' is unknown"));
      return {};
    }
    scope.variables[name] = std::move(value);
  }
  JinjaScope* const outer = std::exchange(scope_, &scope);
  for (const auto& [name, fallback] : parameters) {
    if (scope.variables.count(name) != 0) continue;
    scope.variables[name] = fallback ? Evaluate(*fallback) : JinjaValue::MakeUndefined("parameter '" + name + "'");
  }
  std::string text = Capture(callable.macro->body);
  scope_ = outer;
  return Text(std::move(text));
}

JinjaValue JinjaInterpreter::CallLoop(const JinjaCallable& method, JinjaArguments arguments) {
  const auto& loop = **method.self.If<JinjaValue::Loop>();
  if (arguments.positional.empty() || !arguments.keywords.empty()) {
    Fail("loop.cycle needs values, without names");
    return {};
  }
  return arguments.positional[loop.index0 % arguments.positional.size()];
}

JinjaValue JinjaInterpreter::LoopAttribute(const JinjaValue& value, const JinjaLoop& loop, const std::string& name) {
  const auto index0 = static_cast<int64_t>(loop.index0);
  const auto length = static_cast<int64_t>(loop.items->size());
  if (name == "index") return JinjaValue::Int(index0 + 1);
  if (name == "index0") return JinjaValue::Int(index0);
  if (name == "revindex") return JinjaValue::Int(length - index0);
  if (name == "revindex0") return JinjaValue::Int(length - index0 - 1);
  if (name == "first") return JinjaValue::Bool(index0 == 0);
  if (name == "last") return JinjaValue::Bool(index0 + 1 == length);
  if (name == "length") return JinjaValue::Int(length);
  // Jinja2 counts the levels of recursive loops alone, and those are not supported.
  if (name == "depth") return JinjaValue::Int(1);
  if (name == "depth0") return JinjaValue::Int(0);
  if (name == "previtem") {
    return index0 > 0 ? (*loop.items)[loop.index0 - 1] : JinjaValue::MakeUndefined("there is no previous item and it");
  }
  if (name == "nextitem") {
    return index0 + 1 < length ? (*loop.items)[loop.index0 + 1]
                               : JinjaValue::MakeUndefined("there is no next item and it");
  }
  if (name == "cycle") {
    JinjaCallable callable;
    callable.name = name;
    callable.self = value;
    callable.is_method = true;
    return JinjaValue::MakeCallable(std::move(callable));
  }
  Fail(ErrorCode::kUnsupported, "loop." + name.substr(0, 40) + " is not supported");
  return {};
}

}  // namespace engram
