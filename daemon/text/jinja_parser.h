// SPDX-License-Identifier: Apache-2.0
// A chat template's syntax tree and its parser. The tree is immutable once parsed; any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"
#include "text/jinja_lexer.h"
#include "text/jinja_value.h"

namespace engram {

struct JinjaExpression;
using JinjaExpressionPtr = std::unique_ptr<JinjaExpression>;

enum class JinjaExpressionKind {
  kConstant,   // constant
  kName,       // name
  kList,       // children
  kTuple,      // children
  kDict,       // children: key, value, key, value ...
  kAttribute,  // children[0] . name
  kItem,       // children[0] [ children[1] ]
  kSlice,      // children[0] [ children[1] : children[2] : children[3] ], null where left out
  kCall,       // children[0] ( children[1..], keywords )
  kFilter,     // children[0] | name ( children[1..], keywords ); children[0] null: the text of a block
  kTest,       // children[0] is (not: negated) name ( children[1..], keywords )
  kUnary,      // name: "-", "+" or "not"
  kBinary,     // name: an arithmetic operator
  kConcat,     // children joined by ~
  kAnd,        // children[0] and children[1]
  kOr,
  kCompare,      // children[0] operators[0] children[1] operators[1] children[2] ...
  kConditional,  // children[0] if children[1] else children[2], the last null where left out
};

struct JinjaExpression {
  JinjaExpressionKind kind;
  JinjaPosition position;
  std::string name;
  JinjaValue constant;
  std::vector<JinjaExpressionPtr> children;
  std::vector<std::pair<std::string, JinjaExpressionPtr>> keywords;
  std::vector<std::string> operators;
  bool negated = false;
  int height = 1;  // levels of the tree below and with this one
};

struct JinjaStatement;
using JinjaBody = std::vector<JinjaStatement>;

enum class JinjaStatementKind {
  kData,      // text
  kOutput,    // expression
  kIf,        // branches: condition (null: else) and body
  kFor,       // target in expression, condition may be null; body, otherwise
  kSet,       // target = expression
  kSetBlock,  // target = body, through expression (a chain of filters) unless null
  kFilter,    // body through expression (a chain of filters)
  kMacro,     // text is its name; parameters; body
  kWith,      // assignments; body
  kScope,     // body, transparently: {% generation %}
  kBreak,
  kContinue,
};

struct JinjaStatement {
  JinjaStatementKind kind;
  JinjaPosition position;
  std::string text;
  JinjaExpressionPtr target;  // kName, kTuple of targets, or kAttribute of a kName (a namespace's)
  JinjaExpressionPtr expression;
  JinjaExpressionPtr condition;
  JinjaBody body;
  JinjaBody otherwise;
  std::vector<std::pair<JinjaExpressionPtr, JinjaBody>> branches;
  std::vector<std::pair<std::string, JinjaExpressionPtr>> parameters;          // default null: none
  std::vector<std::pair<JinjaExpressionPtr, JinjaExpressionPtr>> assignments;  // target, value
};

struct JinjaLimits {
  static constexpr size_t kSourceBytes = size_t{1} << 20;
  static constexpr int kNesting = 100;  // of brackets, blocks and operators
  static constexpr int kHeight = 200;   // of one expression's tree: also long chains such as a ~ (b ~ (...)) or x|f|f|f
};

// kInvalidArgument for what is no Jinja, kUnsupported (by name) for Jinja that is not supported.
Result<JinjaBody> JinjaParse(std::string_view source);

// The filters, tests and global functions there are (jinja_filters.cc, jinja_tests.cc, jinja_calls.cc).
bool IsJinjaFilter(std::string_view name);
bool IsJinjaTest(std::string_view name);
bool IsJinjaGlobal(std::string_view name);

}  // namespace engram
