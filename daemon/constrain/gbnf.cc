// SPDX-License-Identifier: Apache-2.0
#include "constrain/gbnf.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string>

#include "constrain/repetition.h"
#include "constrain/text_cursor.h"
#include "core/json_text.h"

namespace engram {
namespace {

constexpr uint32_t kMaxNesting = 100;
constexpr size_t kMaxNameBytes = 100;
constexpr uint32_t kMaxRepeats = 8;  // one behind the other

bool IsNameStart(uint32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool IsNamePart(uint32_t c) {
  return IsNameStart(c) || (c >= '0' && c <= '9') || c == '-';
}

class Parser {
 public:
  explicit Parser(std::string_view text) : cursor_(text) {}

  Result<Grammar> Run() {
    SkipBlank();
    while (!cursor_.at_end()) {
      const TextCursor start = cursor_;
      const std::string name = ReadName();
      if (name.empty()) return cursor_.Fail("expected the name of a rule");
      if (name.size() > kMaxNameBytes) return LongName(start);
      SkipBlank();
      if (!cursor_.Take("::=")) return cursor_.Fail("expected \"::=\" after the rule's name \"" + name + "\"");
      const RuleId rule = RuleNamed(name, start);
      if (grammar_.rules()[rule].defined) return start.Fail("rule \"" + name + "\" is defined twice");
      ENGRAM_TRY(const ExprId body, ParseChoice(0));
      grammar_.Define(rule, body);
      if (!cursor_.at_end() && !StartsRule()) return cursor_.Fail("expected a rule, \"|\" or another part of this one");
    }
    for (const auto& [name, use] : uses_)
      if (!grammar_.rules()[use.rule].defined) return use.at.Fail("rule \"" + name + "\" is not defined");
    const auto root = uses_.find("root");
    if (root == uses_.end()) return InvalidArgument("there is no rule \"root\", with which the text starts");
    grammar_.set_root(root->second.rule);
    ENGRAM_CHECK_OK(grammar_.status());
    return std::move(grammar_);
  }

 private:
  struct Use {
    RuleId rule;
    TextCursor at;
  };

  // White space, line ends and comments mean nothing.
  void SkipBlank() {
    while (!cursor_.at_end()) {
      const uint32_t c = cursor_.peek();
      if (c == '#') {
        while (!cursor_.at_end() && cursor_.peek() != '\n') cursor_.Next();
      } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        cursor_.Next();
      } else {
        return;
      }
    }
  }

  std::string ReadName() {
    std::string name;
    if (cursor_.at_end() || !IsNameStart(cursor_.peek())) return name;
    while (!cursor_.at_end() && IsNamePart(cursor_.peek())) name += static_cast<char>(cursor_.Next());
    return name;
  }

  static Error LongName(const TextCursor& start) {
    return start.Fail("the rule's name has more than " + std::to_string(kMaxNameBytes) + " characters");
  }

  // A name with "::=" behind it begins the next rule.
  bool StartsRule() {
    const TextCursor start = cursor_;
    const bool starts = !ReadName().empty() && (SkipBlank(), cursor_.Take("::="));
    cursor_ = start;
    return starts;
  }

  RuleId RuleNamed(const std::string& name, const TextCursor& at) {
    const auto found = uses_.find(name);
    if (found != uses_.end()) return found->second.rule;
    const RuleId rule = grammar_.AddRule(name);
    uses_.emplace(name, Use{rule, at});
    return rule;
  }

  Result<ExprId> ParseChoice(uint32_t nesting) {
    if (nesting > kMaxNesting) return cursor_.Fail("more than " + std::to_string(kMaxNesting) + " nested parentheses");
    std::vector<ExprId> ways;
    do {
      ENGRAM_TRY(const ExprId way, ParseSequence(nesting));
      ways.push_back(way);
      // An expression too many is no longer kept, and the rest would be read for nothing.
      ENGRAM_CHECK_OK(TooLarge());
    } while (cursor_.Take("|"));
    return grammar_.Choice(std::move(ways));
  }

  Result<ExprId> ParseSequence(uint32_t nesting) {
    std::vector<ExprId> parts;
    for (SkipBlank(); !cursor_.at_end() && cursor_.peek() != '|' && cursor_.peek() != ')' && !StartsRule();
         SkipBlank()) {
      ENGRAM_TRY(ExprId part, ParsePart(nesting));
      ENGRAM_TRY(part, ParseRepeats(part));
      parts.push_back(part);
      ENGRAM_CHECK_OK(TooLarge());
    }
    if (parts.empty()) return grammar_.Literal("");
    return grammar_.Sequence(std::move(parts));
  }

  Status TooLarge() const {
    if (grammar_.expressions().size() < Grammar::kMaxExpressions) return {};
    return cursor_.Fail("the grammar has more than " + std::to_string(Grammar::kMaxExpressions) + " parts");
  }

  Result<ExprId> ParsePart(uint32_t nesting) {
    const TextCursor start = cursor_;
    if (cursor_.Take("\"")) return ParseLiteral(start);
    if (cursor_.Take("[")) return ParseClass(start);
    if (cursor_.Take(".")) return grammar_.Characters({{0, CodePoints::kLast}});
    if (cursor_.Take("(")) {
      ENGRAM_TRY(const ExprId inner, ParseChoice(nesting + 1));
      if (!cursor_.Take(")")) return cursor_.Fail("expected \")\" for the \"(\" at " + start.place());
      return inner;
    }
    const std::string name = ReadName();
    if (name.empty()) return cursor_.Fail("expected a literal, a class, \".\", \"(\" or a rule's name");
    if (name.size() > kMaxNameBytes) return LongName(start);
    return grammar_.Call(RuleNamed(name, start));
  }

  Result<ExprId> ParseLiteral(const TextCursor& start) {
    std::string text;
    while (!cursor_.at_end() && cursor_.peek() != '"' && cursor_.peek() != '\n') {
      ENGRAM_TRY(const uint32_t c, ReadCharacter());
      AppendUtf8(text, c);
    }
    if (!cursor_.Take("\"")) return start.Fail("the literal does not end on its line");
    return grammar_.Literal(text);
  }

  Result<ExprId> ParseClass(const TextCursor& start) {
    std::vector<CodePoints::Range> ranges;
    const bool negated = cursor_.Take("^");
    while (!cursor_.at_end() && cursor_.peek() != ']' && cursor_.peek() != '\n') {
      const TextCursor at = cursor_;
      ENGRAM_TRY(const uint32_t first, ReadCharacter());
      uint32_t last = first;
      const TextCursor dash = cursor_;
      if (cursor_.Take("-")) {
        if (!cursor_.at_end() && cursor_.peek() != ']') {
          ENGRAM_TRY(last, ReadCharacter());
        } else {
          cursor_ = dash;  // a "-" before "]" is itself
        }
      }
      if (last < first) return at.Fail("the range ends before it begins");
      ranges.emplace_back(first, last);
    }
    if (!cursor_.Take("]")) return start.Fail("the class does not end on its line");
    if (ranges.empty() && !negated) return start.Fail("the class has no characters");
    // In order each is added at the end; a class may have very many.
    std::sort(ranges.begin(), ranges.end());
    CodePoints points;
    for (const auto& [first, last] : ranges) points.Add(first, last);
    return grammar_.Characters(negated ? points.Complement() : std::move(points));
  }

  // One character of a literal or class, or an escape for one.
  Result<uint32_t> ReadCharacter() {
    const TextCursor start = cursor_;
    const uint32_t c = cursor_.Next();
    if (c != '\\') return c;
    if (cursor_.at_end()) return start.Fail("the escape has no character");
    const uint32_t kind = cursor_.Next();
    switch (kind) {
      case 'n':
        return uint32_t{'\n'};
      case 't':
        return uint32_t{'\t'};
      case 'r':
        return uint32_t{'\r'};
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
        return kind;
      case 'x':
        return ReadHex(start, 2);
      case 'u':
        return ReadHex(start, 4);
      case 'U':
        return ReadHex(start, 8);
      default:
        return start.Fail("unknown escape; there are \\n \\t \\r \\\\ \\\" \\[ \\] \\- \\^ \\xHH \\uHHHH \\UHHHHHHHH");
    }
  }

  Result<uint32_t> ReadHex(const TextCursor& start, uint32_t digits) {
    const std::optional<uint32_t> value = cursor_.TakeHex(digits);
    if (!value) return start.Fail("the escape needs " + std::to_string(digits) + " hexadecimal digits");
    if (*value > CodePoints::kLast || (*value >= 0xd800 && *value <= 0xdfff))
      return start.Fail("the escape is no Unicode character");
    return *value;
  }

  // Any number of repetitions behind a part.
  Result<ExprId> ParseRepeats(ExprId part) {
    for (uint32_t count = 0;; ++count) {
      SkipBlank();
      const TextCursor start = cursor_;
      ENGRAM_TRY(const auto repetition, TakeRepetition(cursor_, [this] { SkipBlank(); }));
      if (!repetition) return part;
      if (count >= kMaxRepeats)
        return start.Fail("more than " + std::to_string(kMaxRepeats) + " repetitions of one part");
      part = grammar_.Repeat(part, repetition->min, repetition->max);
    }
  }

  TextCursor cursor_;
  Grammar grammar_;
  std::map<std::string, Use> uses_;
};

}  // namespace

Result<Grammar> ParseGbnf(std::string_view text) {
  if (text.size() > kMaxGrammarBytes)
    return InvalidArgument("the grammar has " + std::to_string(text.size()) + " bytes, at most " +
                           std::to_string(kMaxGrammarBytes) + " are taken");
  if (const size_t valid = ValidUtf8Prefix(text); valid != text.size())
    return InvalidArgument("the grammar is not UTF-8 at byte " + std::to_string(valid));
  return Parser(text).Run();
}

}  // namespace engram
