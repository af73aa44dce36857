// SPDX-License-Identifier: Apache-2.0
// Statements, scopes and names. Calls are in jinja_calls.cc, operators and access to values in jinja_operators.cc.
#include "text/jinja_interpreter.h"

#include <utility>

namespace engram {
namespace {

using Kind = JinjaExpressionKind;

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
  if (IsJinjaGlobal(node.name)) {
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

}  // namespace engram
