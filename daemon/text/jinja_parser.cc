// SPDX-License-Identifier: Apache-2.0
// Recursive descent with Jinja2's precedences. The first error sticks; every loop ends on it.
#include "text/jinja_parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>

namespace engram {
namespace {

using Kind = JinjaExpressionKind;
using TokenKind = JinjaTokenKind;
using Names = std::initializer_list<std::string_view>;

class Parser {
 public:
  explicit Parser(std::vector<JinjaToken> tokens) : tokens_(std::move(tokens)) {}

  Result<JinjaBody> Run() {
    JinjaBody body;
    ParseBody({}, body);
    if (error_) return *std::move(error_);
    return body;
  }

 private:
  // --- tokens ---
  const JinjaToken& Peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const JinjaToken& Take() {
    const JinjaToken& token = Peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool IsOperator(std::string_view op, size_t ahead = 0) const {
    return Peek(ahead).kind == TokenKind::kOperator && Peek(ahead).text == op;
  }
  bool IsName(std::string_view name, size_t ahead = 0) const {
    return Peek(ahead).kind == TokenKind::kName && Peek(ahead).text == name;
  }
  bool TakeOperator(std::string_view op) { return IsOperator(op) && (Take(), true); }
  bool TakeName(std::string_view name) { return IsName(name) && (Take(), true); }

  void Fail(JinjaPosition position, const std::string& what, ErrorCode code = ErrorCode::kInvalidArgument) {
    if (!error_) error_ = JinjaErrorAt(code, position, what);
  }
  void FailUnsupported(JinjaPosition position, const std::string& what) {
    Fail(position, what + " is not supported", ErrorCode::kUnsupported);
  }
  std::string Describe(const JinjaToken& token) const {
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
  void ExpectOperator(std::string_view op) {
    if (!TakeOperator(op)) Fail(Peek().position, "expected '" + std::string(op) + "', not " + Describe(Peek()));
  }
  void ExpectBlockEnd() {
    if (Peek().kind != TokenKind::kBlockEnd) return Fail(Peek().position, "expected '%}', not " + Describe(Peek()));
    Take();
  }
  std::string ExpectName() {
    if (Peek().kind == TokenKind::kName) return Take().text;
    Fail(Peek().position, "expected a name, not " + Describe(Peek()));
    return {};
  }

  // Bounds the parser's own recursion.
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) {
      if (++parser_.level_ > JinjaLimits::kNesting) {
        parser_.Fail(parser_.Peek().position,
                     "nested deeper than " + std::to_string(JinjaLimits::kNesting) + " levels");
      }
    }
    ~Level() { --parser_.level_; }

   private:
    Parser& parser_;
  };

  // --- expressions; null only after an error ---
  JinjaExpressionPtr Make(Kind kind, JinjaPosition position, std::string name = {}) {
    auto node = std::make_unique<JinjaExpression>();
    node->kind = kind;
    node->position = position;
    node->name = std::move(name);
    return node;
  }
  void Add(JinjaExpression& parent, JinjaExpressionPtr child) {
    if (child) parent.height = std::max(parent.height, child->height + 1);
    if (parent.height > JinjaLimits::kHeight) {
      Fail(parent.position, "expression of more than " + std::to_string(JinjaLimits::kHeight) + " levels");
    }
    parent.children.push_back(std::move(child));
  }
  JinjaExpressionPtr Constant(JinjaPosition position, JinjaValue value) {
    JinjaExpressionPtr node = Make(Kind::kConstant, position);
    node->constant = std::move(value);
    return node;
  }

  JinjaExpressionPtr ParseExpression(bool with_conditional = true) {
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

  JinjaExpressionPtr ParseOr() {
    JinjaExpressionPtr left = ParseAnd();
    while (!error_ && IsName("or")) left = MakePair(Kind::kOr, std::move(left), &Parser::ParseAnd);
    return left;
  }
  JinjaExpressionPtr ParseAnd() {
    JinjaExpressionPtr left = ParseNot();
    while (!error_ && IsName("and")) left = MakePair(Kind::kAnd, std::move(left), &Parser::ParseNot);
    return left;
  }
  JinjaExpressionPtr MakePair(Kind kind, JinjaExpressionPtr left, JinjaExpressionPtr (Parser::*next)()) {
    const JinjaToken& token = Take();
    JinjaExpressionPtr node = Make(kind, token.position, token.text);
    Add(*node, std::move(left));
    Add(*node, (this->*next)());
    return node;
  }
  JinjaExpressionPtr ParseNot() {
    if (!IsName("not")) return ParseCompare();
    Level level(*this);
    if (error_) return nullptr;
    JinjaExpressionPtr node = Make(Kind::kUnary, Take().position, "not");
    Add(*node, ParseNot());
    return node;
  }

  JinjaExpressionPtr ParseCompare() {
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

  JinjaExpressionPtr ParseSum() {
    JinjaExpressionPtr left = ParseConcat();
    while (!error_ && (IsOperator("+") || IsOperator("-"))) {
      left = MakePair(Kind::kBinary, std::move(left), &Parser::ParseConcat);
    }
    return left;
  }
  JinjaExpressionPtr ParseConcat() {
    JinjaExpressionPtr first = ParseProduct();
    if (error_ || !IsOperator("~")) return first;
    JinjaExpressionPtr node = Make(Kind::kConcat, Peek().position);
    Add(*node, std::move(first));
    while (!error_ && TakeOperator("~")) Add(*node, ParseProduct());
    return node;
  }
  JinjaExpressionPtr ParseProduct() {
    JinjaExpressionPtr left = ParsePower();
    while (!error_ && (IsOperator("*") || IsOperator("/") || IsOperator("//") || IsOperator("%"))) {
      left = MakePair(Kind::kBinary, std::move(left), &Parser::ParsePower);
    }
    return left;
  }
  JinjaExpressionPtr ParsePower() {
    JinjaExpressionPtr left = ParseFilteredUnary();
    while (!error_ && IsOperator("**")) left = MakePair(Kind::kBinary, std::move(left), &Parser::ParseFilteredUnary);
    return left;
  }
  JinjaExpressionPtr ParseFilteredUnary() { return ParseFilters(ParseUnary()); }
  JinjaExpressionPtr ParseUnary() {
    if (!IsOperator("-") && !IsOperator("+")) return ParsePostfix(ParsePrimary());
    Level level(*this);
    if (error_) return nullptr;
    const JinjaToken& token = Take();
    JinjaExpressionPtr node = Make(Kind::kUnary, token.position, token.text);
    Add(*node, ParseUnary());
    return ParsePostfix(std::move(node));
  }

  JinjaExpressionPtr ParsePrimary() {
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
    if (token.kind == TokenKind::kOperator && token.text == "[")
      return ParseListOrDict(Kind::kList, token.position, "]");
    if (token.kind == TokenKind::kOperator && token.text == "{")
      return ParseListOrDict(Kind::kDict, token.position, "}");
    Fail(token.position, "expected an expression, not " + Describe(token));
    return nullptr;
  }

  JinjaExpressionPtr ParseListOrDict(Kind kind, JinjaPosition position, std::string_view end) {
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

  bool AtTupleEnd(Names end_names) const {
    const JinjaToken& token = Peek();
    if (token.kind == TokenKind::kVariableEnd || token.kind == TokenKind::kBlockEnd || IsOperator(")")) return true;
    return std::any_of(end_names.begin(), end_names.end(), [&](std::string_view name) { return IsName(name); });
  }
  // One expression, or several with commas: a tuple.
  JinjaExpressionPtr ParseTuple(bool with_conditional, Names end_names, bool in_parentheses) {
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

  JinjaExpressionPtr ParsePostfix(JinjaExpressionPtr node) {
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
  JinjaExpressionPtr ParseDot(JinjaExpressionPtr target) {
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
  JinjaExpressionPtr ParseSubscript(JinjaExpressionPtr target) {
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
  JinjaExpressionPtr ParseCall(JinjaExpressionPtr callee) {
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
  // "(" arguments ")"
  void ParseArguments(JinjaExpression& node) {
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

  JinjaExpressionPtr ParseFilters(JinjaExpressionPtr node) {
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
  // "|" name [arguments]; also without the bar, at the start of a filter block.
  JinjaExpressionPtr ParseFilter(JinjaExpressionPtr target) {
    TakeOperator("|");
    const JinjaPosition position = Peek().position;
    JinjaExpressionPtr node = Make(Kind::kFilter, position, ExpectName());
    if (!error_ && !IsJinjaFilter(node->name)) FailUnsupported(position, "filter '" + node->name + "'");
    Add(*node, std::move(target));
    if (IsOperator("(")) ParseArguments(*node);
    return node;
  }
  JinjaExpressionPtr ParseTest(JinjaExpressionPtr target) {
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

  // --- statements ---
  // Reads up to a block tag named in `ends` (left to be read), or to the end of the template where `ends` is empty.
  void ParseBody(Names ends, JinjaBody& body) {
    Level level(*this);
    while (!error_) {
      const JinjaToken& token = Peek();
      if (token.kind == TokenKind::kEnd) {
        if (ends.size() != 0) Fail(token.position, "expected {% " + std::string(*(ends.end() - 1)) + " %}");
        return;
      }
      if (token.kind == TokenKind::kData) {
        body.push_back(MakeStatement(JinjaStatementKind::kData, Take()));
      } else if (token.kind == TokenKind::kVariableBegin) {
        JinjaStatement& output = body.emplace_back(MakeStatement(JinjaStatementKind::kOutput, Take()));
        output.expression = ParseTuple(true, {}, false);
        if (Peek().kind != TokenKind::kVariableEnd) {
          Fail(Peek().position, "expected '}}', not " + Describe(Peek()));
        }
        Take();
      } else {
        for (std::string_view end : ends) {
          if (IsName(end, 1)) return;
        }
        Take();
        ParseStatement(body);
      }
    }
  }
  JinjaStatement MakeStatement(JinjaStatementKind kind, const JinjaToken& token) {
    JinjaStatement statement{};
    statement.kind = kind;
    statement.position = token.position;
    if (kind == JinjaStatementKind::kData) statement.text = token.text;
    return statement;
  }
  // "{%" name "%}"
  void ExpectBlock(std::string_view name) {
    if (error_) return;
    Take();
    TakeName(name);
    ExpectBlockEnd();
  }

  void ParseStatement(JinjaBody& body) {
    const JinjaToken token = Peek();
    const std::string name = ExpectName();
    if (error_) return;
    if (name == "if") return ParseIf(body.emplace_back(MakeStatement(JinjaStatementKind::kIf, token)));
    if (name == "for") return ParseFor(body.emplace_back(MakeStatement(JinjaStatementKind::kFor, token)));
    if (name == "set") return ParseSet(body.emplace_back(MakeStatement(JinjaStatementKind::kSet, token)));
    if (name == "macro") return ParseMacro(body.emplace_back(MakeStatement(JinjaStatementKind::kMacro, token)));
    if (name == "filter") return ParseFilterBlock(body.emplace_back(MakeStatement(JinjaStatementKind::kFilter, token)));
    if (name == "with") return ParseWith(body.emplace_back(MakeStatement(JinjaStatementKind::kWith, token)));
    if (name == "generation") {
      JinjaStatement& statement = body.emplace_back(MakeStatement(JinjaStatementKind::kScope, token));
      ExpectBlockEnd();
      ParseBody({"endgeneration"}, statement.body);
      return ExpectBlock("endgeneration");
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) return Fail(token.position, "'" + name + "' outside of a loop");
      body.push_back(
          MakeStatement(name == "break" ? JinjaStatementKind::kBreak : JinjaStatementKind::kContinue, token));
      return ExpectBlockEnd();
    }
    constexpr std::array<std::string_view, 11> kUnsupported = {
        "block", "extends", "include", "import", "from", "call", "autoescape", "do", "trans", "pluralize", "debug"};
    if (std::find(kUnsupported.begin(), kUnsupported.end(), name) != kUnsupported.end()) {
      return FailUnsupported(token.position, "statement '" + name + "'");
    }
    Fail(token.position, "unknown or misplaced statement '" + name.substr(0, 40) + "'");
  }

  void ParseIf(JinjaStatement& statement) {
    bool is_else = false;
    while (!error_) {
      JinjaExpressionPtr condition = is_else ? nullptr : ParseTuple(false, {}, false);
      ExpectBlockEnd();
      auto& branch = statement.branches.emplace_back(std::move(condition), JinjaBody());
      if (is_else) {
        ParseBody({"endif"}, branch.second);
        return ExpectBlock("endif");
      }
      ParseBody({"elif", "else", "endif"}, branch.second);
      if (error_) return;
      if (IsName("endif", 1)) return ExpectBlock("endif");
      Take();
      is_else = Take().text == "else";
    }
  }

  void ParseFor(JinjaStatement& statement) {
    statement.target = ParseTarget({"in"}, false);
    if (!error_ && !TakeName("in")) Fail(Peek().position, "expected 'in', not " + Describe(Peek()));
    if (error_) return;
    statement.expression = ParseTuple(false, {"recursive", "if"}, false);
    if (TakeName("if")) statement.condition = ParseExpression();
    if (IsName("recursive")) return FailUnsupported(Peek().position, "a recursive loop");
    ExpectBlockEnd();
    ++loops_;
    ParseBody({"else", "endfor"}, statement.body);
    --loops_;
    if (!error_ && IsName("else", 1)) {
      ExpectBlock("else");
      ParseBody({"endfor"}, statement.otherwise);
    }
    ExpectBlock("endfor");
  }

  // A name, names with commas, or (`with_attribute`) an attribute of a namespace.
  JinjaExpressionPtr ParseTarget(Names end_names, bool with_attribute) {
    if (with_attribute && Peek().kind == TokenKind::kName && IsOperator(".", 1)) {
      const JinjaToken& token = Take();
      return ParseDot(Make(Kind::kName, token.position, token.text));
    }
    const JinjaPosition position = Peek().position;
    std::vector<JinjaExpressionPtr> items;
    bool is_tuple = false;
    while (!error_ && !AtTupleEnd(end_names) && !IsOperator("=")) {
      items.push_back(ParseOneTarget());
      if (!TakeOperator(",")) break;
      is_tuple = true;
    }
    if (!error_ && items.empty()) Fail(position, "expected a name, not " + Describe(Peek()));
    if (error_) return nullptr;
    if (!is_tuple) return std::move(items[0]);
    JinjaExpressionPtr node = Make(Kind::kTuple, position);
    for (JinjaExpressionPtr& item : items) Add(*node, std::move(item));
    return node;
  }
  JinjaExpressionPtr ParseOneTarget() {
    Level level(*this);
    if (error_) return nullptr;
    if (TakeOperator("(")) {
      JinjaExpressionPtr inner = ParseTarget({}, false);
      ExpectOperator(")");
      return inner;
    }
    const JinjaPosition position = Peek().position;
    std::string name = ExpectName();
    constexpr std::array<std::string_view, 6> kConstants = {"true", "True", "false", "False", "none", "None"};
    if (std::find(kConstants.begin(), kConstants.end(), name) != kConstants.end()) {
      Fail(position, "cannot assign to '" + name + "'");
    }
    return Make(Kind::kName, position, std::move(name));
  }

  void ParseSet(JinjaStatement& statement) {
    statement.target = ParseTarget({}, true);
    if (error_) return;
    if (TakeOperator("=")) {
      statement.expression = ParseTuple(true, {}, false);
      return ExpectBlockEnd();
    }
    statement.kind = JinjaStatementKind::kSetBlock;
    if (statement.target->kind == Kind::kTuple)
      return Fail(statement.position, "a block cannot be set to several names");
    while (!error_ && IsOperator("|")) statement.expression = ParseFilter(std::move(statement.expression));
    ExpectBlockEnd();
    ParseBody({"endset"}, statement.body);
    ExpectBlock("endset");
  }

  void ParseMacro(JinjaStatement& statement) {
    statement.text = ExpectName();
    ExpectOperator("(");
    while (!error_ && !TakeOperator(")")) {
      if (!statement.parameters.empty()) {
        ExpectOperator(",");
        if (TakeOperator(")")) break;
      }
      std::string name = ExpectName();
      JinjaExpressionPtr value = TakeOperator("=") ? ParseExpression() : nullptr;
      if (!value && !statement.parameters.empty() && statement.parameters.back().second) {
        Fail(Peek().position, "a parameter without default after one with");
      }
      statement.parameters.emplace_back(std::move(name), std::move(value));
    }
    ExpectBlockEnd();
    const int outer_loops = std::exchange(loops_, 0);
    ParseBody({"endmacro"}, statement.body);
    loops_ = outer_loops;
    if (!error_ && Peek(2).kind == TokenKind::kName && Peek(2).text == statement.text) {
      Take();
      Take();
      Take();
      return ExpectBlockEnd();
    }
    ExpectBlock("endmacro");
  }

  void ParseFilterBlock(JinjaStatement& statement) {
    statement.expression = ParseFilter(nullptr);
    while (!error_ && IsOperator("|")) statement.expression = ParseFilter(std::move(statement.expression));
    ExpectBlockEnd();
    ParseBody({"endfilter"}, statement.body);
    ExpectBlock("endfilter");
  }

  void ParseWith(JinjaStatement& statement) {
    while (!error_ && Peek().kind != TokenKind::kBlockEnd) {
      if (!statement.assignments.empty()) ExpectOperator(",");
      JinjaExpressionPtr target = error_ ? nullptr : ParseOneTarget();
      ExpectOperator("=");
      if (error_) return;
      JinjaExpressionPtr value = ParseExpression();
      statement.assignments.emplace_back(std::move(target), std::move(value));
    }
    ExpectBlockEnd();
    ParseBody({"endwith"}, statement.body);
    ExpectBlock("endwith");
  }

  const std::vector<JinjaToken> tokens_;
  size_t at_ = 0;
  int level_ = 0;
  int loops_ = 0;
  std::optional<Error> error_;
};

}  // namespace

Result<JinjaBody> JinjaParse(std::string_view source) {
  if (source.size() > JinjaLimits::kSourceBytes) {
    return InvalidArgument("chat template: " + std::to_string(source.size()) + " bytes, more than " +
                           std::to_string(JinjaLimits::kSourceBytes));
  }
  ENGRAM_TRY(std::vector<JinjaToken> tokens, JinjaTokenize(source));
  return Parser(std::move(tokens)).Run();
}

}  // namespace engram
