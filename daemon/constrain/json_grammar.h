// SPDX-License-Identifier: Apache-2.0
// JsonGrammar: the parts of JSON texts as expressions of a grammar. One thread.
//
// What is generated is a part of what JSON allows: between tokens there is nothing, one space, or a line end and up to
// 20 spaces or tabs; numbers have at most 16 digits before and after the point and 2 in the exponent; no lone
// surrogates.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "constrain/grammar.h"

namespace engram {

class JsonGrammar {
 public:
  // The grammar must outlive it.
  explicit JsonGrammar(Grammar& grammar) : grammar_(grammar) {}

  ExprId Space();      // what may stand between tokens
  ExprId Character();  // one character of a string, escaped or not
  ExprId String();
  ExprId Number();
  ExprId Integer();
  ExprId Value();
  ExprId Object();
  ExprId Array();

  // A character of the set as it stands in a string, escaped only where it must be.
  ExprId CharacterOf(const CodePoints& points);
  // `"` .. `"` around `content`.
  ExprId Quoted(ExprId content);
  // [ item, item, .. ]
  ExprId ArrayOf(ExprId item, uint32_t min, uint32_t max);
  // , and the space behind it
  ExprId Comma();
  // `key`: value, where `key` is with its quotes
  ExprId Member(ExprId key, ExprId value);
  // A string, with its quotes and without escapes, that is none of `names`.
  ExprId StringBut(const std::vector<std::string>& names);

 private:
  template <typename Make>
  ExprId Rule(std::optional<RuleId>& rule, const char* name, Make make) {
    if (!rule) {
      rule = grammar_.AddRule(name);
      grammar_.Define(*rule, make());
    }
    return grammar_.Call(*rule);
  }

  Grammar& grammar_;
  std::optional<RuleId> space_, character_, string_, number_, integer_, value_, object_, array_, plain_rest_;
};

}  // namespace engram
