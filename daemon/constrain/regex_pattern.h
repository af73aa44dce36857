// SPDX-License-Identifier: Apache-2.0
// Reads a regular expression of a JSON schema (`pattern`) as the strings it finds a match in. Pure; one thread per
// grammar.
//
// Supported, as ECMAScript with the flag u means it: characters, escapes (\d \D \w \W \s \S \t \n \v \f \r \0 \xHH
// \uHHHH \u{H..} and those of punctuation), classes, ".", groups (also (?:), alternatives, * + ? {m} {m,} {m,n} (lazy
// or not: the language is the same), ^ and $ at the ends of the whole or of its alternatives. Not: look-around,
// backreferences, \b, \p, names of groups; these are refused. Nothing backtracks, so no pattern is slow.
#pragma once

#include <string_view>

#include "constrain/grammar.h"
#include "constrain/json_grammar.h"
#include "core/result.h"

namespace engram {

inline constexpr size_t kMaxPatternBytes = 4096;

// A whole JSON string with its quotes. kInvalidArgument with the column.
Result<ExprId> ParseRegexPattern(std::string_view pattern, Grammar& grammar, JsonGrammar& json);

}  // namespace engram
