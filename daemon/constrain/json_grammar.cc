// SPDX-License-Identifier: Apache-2.0
#include "constrain/json_grammar.h"

#include <algorithm>
#include <span>

#include "constrain/text_cursor.h"

namespace engram {
namespace {

const CodePoints kDigit{{'0', '9'}};
const CodePoints kHex{{'0', '9'}, {'a', 'f'}, {'A', 'F'}};
// Characters that stand in a string as they are.
const CodePoints kPlain = CodePoints{{0, 0x1f}, {'"', '"'}, {'\\', '\\'}, {0xd800, 0xdfff}}.Complement();

}  // namespace

ExprId JsonGrammar::Space() {
  return Rule(space_, "space", [&] {
    const ExprId line = grammar_.Sequence(
        {grammar_.Literal("\n"), grammar_.Repeat(grammar_.Characters({{' ', ' '}, {'\t', '\t'}}), 0, 20)});
    return grammar_.Optional(grammar_.Choice({grammar_.Literal(" "), line}));
  });
}

ExprId JsonGrammar::Character() {
  return Rule(character_, "character", [&] {
    const auto hex = [&](uint32_t count) { return grammar_.Repeat(grammar_.Characters(kHex), count, count); };
    const ExprId d = grammar_.Characters({{'d', 'd'}, {'D', 'D'}});
    const ExprId not_d = grammar_.Characters(kHex.Without({{'d', 'd'}, {'D', 'D'}}));
    const ExprId high = grammar_.Characters({{'8', '9'}, {'a', 'b'}, {'A', 'B'}});
    const ExprId low = grammar_.Characters({{'c', 'f'}, {'C', 'F'}});
    const ExprId unit = grammar_.Choice({
        grammar_.Sequence({not_d, hex(3)}),
        grammar_.Sequence({d, grammar_.Characters({{'0', '7'}}), hex(2)}),
        grammar_.Sequence({d, high, hex(2), grammar_.Literal("\\u"), d, low, hex(2)}),
    });
    return grammar_.Choice({
        grammar_.Characters(kPlain),
        grammar_.AnyOf({"\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"}),
        grammar_.Sequence({grammar_.Literal("\\u"), unit}),
    });
  });
}

ExprId JsonGrammar::CharacterOf(const CodePoints& points) {
  std::vector<std::string> escaped;
  for (uint32_t c = 0; c < 0x20; ++c) {
    if (!points.Contains(c)) continue;
    const size_t letter = std::string_view("\b\t\n\f\r").find(static_cast<char>(c));
    constexpr std::string_view kHexDigits = "0123456789abcdef";
    escaped.push_back(letter != std::string_view::npos
                          ? std::string("\\") + "btnfr"[letter]
                          : std::string("\\u00") + kHexDigits[c >> 4] + kHexDigits[c & 15]);
  }
  if (points.Contains('"')) escaped.emplace_back("\\\"");
  if (points.Contains('\\')) escaped.emplace_back("\\\\");
  std::vector<ExprId> ways;
  if (CodePoints plain = points.Without(kPlain.Complement()); !plain.empty())
    ways.push_back(grammar_.Characters(std::move(plain)));
  if (!escaped.empty()) ways.push_back(grammar_.AnyOf(std::move(escaped)));
  return grammar_.Choice(std::move(ways));
}

ExprId JsonGrammar::Quoted(ExprId content) {
  return grammar_.Sequence({grammar_.Literal("\""), content, grammar_.Literal("\"")});
}

ExprId JsonGrammar::String() {
  return Rule(string_, "string", [&] { return Quoted(grammar_.Repeat(Character(), 0, Expr::kUnbounded)); });
}

ExprId JsonGrammar::Integer() {
  return Rule(integer_, "integer", [&] {
    const ExprId more = grammar_.Repeat(grammar_.Characters(kDigit), 0, 15);
    const ExprId nonzero =
        grammar_.Sequence({grammar_.Optional(grammar_.Literal("-")), grammar_.Characters({{'1', '9'}}), more});
    return grammar_.Choice({grammar_.Literal("0"), nonzero});
  });
}

ExprId JsonGrammar::Number() {
  return Rule(number_, "number", [&] {
    const auto digits = [&](uint32_t min, uint32_t max) {
      return grammar_.Repeat(grammar_.Characters(kDigit), min, max);
    };
    const ExprId whole =
        grammar_.Choice({grammar_.Literal("0"), grammar_.Sequence({grammar_.Characters({{'1', '9'}}), digits(0, 15)})});
    const ExprId fraction = grammar_.Sequence({grammar_.Literal("."), digits(1, 16)});
    const ExprId exponent = grammar_.Sequence({grammar_.AnyOf({"e", "E", "e+", "E+", "e-", "E-"}), digits(1, 2)});
    return grammar_.Sequence(
        {grammar_.Optional(grammar_.Literal("-")), whole, grammar_.Optional(fraction), grammar_.Optional(exponent)});
  });
}

ExprId JsonGrammar::Comma() {
  return grammar_.Sequence({grammar_.Literal(","), Space()});
}

ExprId JsonGrammar::Member(ExprId key, ExprId value) {
  return grammar_.Sequence({key, grammar_.Literal(":"), Space(), value});
}

ExprId JsonGrammar::ArrayOf(ExprId item, uint32_t min, uint32_t max) {
  if (max == 0) return grammar_.Sequence({grammar_.Literal("["), Space(), grammar_.Literal("]")});
  const uint32_t more_max = max == Expr::kUnbounded ? max : max - 1;
  const ExprId more = grammar_.Repeat(grammar_.Sequence({Comma(), item}), min > 0 ? min - 1 : 0, more_max);
  const ExprId items = grammar_.Sequence({item, more, Space()});
  return grammar_.Sequence(
      {grammar_.Literal("["), Space(), min > 0 ? items : grammar_.Optional(items), grammar_.Literal("]")});
}

ExprId JsonGrammar::Array() {
  return Rule(array_, "array", [&] { return ArrayOf(Value(), 0, Expr::kUnbounded); });
}

ExprId JsonGrammar::Object() {
  return Rule(object_, "object", [&] {
    const ExprId member = Member(String(), Value());
    const ExprId more = grammar_.Repeat(grammar_.Sequence({Comma(), member}), 0, Expr::kUnbounded);
    const ExprId members = grammar_.Sequence({member, more, Space()});
    return grammar_.Sequence({grammar_.Literal("{"), Space(), grammar_.Optional(members), grammar_.Literal("}")});
  });
}

ExprId JsonGrammar::Value() {
  return Rule(value_, "value", [&] {
    return grammar_.Choice({grammar_.AnyOf({"null", "true", "false"}), String(), Number(), Object(), Array()});
  });
}

ExprId JsonGrammar::StringBut(const std::vector<std::string>& names) {
  // What is left of a string that has become another than all names.
  const ExprId rest = Rule(plain_rest_, "rest of a name", [&] {
    return grammar_.Sequence(
        {grammar_.Repeat(grammar_.Characters(kPlain), 0, Expr::kUnbounded), grammar_.Literal("\"")});
  });
  std::vector<std::u32string> known;
  for (const std::string& name : names) {
    std::u32string characters;
    for (TextCursor cursor(name); !cursor.at_end();) characters += static_cast<char32_t>(cursor.Next());
    // One that needs escapes cannot come out.
    if (std::all_of(characters.begin(), characters.end(), [](char32_t c) { return kPlain.Contains(c); }))
      known.push_back(std::move(characters));
  }
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  // One rule for each beginning that names share: long names must not make deep expressions.
  struct Beginning {
    RuleId rule;
    std::span<const std::u32string> names;  // that have it
    size_t size;                            // characters
  };
  const RuleId first = grammar_.AddRule("another name");
  std::vector<Beginning> work{{first, known, 0}};
  while (!work.empty() && grammar_.expressions().size() < Grammar::kMaxExpressions) {
    const RuleId rule = work.back().rule;
    const size_t size = work.back().size;
    std::span<const std::u32string> rest_of = work.back().names;
    work.pop_back();
    const bool is_name = !rest_of.empty() && rest_of.front().size() == size;
    if (is_name) rest_of = rest_of.subspan(1);
    std::vector<ExprId> ways;
    CodePoints taken;
    while (!rest_of.empty()) {
      const char32_t c = rest_of.front()[size];
      const auto end = std::find_if(rest_of.begin(), rest_of.end(), [&](const auto& name) { return name[size] != c; });
      const auto count = static_cast<size_t>(end - rest_of.begin());
      taken.Add(c, c);
      const RuleId next = grammar_.AddRule("another name");
      work.push_back({next, rest_of.first(count), size + 1});
      ways.push_back(grammar_.Sequence({grammar_.Characters({{c, c}}), grammar_.Call(next)}));
      rest_of = rest_of.subspan(count);
    }
    ways.push_back(grammar_.Sequence({grammar_.Characters(kPlain.Without(taken)), rest}));
    if (!is_name) ways.push_back(grammar_.Literal("\""));
    grammar_.Define(rule, grammar_.Choice(std::move(ways)));
  }
  return grammar_.Sequence({grammar_.Literal("\""), grammar_.Call(first)});
}

}  // namespace engram
