// SPDX-License-Identifier: Apache-2.0
#include "constrain/regex_pattern.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "constrain/repetition.h"
#include "constrain/text_cursor.h"
#include "core/json_text.h"

namespace engram {
namespace {

constexpr uint32_t kMaxNesting = 50;

const CodePoints kDigits{{'0', '9'}};
const CodePoints kWord{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
// White space and line ends of ECMAScript.
const CodePoints kSpace{{0x9, 0xd},       {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
                        {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
const CodePoints kAnything{{0, CodePoints::kLast}};
const CodePoints kLineEnds{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
constexpr std::string_view kPunctuation = "^$\\.*+?()[]{}|/-";

class Parser {
 public:
  Parser(std::string_view pattern, Grammar& grammar, JsonGrammar& json)
      : cursor_(pattern), grammar_(grammar), json_(json) {}

  Result<ExprId> Run() {
    std::vector<ExprId> ways;
    do {
      const bool starts = cursor_.Take("^");
      ENGRAM_TRY(const ExprId body, ParseSequence(0));
      const bool ends = cursor_.Take("$");
      std::vector<ExprId> parts;
      if (!starts) parts.push_back(Anything());
      parts.push_back(body);
      if (!ends) parts.push_back(Anything());
      ways.push_back(grammar_.Sequence(std::move(parts)));
    } while (cursor_.Take("|"));
    if (!cursor_.at_end()) return cursor_.Fail(cursor_.peek() == ')' ? "\")\" without \"(\"" : kAnchor);
    return json_.Quoted(grammar_.Choice(std::move(ways)));
  }

 private:
  static constexpr const char* kAnchor = "\"^\" and \"$\" are only supported at the ends of the pattern";

  ExprId Anything() { return grammar_.Repeat(json_.CharacterOf(kAnything), 0, Expr::kUnbounded); }

  Result<ExprId> ParseChoice(uint32_t nesting) {
    if (nesting > kMaxNesting) return cursor_.Fail("more than " + std::to_string(kMaxNesting) + " nested groups");
    std::vector<ExprId> ways;
    do {
      ENGRAM_TRY(const ExprId way, ParseSequence(nesting));
      ways.push_back(way);
    } while (cursor_.Take("|"));
    return grammar_.Choice(std::move(ways));
  }

  Result<ExprId> ParseSequence(uint32_t nesting) {
    std::vector<ExprId> parts;
    while (!cursor_.at_end()) {
      const uint32_t c = cursor_.peek();
      if (c == '|' || c == ')') break;
      if (c == '^' || c == '$') {
        if (nesting == 0 && c == '$') break;
        return cursor_.Fail(kAnchor);
      }
      ENGRAM_TRY(ExprId part, ParsePart(nesting));
      ENGRAM_TRY(part, ParseRepeat(part));
      parts.push_back(part);
    }
    if (parts.empty()) return grammar_.Literal("");
    return grammar_.Sequence(std::move(parts));
  }

  Result<ExprId> ParsePart(uint32_t nesting) {
    const TextCursor start = cursor_;
    const uint32_t c = cursor_.Next();
    switch (c) {
      case '(': {
        if (cursor_.Take("?") && !cursor_.Take(":")) return start.Fail("of groups with \"?\" only (?:..) is supported");
        ENGRAM_TRY(const ExprId inner, ParseChoice(nesting + 1));
        if (!cursor_.Take(")")) return start.Fail("the group is not closed");
        return inner;
      }
      case '[':
        return ParseClass(start);
      case '.':
        return json_.CharacterOf(kAnything.Without(kLineEnds));
      case '*':
      case '+':
      case '?':
      case '{':
        return start.Fail("nothing is before this to be repeated");
      case ']':
      case '}':
        return start.Fail("a lone bracket must be escaped");
      case '\\': {
        ENGRAM_TRY(const CodePoints points, ReadEscape(start, false));
        return json_.CharacterOf(points);
      }
      default:
        return json_.CharacterOf({{c, c}});
    }
  }

  Result<ExprId> ParseRepeat(ExprId part) {
    ENGRAM_TRY(const auto repetition, TakeRepetition(cursor_, [] {}));
    if (!repetition) return part;
    cursor_.Take("?");
    if (!cursor_.at_end() &&
        std::string_view("*+?{").find(static_cast<char>(cursor_.peek())) != std::string_view::npos &&
        cursor_.peek() < 0x80)
      return cursor_.Fail("nothing is before this to be repeated");
    return grammar_.Repeat(part, repetition->min, repetition->max);
  }

  Result<ExprId> ParseClass(const TextCursor& start) {
    const bool negated = cursor_.Take("^");
    CodePoints points;
    while (!cursor_.at_end() && cursor_.peek() != ']') {
      const TextCursor at = cursor_;
      ENGRAM_TRY(const CodePoints first, ReadClassPart());
      const TextCursor dash = cursor_;
      if (!cursor_.Take("-") || cursor_.at_end() || cursor_.peek() == ']') {
        cursor_ = dash;
        points.Add(first);
        continue;
      }
      ENGRAM_TRY(const CodePoints last, ReadClassPart());
      const auto single = [](const CodePoints& p) {
        return p.ranges().size() == 1 && p.ranges()[0].first == p.ranges()[0].second;
      };
      if (!single(first) || !single(last)) return at.Fail("a range needs characters at its ends");
      if (last.ranges()[0].first < first.ranges()[0].first) return at.Fail("the range ends before it begins");
      points.Add(first.ranges()[0].first, last.ranges()[0].first);
    }
    if (!cursor_.Take("]")) return start.Fail("the class is not closed");
    return json_.CharacterOf(negated ? points.Complement() : points);
  }

  Result<CodePoints> ReadClassPart() {
    const TextCursor at = cursor_;
    const uint32_t c = cursor_.Next();
    if (c == '\\') return ReadEscape(at, true);
    return CodePoints{{c, c}};
  }

  // Behind the backslash.
  Result<CodePoints> ReadEscape(const TextCursor& start, bool in_class) {
    const auto one = [](uint32_t c) { return CodePoints{{c, c}}; };
    if (cursor_.at_end()) return start.Fail("the escape has no character");
    const uint32_t c = cursor_.Next();
    switch (c) {
      case 'd':
        return kDigits;
      case 'D':
        return kDigits.Complement();
      case 'w':
        return kWord;
      case 'W':
        return kWord.Complement();
      case 's':
        return kSpace;
      case 'S':
        return kSpace.Complement();
      case 't':
        return one('\t');
      case 'n':
        return one('\n');
      case 'v':
        return one('\v');
      case 'f':
        return one('\f');
      case 'r':
        return one('\r');
      case 'b':
        if (in_class) return one('\b');
        break;
      case '0':
        if (cursor_.at_end() || cursor_.peek() < '0' || cursor_.peek() > '9') return one(0);
        break;
      case 'x':
      case 'u': {
        const bool braced = c == 'u' && cursor_.Take("{");
        std::optional<uint32_t> value;
        if (braced) {
          for (uint32_t digits = 6; digits > 0 && !value; --digits) value = cursor_.TakeHex(digits);
          if (value && !cursor_.Take("}")) value.reset();
        } else {
          value = cursor_.TakeHex(c == 'x' ? 2 : 4);
        }
        if (!value || *value > CodePoints::kLast || (*value >= 0xd800 && *value <= 0xdfff))
          return start.Fail("the escape is no Unicode character");
        return one(*value);
      }
      default:
        if (c < 0x80 && kPunctuation.find(static_cast<char>(c)) != std::string_view::npos) return one(c);
        break;
    }
    return start.Fail("this escape is not supported");
  }

  TextCursor cursor_;
  Grammar& grammar_;
  JsonGrammar& json_;
};

}  // namespace

Result<ExprId> ParseRegexPattern(std::string_view pattern, Grammar& grammar, JsonGrammar& json) {
  if (pattern.size() > kMaxPatternBytes)
    return InvalidArgument("has " + std::to_string(pattern.size()) + " bytes, at most " +
                           std::to_string(kMaxPatternBytes) + " are taken");
  if (!IsValidUtf8(pattern)) return InvalidArgument("is not UTF-8");
  return Parser(pattern, grammar, json).Run();
}

}  // namespace engram
