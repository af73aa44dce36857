// SPDX-License-Identifier: Apache-2.0
#include "constrain/grammar.h"

#include <algorithm>

namespace engram {

void CodePoints::Add(uint32_t first, uint32_t last) {
  if (first > last) return;
  // The first range that touches or follows the new one.
  auto at = std::lower_bound(ranges_.begin(), ranges_.end(), first,
                             [](const Range& range, uint32_t value) { return range.second + 1 < value; });
  auto end = at;
  while (end != ranges_.end() && end->first <= last + 1) {
    first = std::min(first, end->first);
    last = std::max(last, end->second);
    ++end;
  }
  at = ranges_.erase(at, end);
  ranges_.insert(at, {first, last});
}

void CodePoints::Add(const CodePoints& others) {
  for (const auto& [first, last] : others.ranges_) Add(first, last);
}

CodePoints CodePoints::Complement() const {
  CodePoints out;
  uint32_t next = 0;
  for (const auto& [first, last] : ranges_) {
    if (first > next) out.ranges_.emplace_back(next, first - 1);
    next = last + 1;
  }
  if (next <= kLast) out.ranges_.emplace_back(next, kLast);
  return out;
}

CodePoints CodePoints::Without(const CodePoints& others) const {
  CodePoints blocked = Complement();
  blocked.Add(others);
  return blocked.Complement();
}

bool CodePoints::Contains(uint32_t code_point) const {
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [&](const Range& range) { return range.first <= code_point && code_point <= range.second; });
}

ExprId Grammar::Add(Expr expr) {
  if (expressions_.size() >= kMaxExpressions) {
    too_large_ = true;
    return 0;
  }
  expressions_.push_back(std::move(expr));
  return static_cast<ExprId>(expressions_.size() - 1);
}

ExprId Grammar::Literal(std::string_view text) {
  return Add({.kind = Expr::Kind::kLiteral, .text = std::string(text)});
}

ExprId Grammar::Characters(CodePoints code_points) {
  return Add({.kind = Expr::Kind::kCodePoints, .code_points = std::move(code_points)});
}

ExprId Grammar::AnyOf(std::vector<std::string> texts) {
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  return Add({.kind = Expr::Kind::kAnyOf, .texts = std::move(texts)});
}

ExprId Grammar::Sequence(std::vector<ExprId> children) {
  if (children.size() == 1) return children[0];
  return Add({.kind = Expr::Kind::kSequence, .children = std::move(children)});
}

ExprId Grammar::Choice(std::vector<ExprId> children) {
  if (children.size() == 1) return children[0];
  return Add({.kind = Expr::Kind::kChoice, .children = std::move(children)});
}

ExprId Grammar::Repeat(ExprId child, uint32_t min, uint32_t max) {
  return Add({.kind = Expr::Kind::kRepeat, .children = {child}, .min = min, .max = max});
}

ExprId Grammar::Call(RuleId rule) {
  return Add({.kind = Expr::Kind::kRule, .rule = rule});
}

ExprId Grammar::Until(std::string_view end) {
  return Add({.kind = Expr::Kind::kUntil, .text = std::string(end)});
}

ExprId Grammar::NotPrefixed(std::string_view prefix) {
  return Add({.kind = Expr::Kind::kNotPrefixed, .text = std::string(prefix)});
}

RuleId Grammar::AddRule(std::string name) {
  rules_.push_back({std::move(name)});
  return static_cast<RuleId>(rules_.size() - 1);
}

void Grammar::Define(RuleId rule, ExprId body) {
  rules_[rule].body = body;
  rules_[rule].defined = true;
}

Status Grammar::status() const {
  if (too_large_)
    return InvalidArgument("the grammar is too large: it has more than " + std::to_string(kMaxExpressions) + " parts");
  for (const Rule& rule : rules_)
    if (!rule.defined) return InvalidArgument("rule \"" + rule.name + "\" is not defined");
  return {};
}

}  // namespace engram
