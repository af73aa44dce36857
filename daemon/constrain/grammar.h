// SPDX-License-Identifier: Apache-2.0
// Grammar: what a text may be, as rules over expressions. Notations (gbnf.h, json_schema.h, regex_pattern.h) are read
// into it; program.h compiles it. A plain value that one thread builds; memory is bounded by kMaxExpressions.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"

namespace engram {

using ExprId = uint32_t;
using RuleId = uint32_t;

// Sorted, disjoint ranges of Unicode code points, both ends included; surrogates are left out when they are compiled.
class CodePoints {
 public:
  using Range = std::pair<uint32_t, uint32_t>;
  static constexpr uint32_t kLast = 0x10ffff;

  CodePoints() = default;
  CodePoints(std::initializer_list<Range> ranges) {
    for (const auto& [first, last] : ranges) Add(first, last);
  }
  void Add(uint32_t first, uint32_t last);
  void Add(const CodePoints& others);
  CodePoints Complement() const;
  CodePoints Without(const CodePoints& others) const;
  bool Contains(uint32_t code_point) const;
  bool empty() const { return ranges_.empty(); }
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  std::vector<Range> ranges_;
};

struct Expr {
  enum class Kind : uint8_t {
    kLiteral,     // `text`, byte for byte; empty: nothing
    kCodePoints,  // one character of `code_points`, as UTF-8
    kAnyOf,       // one of `texts`; any number of them costs no more than their bytes
    kSequence,    // all `children` in order
    kChoice,      // one of `children`
    kRepeat,      // children[0], min to max times
    kRule,        // what rule `rule` matches
    kUntil,       // any bytes that hold `text` only as their end: up to it, or never to it (then nothing may follow)
    kNotPrefixed  // any bytes that do not begin with `text`
  };
  static constexpr uint32_t kUnbounded = std::numeric_limits<uint32_t>::max();

  Kind kind = Kind::kLiteral;
  std::string text;
  std::vector<std::string> texts;
  CodePoints code_points;
  std::vector<ExprId> children;
  uint32_t min = 0;
  uint32_t max = 0;
  RuleId rule = 0;
};

class Grammar {
 public:
  // Beyond it expressions are no longer kept and status() fails.
  static constexpr size_t kMaxExpressions = 1 << 16;

  struct Rule {
    std::string name;  // for messages
    ExprId body = 0;
    bool defined = false;
  };

  ExprId Literal(std::string_view text);
  ExprId Characters(CodePoints code_points);
  ExprId AnyOf(std::vector<std::string> texts);
  ExprId Sequence(std::vector<ExprId> children);
  ExprId Choice(std::vector<ExprId> children);
  ExprId Repeat(ExprId child, uint32_t min, uint32_t max);
  ExprId Optional(ExprId child) { return Repeat(child, 0, 1); }
  ExprId Call(RuleId rule);
  // Any text with `end` as its end and nowhere else, or without it and at the end of everything.
  ExprId Until(std::string_view end);
  ExprId NotPrefixed(std::string_view prefix);

  RuleId AddRule(std::string name);
  void Define(RuleId rule, ExprId body);

  void set_root(RuleId rule) { root_ = rule; }
  RuleId root() const { return root_; }
  const std::vector<Expr>& expressions() const { return expressions_; }
  const std::vector<Rule>& rules() const { return rules_; }
  // kInvalidArgument when there were too many expressions or a rule has no body.
  Status status() const;

 private:
  ExprId Add(Expr expr);

  std::vector<Expr> expressions_;
  std::vector<Rule> rules_;
  RuleId root_ = 0;
  bool too_large_ = false;
};

}  // namespace engram
