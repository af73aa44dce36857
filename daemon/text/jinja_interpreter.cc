// SPDX-License-Identifier: Apache-2.0
// Statements, scopes, names and calls. Operators and access to values are in jinja_operators.cc.
#include "text/jinja_interpreter.h"

#include <algorithm>
#include <array>
#include <ctime>

namespace engram {
namespace {

using Kind = JinjaExpressionKind;

constexpr std::array<std::string_view, 5> kGlobals = {"range", "dict", "namespace", "raise_exception", "strftime_now"};
constexpr size_t kMaxTimeFormatBytes = 256;

}  // namespace

class JinjaInterpreter::Level {
 public:
  explicit Level(JinjaInterpreter& interpreter) : interpreter_(interpreter) {
    if (++interpreter_.depth_ > kMaxDepth) {
      interpreter_.Fail(ErrorCode::kResourceExhausted,
                        "more than " + std::to_string(kMaxDepth) + " levels of calls and expressions");
    }
    interpreter_.budget_.Spend(1);
  }
  ~Level() { --interpreter_.depth_; }

 private:
  JinjaInterpreter& interpreter_;
};

Result<std::string> JinjaInterpreter::Run(const JinjaBody& body) {
  std::string output;
  output_ = &output;
  // As in Jinja2 the template's own names lie over those it is given.
  JinjaScope top{&globals_};
  scope_ = &top;
  RunBody(body);
  if (error_) return *error_;
  if (budget_.exhausted()) {
    return JinjaErrorAt(ErrorCode::kResourceExhausted, position_,
                        "the template needs more than " + std::to_string(kMaxSteps) + " steps");
  }
  return output;
}

void JinjaInterpreter::Fail(ErrorCode code, const std::string& what) {
  if (!error_) error_ = JinjaErrorAt(code, position_, what);
}

JinjaInterpreter::Flow JinjaInterpreter::RunBody(const JinjaBody& body) {
  for (const JinjaStatement& statement : body) {
    if (failed()) break;
    const Flow flow = RunStatement(statement);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

JinjaInterpreter::Flow JinjaInterpreter::RunStatement(const JinjaStatement& statement) {
  Level level(*this);
  position_ = statement.position;
  switch (statement.kind) {
    case JinjaStatementKind::kData:
      Write(statement.text);
      break;
    case JinjaStatementKind::kOutput:
      Write(StringOf(Evaluate(*statement.expression)));
      break;
    case JinjaStatementKind::kIf:
      return RunIf(statement);
    case JinjaStatementKind::kFor:
      return RunFor(statement);
    case JinjaStatementKind::kSet:
      Assign(*statement.target, Evaluate(*statement.expression));
      break;
    case JinjaStatementKind::kSetBlock:
      RunSetBlock(statement);
      break;
    case JinjaStatementKind::kFilter:
      Write(StringOf(ApplyFilters(*statement.expression, Text(Capture(statement.body)))));
      break;
    case JinjaStatementKind::kMacro:
      DefineMacro(statement);
      break;
    case JinjaStatementKind::kWith:
      return RunWith(statement);
    case JinjaStatementKind::kScope:
      return RunBody(statement.body);
    case JinjaStatementKind::kBreak:
      return Flow::kBreak;
    case JinjaStatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

JinjaInterpreter::Flow JinjaInterpreter::RunIf(const JinjaStatement& statement) {
  for (const auto& [condition, body] : statement.branches) {
    if (condition && !Evaluate(*condition).Truthy()) continue;
    return failed() ? Flow::kNormal : RunBody(body);
  }
  return Flow::kNormal;
}

JinjaInterpreter::Flow JinjaInterpreter::RunFor(const JinjaStatement& statement) {
  std::shared_ptr<const JinjaItems> items = ItemsOf(Evaluate(*statement.expression));
  JinjaScope* const outer = scope_;
  if (statement.condition) {
    JinjaItems kept;
    for (const JinjaValue& item : *items) {
      if (failed() || !budget_.Spend(1)) return Flow::kNormal;
      JinjaScope scope{outer};
      scope_ = &scope;
      Assign(*statement.target, item);
      if (Evaluate(*statement.condition).Truthy()) kept.push_back(item);
      scope_ = outer;
    }
    items = std::make_shared<const JinjaItems>(std::move(kept));
  }
  if (items->empty()) {
    JinjaScope scope{outer};
    scope_ = &scope;
    const Flow flow = failed() ? Flow::kNormal : RunBody(statement.otherwise);
    scope_ = outer;
    return flow;
  }
  const auto loop = std::make_shared<JinjaLoop>();
  loop->items = items;
  for (loop->index0 = 0; loop->index0 < items->size() && !failed(); ++loop->index0) {
    budget_.Spend(1);
    // A name set in one turn is gone in the next.
    JinjaScope scope{outer};
    scope_ = &scope;
    scope.variables["loop"] = JinjaValue::MakeLoop(loop);
    Assign(*statement.target, (*items)[loop->index0]);
    const Flow flow = failed() ? Flow::kNormal : RunBody(statement.body);
    scope_ = outer;
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNormal;
}

std::string JinjaInterpreter::Capture(const JinjaBody& body) {
  std::string text;
  std::string* const outer_output = std::exchange(output_, &text);
  JinjaScope scope{scope_};
  JinjaScope* const outer = std::exchange(scope_, &scope);
  RunBody(body);
  scope_ = outer;
  output_ = outer_output;
  return text;
}

void JinjaInterpreter::RunSetBlock(const JinjaStatement& statement) {
  JinjaValue text = Text(Capture(statement.body));
  Assign(*statement.target, statement.expression ? ApplyFilters(*statement.expression, text) : std::move(text));
}

JinjaInterpreter::Flow JinjaInterpreter::RunWith(const JinjaStatement& statement) {
  JinjaScope scope{scope_};
  JinjaScope* const outer = scope_;
  for (const auto& [target, value] : statement.assignments) {
    // Values see the names outside, not each other.
    JinjaValue evaluated = Evaluate(*value);
    scope_ = &scope;
    Assign(*target, std::move(evaluated));
    scope_ = outer;
  }
  scope_ = &scope;
  const Flow flow = RunBody(statement.body);
  scope_ = outer;
  return flow;
}

void JinjaInterpreter::DefineMacro(const JinjaStatement& statement) {
  JinjaCallable macro;
  macro.name = statement.text;
  macro.macro = &statement;
  macro.scope = scope_;
  Store(statement.text, JinjaValue::MakeCallable(std::move(macro)));
}

void JinjaInterpreter::Write(const std::string& text) {
  if (output_->size() + text.size() > kMaxTextBytes) {
    return Fail(ErrorCode::kResourceExhausted, "the output is longer than " + std::to_string(kMaxTextBytes) + " bytes");
  }
  if (!failed() && budget_.SpendBytes(text.size())) *output_ += text;
}

void JinjaInterpreter::Store(const std::string& name, JinjaValue value) {
  if (!failed()) scope_->variables[name] = std::move(value);
}

// A macro kept in a container could outlive the scope it was defined in, and a namespace could come to hold itself.
bool JinjaInterpreter::CheckStorable(const JinjaValue& value) {
  const auto* callable = value.If<JinjaValue::Callable>();
  const bool storable =
      value.If<JinjaValue::Namespace>() == nullptr && value.If<JinjaValue::Loop>() == nullptr &&
      (callable == nullptr || ((*callable)->macro == nullptr && (*callable)->self.If<JinjaValue::Loop>() == nullptr));
  if (!storable) {
    Fail(ErrorCode::kUnsupported, "a " + std::string(value.TypeName()) + " inside of another value is not supported");
  }
  if (value.Depth() >= JinjaValue::kMaxDepth) {
    Fail(ErrorCode::kResourceExhausted,
         "values nested deeper than " + std::to_string(JinjaValue::kMaxDepth) + " levels");
  }
  return !failed();
}

void JinjaInterpreter::Assign(const JinjaExpression& target, JinjaValue value) {
  if (failed()) return;
  if (target.kind == Kind::kName) return Store(target.name, std::move(value));
  position_ = target.position;
  if (target.kind == Kind::kAttribute) {
    const JinjaValue object = Evaluate(*target.children[0]);
    const auto* space = object.If<JinjaValue::Namespace>();
    if (space == nullptr) return Fail("cannot assign attribute '" + target.name + "' on a non-namespace object");
    if (CheckStorable(value)) (*space->attributes)[target.name] = std::move(value);
    return;
  }
  const std::shared_ptr<const JinjaItems> items = ItemsOf(value);
  if (failed()) return;
  if (items->size() != target.children.size()) {
    return Fail("cannot unpack " + std::to_string(items->size()) + " values into " +
                std::to_string(target.children.size()) + " names");
  }
  for (size_t i = 0; i < items->size(); ++i) Assign(*target.children[i], (*items)[i]);
}

JinjaValue JinjaInterpreter::Text(std::string text) {
  if (text.size() > kMaxTextBytes) {
    Fail(ErrorCode::kResourceExhausted, "a text is longer than " + std::to_string(kMaxTextBytes) + " bytes");
  }
  return budget_.SpendBytes(text.size()) && !failed() ? JinjaValue::Str(std::move(text)) : JinjaValue();
}

JinjaValue JinjaInterpreter::List(JinjaItems items) {
  if (!budget_.Spend(items.size())) return {};
  for (const JinjaValue& item : items) {
    if (!CheckStorable(item)) return {};
  }
  return JinjaValue::MakeList(std::move(items));
}

JinjaValue JinjaInterpreter::Tuple(JinjaItems items) {
  if (!budget_.Spend(items.size())) return {};
  for (const JinjaValue& item : items) {
    if (!CheckStorable(item)) return {};
  }
  return JinjaValue::MakeTuple(std::move(items));
}

JinjaValue JinjaInterpreter::Dict(JinjaDict dict) {
  if (!budget_.Spend(2 * dict.entries.size())) return {};
  for (const auto& entry : dict.entries) {
    if (!CheckStorable(entry.second)) return {};
  }
  return JinjaValue::MakeDict(std::move(dict));
}

std::string JinjaInterpreter::StringOf(const JinjaValue& value) {
  std::string text;
  JinjaAppendStr(text, value, budget_);
  return text;
}

JinjaValue JinjaInterpreter::Evaluate(const JinjaExpression& node) {
  Level level(*this);
  if (failed()) return {};
  switch (node.kind) {
    case Kind::kConstant:
      return node.constant;
    case Kind::kName:
      return EvaluateName(node);
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
      return EvaluateSequence(node);
    case Kind::kAttribute: {
      const JinjaValue value = Evaluate(*node.children[0]);
      position_ = node.position;
      return Attribute(value, node.name);
    }
    case Kind::kItem: {
      const JinjaValue value = Evaluate(*node.children[0]);
      const JinjaValue key = Evaluate(*node.children[1]);
      position_ = node.position;
      return Item(value, key);
    }
    case Kind::kSlice:
      return EvaluateSlice(node);
    case Kind::kCall:
      return EvaluateCall(node);
    case Kind::kFilter:
      return ApplyFilters(node, {});
    case Kind::kTest: {
      const JinjaValue value = Evaluate(*node.children[0]);
      JinjaArguments arguments = EvaluateArguments(node);
      position_ = node.position;
      return JinjaValue::Bool(CallTest(node.name, value, std::move(arguments)) != node.negated);
    }
    case Kind::kUnary:
      return EvaluateUnary(node);
    case Kind::kBinary: {
      const JinjaValue left = Evaluate(*node.children[0]);
      const JinjaValue right = Evaluate(*node.children[1]);
      position_ = node.position;
      return Arithmetic(node.name, left, right);
    }
    case Kind::kConcat:
      return EvaluateConcat(node);
    case Kind::kAnd: {
      JinjaValue left = Evaluate(*node.children[0]);
      return left.Truthy() ? Evaluate(*node.children[1]) : left;
    }
    case Kind::kOr: {
      JinjaValue left = Evaluate(*node.children[0]);
      return left.Truthy() ? left : Evaluate(*node.children[1]);
    }
    case Kind::kCompare:
      return EvaluateCompare(node);
    case Kind::kConditional:
      if (Evaluate(*node.children[1]).Truthy()) return Evaluate(*node.children[0]);
      if (node.children[2]) return Evaluate(*node.children[2]);
      return JinjaValue::MakeUndefined("the inline if-expression without else evaluated to false and");
  }
  return {};
}

JinjaValue JinjaInterpreter::EvaluateName(const JinjaExpression& node) {
  for (const JinjaScope* scope = scope_; scope != nullptr; scope = scope->parent) {
    const auto at = scope->variables.find(node.name);
    if (at != scope->variables.end()) return at->second;
  }
  if (std::find(kGlobals.begin(), kGlobals.end(), node.name) != kGlobals.end()) {
    JinjaCallable callable;
    callable.name = node.name;
    return JinjaValue::MakeCallable(std::move(callable));
  }
  return JinjaValue::MakeUndefined("'" + node.name + "'");
}

JinjaValue JinjaInterpreter::EvaluateSequence(const JinjaExpression& node) {
  JinjaItems items;
  for (const JinjaExpressionPtr& child : node.children) items.push_back(Evaluate(*child));
  position_ = node.position;
  if (node.kind == Kind::kList) return List(std::move(items));
  if (node.kind == Kind::kTuple) return Tuple(std::move(items));
  JinjaDict dict;
  for (size_t i = 0; i + 1 < items.size() && !failed(); i += 2) {
    const std::string type(items[i].TypeName());
    if (!dict.Set(std::move(items[i]), std::move(items[i + 1]))) Fail("a " + type + " cannot be a key");
  }
  return Dict(std::move(dict));
}

JinjaArguments JinjaInterpreter::EvaluateArguments(const JinjaExpression& node) {
  JinjaArguments arguments;
  for (size_t i = 1; i < node.children.size(); ++i) arguments.positional.push_back(Evaluate(*node.children[i]));
  for (const auto& [name, value] : node.keywords) arguments.keywords.emplace_back(name, Evaluate(*value));
  return arguments;
}

JinjaValue JinjaInterpreter::ApplyFilters(const JinjaExpression& node, const JinjaValue& input) {
  Level level(*this);
  if (failed()) return {};
  JinjaValue value;
  if (!node.children[0]) {
    value = input;
  } else if (node.children[0]->kind == Kind::kFilter) {
    value = ApplyFilters(*node.children[0], input);
  } else {
    value = Evaluate(*node.children[0]);
  }
  JinjaArguments arguments = EvaluateArguments(node);
  position_ = node.position;
  return failed() ? JinjaValue() : CallFilter(node.name, value, std::move(arguments));
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
                                   [&](const auto& parameter) { return parameter.first == name; });
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
