// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_expression_parser.h"

#include <array>
#include <utility>

namespace engram {
namespace {

using Kind = JinjaExpressionKind;
using TokenKind = JinjaTokenKind;

}  // namespace

std::string JinjaExpressionParser::Describe(const JinjaToken& token) {
  switch (token.kind) {
    case TokenKind::kEnd:
      return "the end of the template";
    case TokenKind::kData:
      return "text";
    case TokenKind::kVariableEnd:
      return "'}}'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kString:
      return "a string";
    default:
      return "'" + token.text.substr(0, 40) + "'";
  }
}

void JinjaExpressionParser::ExpectOperator(std::string_view op) {
  if (!TakeOperator(op)) Fail(Peek().position, "expected '" + std::string(op) + "', not " + Describe(Peek()));
}

void JinjaExpressionParser::ExpectBlockEnd() {
  if (Peek().kind != TokenKind::kBlockEnd) return Fail(Peek().position, "expected '%}', not " + Describe(Peek()));
  Take();
}

std::string JinjaExpressionParser::ExpectName() {
  if (Peek().kind == TokenKind::kName) return Take().text;
  Fail(Peek().position, "expected a name, not " + Describe(Peek()));
  return {};
}

JinjaExpressionPtr JinjaExpressionParser::Make(Kind kind, JinjaPosition position, std::string name) {
  auto node = std::make_unique<JinjaExpression>();
  node->kind = kind;
  node->position = position;
  node->name = std::move(name);
  return node;
}

void JinjaExpressionParser::Add(JinjaExpression& parent, JinjaExpressionPtr child) {
  if (child) parent.height = std::max(parent.height, child->height + 1);
  if (parent.height > JinjaLimits::kHeight) {
    Fail(parent.position, "expression of more than " + std::to_string(JinjaLimits::kHeight) + " levels");
  }
  parent.children.push_back(std::move(child));
}

JinjaExpressionPtr JinjaExpressionParser::Constant(JinjaPosition position, JinjaValue value) {
  JinjaExpressionPtr node = Make(Kind::kConstant, position);
  node->constant = std::move(value);
  return node;
}

JinjaExpressionPtr JinjaExpressionParser::ParseExpression(bool with_conditional) {
  Level level(*this);
  if (error_) return nullptr;
  if (!with_conditional) return ParseOr();
  JinjaExpressionPtr value = ParseOr();
  while (!error_ && IsName("if")) {
    JinjaExpressionPtr node = Make(Kind::kConditional, Take().position);
    Add(*node, std::move(value));
    Add(*node, ParseOr());
    Add(*node, TakeName("else") ? ParseExpression() : nullptr);
    value = std::move(node);
  }
  return value;
}

JinjaExpressionPtr JinjaExpressionParser::ParseOr() {
  JinjaExpressionPtr left = ParseAnd();
  while (!error_ && IsName("or")) left = MakePair(Kind::kOr, std::move(left), &JinjaExpressionParser::ParseAnd);
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::ParseAnd() {
  JinjaExpressionPtr left = ParseNot();
  while (!error_ && IsName("and")) left = MakePair(Kind::kAnd, std::move(left), &JinjaExpressionParser::ParseNot);
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::MakePair(Kind kind, JinjaExpressionPtr left,
                                                   JinjaExpressionPtr (JinjaExpressionParser::*next)()) {
  const JinjaToken& token = Take();
  JinjaExpressionPtr node = Make(kind, token.position, token.text);
  Add(*node, std::move(left));
  Add(*node, (this->*next)());
  return node;
}

JinjaExpressionPtr JinjaExpressionParser::ParseNot() {
  if (!IsName("not")) return ParseCompare();
  Level level(*this);
  if (error_) return nullptr;
  JinjaExpressionPtr node = Make(Kind::kUnary, Take().position, "not");
  Add(*node, ParseNot());
  return node;
}

JinjaExpressionPtr JinjaExpressionParser::ParseCompare() {
  JinjaExpressionPtr first = ParseSum();
  JinjaExpressionPtr node;
  while (!error_) {
    std::string op;
    const JinjaPosition position = Peek().position;
    for (std::string_view candidate : {"==", "!=", "<", "<=", ">", ">="}) {
      if (IsOperator(candidate)) op = candidate;
    }
    if (!op.empty()) {
      Take();
    } else if (TakeName("in")) {
      op = "in";
    } else if (IsName("not") && IsName("in", 1)) {
      Take();
      Take();
      op = "not in";
    } else {
      break;
    }
    if (!node) {
      node = Make(Kind::kCompare, position);
      Add(*node, std::move(first));
    }
    node->operators.push_back(std::move(op));
    Add(*node, ParseSum());
  }
  return node ? std::move(node) : std::move(first);
}

JinjaExpressionPtr JinjaExpressionParser::ParseSum() {
  JinjaExpressionPtr left = ParseConcat();
  while (!error_ && (IsOperator("+") || IsOperator("-"))) {
    left = MakePair(Kind::kBinary, std::move(left), &JinjaExpressionParser::ParseConcat);
  }
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::ParseConcat() {
  JinjaExpressionPtr first = ParseProduct();
  if (error_ || !IsOperator("~")) return first;
  JinjaExpressionPtr node = Make(Kind::kConcat, Peek().position);
  Add(*node, std::move(first));
  while (!error_ && TakeOperator("~")) Add(*node, ParseProduct());
  return node;
}

JinjaExpressionPtr JinjaExpressionParser::ParseProduct() {
  JinjaExpressionPtr left = ParsePower();
  while (!error_ && (IsOperator("*") || IsOperator("/") || IsOperator("//") || IsOperator("%"))) {
    left = MakePair(Kind::kBinary, std::move(left), &JinjaExpressionParser::ParsePower);
  }
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::ParsePower() {
  JinjaExpressionPtr left = ParseFilteredUnary();
  while (!error_ && IsOperator("**"))
    left = MakePair(Kind::kBinary, std::move(left), &JinjaExpressionParser::ParseFilteredUnary);
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::ParseFilteredUnary() {
  return ParseFilters(ParseUnary());
}

JinjaExpressionPtr JinjaExpressionParser::ParseUnary() {
  if (!IsOperator("-") && !IsOperator("+")) return ParsePostfix(ParsePrimary());
  Level level(*this);
  if (error_) return nullptr;
  const JinjaToken& token = Take();
  JinjaExpressionPtr node = Make(Kind::kUnary, token.position, token.text);
  Add(*node, ParseUnary());
  return ParsePostfix(std::move(node));
}

JinjaExpressionPtr JinjaExpressionParser::ParsePrimary() {
  if (error_) return nullptr;
  const JinjaToken& token = Take();
  switch (token.kind) {
    case TokenKind::kName:
      if (token.text == "true" || token.text == "True") return Constant(token.position, JinjaValue::Bool(true));
      if (token.text == "false" || token.text == "False") return Constant(token.position, JinjaValue::Bool(false));
      if (token.text == "none" || token.text == "None") return Constant(token.position, JinjaValue::MakeNone());
      return Make(Kind::kName, token.position, token.text);
    case TokenKind::kString: {
      std::string text = token.text;
      while (Peek().kind == TokenKind::kString) text += Take().text;
      return Constant(token.position, JinjaValue::Str(std::move(text)));
    }
    case TokenKind::kInteger:
      return Constant(token.position, JinjaValue::Int(token.integer));
    case TokenKind::kFloat:
      return Constant(token.position, JinjaValue::Float(token.number));
    default:
      break;
  }
  if (token.kind == TokenKind::kOperator && token.text == "(") {
    JinjaExpressionPtr inner = ParseTuple(true, {}, true);
    ExpectOperator(")");
    return inner;
  }
  if (token.kind == TokenKind::kOperator && token.text == "[") return ParseListOrDict(Kind::kList, token.position, "]");
  if (token.kind == TokenKind::kOperator && token.text == "{") return ParseListOrDict(Kind::kDict, token.position, "}");
  Fail(token.position, "expected an expression, not " + Describe(token));
  return nullptr;
}

JinjaExpressionPtr JinjaExpressionParser::ParseListOrDict(Kind kind, JinjaPosition position, std::string_view end) {
  JinjaExpressionPtr node = Make(kind, position);
  while (!error_ && !TakeOperator(end)) {
    if (!node->children.empty()) {
      ExpectOperator(",");
      if (TakeOperator(end)) break;
    }
    Add(*node, ParseExpression());
    if (kind != Kind::kDict) continue;
    ExpectOperator(":");
    Add(*node, ParseExpression());
  }
  return node;
}

bool JinjaExpressionParser::AtTupleEnd(Names end_names) const {
  const JinjaToken& token = Peek();
  if (token.kind == TokenKind::kVariableEnd || token.kind == TokenKind::kBlockEnd || IsOperator(")")) return true;
  return std::any_of(end_names.begin(), end_names.end(), [&](std::string_view name) { return IsName(name); });
}

JinjaExpressionPtr JinjaExpressionParser::ParseTuple(bool with_conditional, Names end_names, bool in_parentheses) {
  const JinjaPosition position = Peek().position;
  std::vector<JinjaExpressionPtr> items;
  bool is_tuple = false;
  while (!error_ && !AtTupleEnd(end_names)) {
    items.push_back(ParseExpression(with_conditional));
    if (!TakeOperator(",")) break;
    is_tuple = true;
  }
  if (error_) return nullptr;
  if (!is_tuple && !items.empty()) return std::move(items[0]);
  if (items.empty() && !in_parentheses) {
    Fail(position, "expected an expression, not " + Describe(Peek()));
    return nullptr;
  }
  JinjaExpressionPtr node = Make(Kind::kTuple, position);
  for (JinjaExpressionPtr& item : items) Add(*node, std::move(item));
  return node;
}

JinjaExpressionPtr JinjaExpressionParser::ParsePostfix(JinjaExpressionPtr node) {
  while (!error_) {
    if (IsOperator(".")) {
      node = ParseDot(std::move(node));
    } else if (IsOperator("[")) {
      node = ParseSubscript(std::move(node));
    } else if (IsOperator("(")) {
      node = ParseCall(std::move(node));
    } else {
      break;
    }
  }
  return node;
}

JinjaExpressionPtr JinjaExpressionParser::ParseDot(JinjaExpressionPtr target) {
  const JinjaPosition position = Take().position;
  if (Peek().kind == TokenKind::kInteger) {
    JinjaExpressionPtr node = Make(Kind::kItem, position);
    Add(*node, std::move(target));
    const JinjaToken& token = Take();
    Add(*node, Constant(token.position, JinjaValue::Int(token.integer)));
    return node;
  }
  JinjaExpressionPtr node = Make(Kind::kAttribute, position, ExpectName());
  Add(*node, std::move(target));
  return node;
}

JinjaExpressionPtr JinjaExpressionParser::ParseSubscript(JinjaExpressionPtr target) {
  JinjaExpressionPtr node = Make(Kind::kItem, Take().position);
  Add(*node, std::move(target));
  JinjaExpressionPtr parts[3];
  size_t part = 0;
  while (!error_ && !IsOperator("]")) {
    if (IsOperator(":")) {
      const JinjaPosition position = Take().position;
      node->kind = Kind::kSlice;
      if (++part > 2) Fail(position, "a slice has at most three parts");
    } else if (parts[std::min<size_t>(part, 2)]) {
      if (IsOperator(",")) {
        FailUnsupported(Peek().position, "an index of several parts");
      } else {
        Fail(Peek().position, "expected ']', not " + Describe(Peek()));
      }
    } else {
      parts[std::min<size_t>(part, 2)] = ParseExpression();
    }
  }
  ExpectOperator("]");
  if (!error_ && node->kind == Kind::kItem && !parts[0]) Fail(node->position, "expected an index");
  Add(*node, std::move(parts[0]));
  if (node->kind == Kind::kSlice) {
    Add(*node, std::move(parts[1]));
    Add(*node, std::move(parts[2]));
  }
  return node;
}

JinjaExpressionPtr JinjaExpressionParser::ParseCall(JinjaExpressionPtr callee) {
  constexpr std::array<std::string_view, 6> kUnsupported = {"joiner", "cycler", "lipsum", "super", "self", "caller"};
  JinjaExpressionPtr node = Make(Kind::kCall, Peek().position);
  if (callee && callee->kind == Kind::kName &&
      std::find(kUnsupported.begin(), kUnsupported.end(), callee->name) != kUnsupported.end()) {
    FailUnsupported(callee->position, "function '" + callee->name + "'");
  }
  Add(*node, std::move(callee));
  ParseArguments(*node);
  return node;
}

void JinjaExpressionParser::ParseArguments(JinjaExpression& node) {
  ExpectOperator("(");
  bool is_first = true;
  while (!error_ && !TakeOperator(")")) {
    if (!is_first) {
      ExpectOperator(",");
      if (TakeOperator(")")) return;
    }
    is_first = false;
    if (IsOperator("*") || IsOperator("**")) return FailUnsupported(Peek().position, "unpacking of arguments");
    if (Peek().kind == TokenKind::kName && IsOperator("=", 1)) {
      std::string name = Take().text;
      Take();
      JinjaExpressionPtr value = ParseExpression();
      if (value) node.height = std::max(node.height, value->height + 1);
      node.keywords.emplace_back(std::move(name), std::move(value));
    } else if (!node.keywords.empty()) {
      return Fail(Peek().position, "a positional argument after a named one");
    } else {
      Add(node, ParseExpression());
    }
  }
}

JinjaExpressionPtr JinjaExpressionParser::ParseFilters(JinjaExpressionPtr node) {
  while (!error_) {
    if (IsOperator("|")) {
      node = ParseFilter(std::move(node));
    } else if (IsName("is")) {
      node = ParseTest(std::move(node));
    } else if (IsOperator("(")) {
      node = ParseCall(std::move(node));
    } else {
      break;
    }
  }
  return node;
}

JinjaExpressionPtr JinjaExpressionParser::ParseFilter(JinjaExpressionPtr target) {
  TakeOperator("|");
  const JinjaPosition position = Peek().position;
  JinjaExpressionPtr node = Make(Kind::kFilter, position, ExpectName());
  if (!error_ && !IsJinjaFilter(node->name)) FailUnsupported(position, "filter '" + node->name + "'");
  Add(*node, std::move(target));
  if (IsOperator("(")) ParseArguments(*node);
  return node;
}

JinjaExpressionPtr JinjaExpressionParser::ParseTest(JinjaExpressionPtr target) {
  Take();
  const bool negated = TakeName("not");
  const JinjaPosition position = Peek().position;
  JinjaExpressionPtr node = Make(Kind::kTest, position, ExpectName());
  node->negated = negated;
  if (!error_ && !IsJinjaTest(node->name)) FailUnsupported(position, "test '" + node->name + "'");
  Add(*node, std::move(target));
  const JinjaToken& next = Peek();
  const bool starts_argument = (next.kind == TokenKind::kName && !IsName("else") && !IsName("or") && !IsName("and") &&
                                !IsName("if") && !IsName("not") && !IsName("in")) ||
                               next.kind == TokenKind::kString || next.kind == TokenKind::kInteger ||
                               next.kind == TokenKind::kFloat || IsOperator("[") || IsOperator("{");
  if (error_) return node;
  if (IsOperator("(")) {
    ParseArguments(*node);
  } else if (IsName("is")) {
    Fail(next.position, "tests cannot be chained with 'is'");
  } else if (starts_argument) {
    Add(*node, ParsePostfix(ParsePrimary()));
  }
  return node;
}

}  // namespace engram
