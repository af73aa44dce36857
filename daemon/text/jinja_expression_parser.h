// SPDX-License-Identifier: Apache-2.0
// Reads a chat template's tokens and parses expressions: recursive descent with Jinja2's precedences. The first error
// sticks, every loop ends on it, and what is returned after it is null or of no use. One thread.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/jinja_lexer.h"
#include "text/jinja_parser.h"

namespace engram {

// The base of the parser of statements.
class JinjaExpressionParser {
 protected:
  using Names = std::initializer_list<std::string_view>;

  explicit JinjaExpressionParser(std::vector<JinjaToken> tokens) : tokens_(std::move(tokens)) {}

  // --- tokens ---
  const JinjaToken& Peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const JinjaToken& Take() {
    const JinjaToken& token = Peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool IsOperator(std::string_view op, size_t ahead = 0) const {
    return Peek(ahead).kind == JinjaTokenKind::kOperator && Peek(ahead).text == op;
  }
  bool IsName(std::string_view name, size_t ahead = 0) const {
    return Peek(ahead).kind == JinjaTokenKind::kName && Peek(ahead).text == name;
  }
  bool TakeOperator(std::string_view op) { return IsOperator(op) && (Take(), true); }
  bool TakeName(std::string_view name) { return IsName(name) && (Take(), true); }
  void ExpectOperator(std::string_view op);
  void ExpectBlockEnd();
  std::string ExpectName();

  // --- errors ---
  bool failed() const { return error_.has_value(); }
  const Error& error() const { return *error_; }  // only after a failure
  void Fail(JinjaPosition position, const std::string& what, ErrorCode code = ErrorCode::kInvalidArgument) {
    if (!error_) error_ = JinjaErrorAt(code, position, what);
  }
  void FailUnsupported(JinjaPosition position, const std::string& what) {
    Fail(position, what + " is not supported", ErrorCode::kUnsupported);
  }
  // The token in the words of a message.
  static std::string Describe(const JinjaToken& token);

  // Bounds the parser's own recursion.
  class Level {
   public:
    explicit Level(JinjaExpressionParser& parser) : parser_(parser) {
      if (++parser_.level_ > JinjaLimits::kNesting) {
        parser_.Fail(parser_.Peek().position,
                     "nested deeper than " + std::to_string(JinjaLimits::kNesting) + " levels");
      }
    }
    ~Level() { --parser_.level_; }

   private:
    JinjaExpressionParser& parser_;
  };

  // --- expressions; null only after an error ---
  JinjaExpressionPtr Make(JinjaExpressionKind kind, JinjaPosition position, std::string name = {});
  void Add(JinjaExpression& parent, JinjaExpressionPtr child);
  JinjaExpressionPtr ParseExpression(bool with_conditional = true);
  bool AtTupleEnd(Names end_names) const;
  // One expression, or several with commas: a tuple.
  JinjaExpressionPtr ParseTuple(bool with_conditional, Names end_names, bool in_parentheses);
  JinjaExpressionPtr ParseDot(JinjaExpressionPtr target);
  // "|" name [arguments]; also without the bar, at the start of a filter block.
  JinjaExpressionPtr ParseFilter(JinjaExpressionPtr target);

 private:
  JinjaExpressionPtr Constant(JinjaPosition position, JinjaValue value);
  JinjaExpressionPtr ParseOr();
  JinjaExpressionPtr ParseAnd();
  JinjaExpressionPtr MakePair(JinjaExpressionKind kind, JinjaExpressionPtr left,
                              JinjaExpressionPtr (JinjaExpressionParser::*next)());
  JinjaExpressionPtr ParseNot();
  JinjaExpressionPtr ParseCompare();
  JinjaExpressionPtr ParseSum();
  JinjaExpressionPtr ParseConcat();
  JinjaExpressionPtr ParseProduct();
  JinjaExpressionPtr ParsePower();
  JinjaExpressionPtr ParseFilteredUnary();
  JinjaExpressionPtr ParseUnary();
  JinjaExpressionPtr ParsePrimary();
  JinjaExpressionPtr ParseListOrDict(JinjaExpressionKind kind, JinjaPosition position, std::string_view end);
  JinjaExpressionPtr ParsePostfix(JinjaExpressionPtr node);
  JinjaExpressionPtr ParseSubscript(JinjaExpressionPtr target);
  JinjaExpressionPtr ParseCall(JinjaExpressionPtr callee);
  // "(" arguments ")"
  void ParseArguments(JinjaExpression& node);
  JinjaExpressionPtr ParseFilters(JinjaExpressionPtr node);
  JinjaExpressionPtr ParseTest(JinjaExpressionPtr target);

  const std::vector<JinjaToken> tokens_;
  size_t at_ = 0;
  int level_ = 0;
  std::optional<Error> error_;
};

}  // namespace engram
