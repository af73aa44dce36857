// SPDX-License-Identifier: Apache-2.0
// Statements. Their expressions are in jinja_expression_parser.cc.
#include "text/jinja_parser.h"

#include <algorithm>
#include <array>

#include "text/jinja_expression_parser.h"

namespace engram {
namespace {

using Kind = JinjaExpressionKind;
using TokenKind = JinjaTokenKind;

class Parser : private JinjaExpressionParser {
 public:
  explicit Parser(std::vector<JinjaToken> tokens) : JinjaExpressionParser(std::move(tokens)) {}

  Result<JinjaBody> Run() {
    JinjaBody body;
    ParseBody({}, body);
    if (failed()) return error();
    return body;
  }

 private:
  // Reads up to a block tag named in `ends` (left to be read), or to the end of the template where `ends` is empty.
  void ParseBody(Names ends, JinjaBody& body) {
    Level level(*this);
    while (!failed()) {
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
    if (failed()) return;
    Take();
    TakeName(name);
    ExpectBlockEnd();
  }

  void ParseStatement(JinjaBody& body) {
    const JinjaToken token = Peek();
    const std::string name = ExpectName();
    if (failed()) return;
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
    while (!failed()) {
      JinjaExpressionPtr condition = is_else ? nullptr : ParseTuple(false, {}, false);
      ExpectBlockEnd();
      auto& branch = statement.branches.emplace_back(std::move(condition), JinjaBody());
      if (is_else) {
        ParseBody({"endif"}, branch.second);
        return ExpectBlock("endif");
      }
      ParseBody({"elif", "else", "endif"}, branch.second);
      if (failed()) return;
      if (IsName("endif", 1)) return ExpectBlock("endif");
      Take();
      is_else = Take().text == "else";
    }
  }

  void ParseFor(JinjaStatement& statement) {
    statement.target = ParseTarget({"in"}, false);
    if (!failed() && !TakeName("in")) Fail(Peek().position, "expected 'in', not " + Describe(Peek()));
    if (failed()) return;
    statement.expression = ParseTuple(false, {"recursive", "if"}, false);
    if (TakeName("if")) statement.condition = ParseExpression();
    if (IsName("recursive")) return FailUnsupported(Peek().position, "a recursive loop");
    ExpectBlockEnd();
    ++loops_;
    ParseBody({"else", "endfor"}, statement.body);
    --loops_;
    if (!failed() && IsName("else", 1)) {
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
    while (!failed() && !AtTupleEnd(end_names) && !IsOperator("=")) {
      items.push_back(ParseOneTarget());
      if (!TakeOperator(",")) break;
      is_tuple = true;
    }
    if (!failed() && items.empty()) Fail(position, "expected a name, not " + Describe(Peek()));
    if (failed()) return nullptr;
    if (!is_tuple) return std::move(items[0]);
    JinjaExpressionPtr node = Make(Kind::kTuple, position);
    for (JinjaExpressionPtr& item : items) Add(*node, std::move(item));
    return node;
  }
  JinjaExpressionPtr ParseOneTarget() {
    Level level(*this);
    if (failed()) return nullptr;
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
    if (failed()) return;
    if (TakeOperator("=")) {
      statement.expression = ParseTuple(true, {}, false);
      return ExpectBlockEnd();
    }
    statement.kind = JinjaStatementKind::kSetBlock;
    if (statement.target->kind == Kind::kTuple)
      return Fail(statement.position, "a block cannot be set to several names");
    while (!failed() && IsOperator("|")) statement.expression = ParseFilter(std::move(statement.expression));
    ExpectBlockEnd();
    ParseBody({"endset"}, statement.body);
    ExpectBlock("endset");
  }

  void ParseMacro(JinjaStatement& statement) {
    statement.text = ExpectName();
    ExpectOperator("(");
    while (!failed() && !TakeOperator(")")) {
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
    if (!failed() && Peek(2).kind == TokenKind::kName && Peek(2).text == statement.text) {
      Take();
      Take();
      Take();
      return ExpectBlockEnd();
    }
    ExpectBlock("endmacro");
  }

  void ParseFilterBlock(JinjaStatement& statement) {
    statement.expression = ParseFilter(nullptr);
    while (!failed() && IsOperator("|")) statement.expression = ParseFilter(std::move(statement.expression));
    ExpectBlockEnd();
    ParseBody({"endfilter"}, statement.body);
    ExpectBlock("endfilter");
  }

  void ParseWith(JinjaStatement& statement) {
    while (!failed() && Peek().kind != TokenKind::kBlockEnd) {
      if (!statement.assignments.empty()) ExpectOperator(",");
      JinjaExpressionPtr target = failed() ? nullptr : ParseOneTarget();
      ExpectOperator("=");
      if (failed()) return;
      JinjaExpressionPtr value = ParseExpression();
      statement.assignments.emplace_back(std::move(target), std::move(value));
    }
    ExpectBlockEnd();
    ParseBody({"endwith"}, statement.body);
    ExpectBlock("endwith");
  }

  int loops_ = 0;  // around the statement, within its macro
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
