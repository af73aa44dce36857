// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_lexer.h"

#include <array>
#include <cctype>
#include <charconv>
#include <optional>

#include "text/jinja_value.h"

namespace engram {
namespace {

// All line ends become "\n", and one at the end of the template goes.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

constexpr size_t kMaxBrackets = 100;

bool IsSpace(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
bool IsNameStart(char c) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool IsNamePart(char c) {
  return IsNameStart(c) || IsDigit(c);
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<JinjaToken>> Run() {
    while (!error_ && at_ < source_.size()) ReadData();
    if (error_) return *std::move(error_);
    Emit(JinjaTokenKind::kEnd);
    return std::move(tokens_);
  }

 private:
  bool StartsWith(std::string_view text) const { return std::string_view(source_).substr(at_, text.size()) == text; }

  // Tokens ask in rising order, so the count goes on from the last one; an error may look back.
  JinjaPosition PositionOf(size_t offset) {
    if (offset < counted_) {
      counted_ = 0;
      position_ = {};
    }
    for (; counted_ < offset; ++counted_) {
      const char c = source_[counted_];
      if (c == '\n') {
        ++position_.line;
        position_.column = 1;
      } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {
        ++position_.column;
      }
    }
    return position_;
  }

  void Fail(size_t offset, const std::string& what) {
    if (!error_) error_ = JinjaErrorAt(ErrorCode::kInvalidArgument, PositionOf(offset), what);
  }

  JinjaToken& Emit(JinjaTokenKind kind, std::string text = {}) {
    JinjaToken& token = tokens_.emplace_back();
    token.kind = kind;
    token.text = std::move(text);
    token.position = PositionOf(at_);
    return token;
  }

  void EmitData(size_t begin, size_t end) {
    if (begin >= end) return;
    const size_t at = at_;
    at_ = begin;
    Emit(JinjaTokenKind::kData, source_.substr(begin, end - begin));
    at_ = at;
  }

  // The end of the data before a tag at `tag`: '-' strips all white space, and without '+' a block's or comment's own
  // indentation goes.
  size_t StripBefore(size_t begin, size_t tag, char sign, bool is_variable) const {
    size_t end = tag;
    if (sign == '-') {
      while (end > begin && IsSpace(source_[end - 1])) --end;
      return end;
    }
    if (sign == '+' || is_variable) return end;
    while (end > begin && source_[end - 1] != '\n' && IsSpace(source_[end - 1])) --end;
    const bool whole_line = end > begin ? source_[end - 1] == '\n' : line_starting_;
    return whole_line ? end : tag;
  }

  void SkipSpaces() {
    while (at_ < source_.size() && IsSpace(source_[at_])) ++at_;
  }

  // Reads an end such as "%}" with its sign where one stands here. Blocks and comments take one line end with them.
  bool ReadEnd(std::string_view end, bool trims) {
    const size_t begin = at_;
    const char sign = at_ < source_.size() ? source_[at_] : '\0';
    const bool has_sign = sign == '-' || (sign == '+' && trims);
    at_ += has_sign ? 1 : 0;
    if (!StartsWith(end)) {
      at_ = begin;
      return false;
    }
    at_ += end.size();
    if (has_sign && sign == '-') {
      SkipSpaces();
    } else if (!has_sign && trims && StartsWith("\n")) {
      ++at_;
    }
    line_starting_ = source_[at_ - 1] == '\n';
    return true;
  }

  void ReadData() {
    size_t tag = at_;
    const auto is_tag = [&](size_t i) {
      return source_[i] == '{' && i + 1 < source_.size() &&
             (source_[i + 1] == '%' || source_[i + 1] == '{' || source_[i + 1] == '#');
    };
    while (tag < source_.size() && !is_tag(tag)) ++tag;
    if (tag >= source_.size()) {
      EmitData(at_, source_.size());
      at_ = source_.size();
      return;
    }
    const char kind = source_[tag + 1];
    char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (sign != '-' && sign != '+') sign = '\0';
    EmitData(at_, StripBefore(at_, tag, sign, kind == '{'));
    at_ = tag;
    const size_t inside = tag + 2 + (sign != '\0' ? 1 : 0);
    if (kind == '#') {
      at_ = inside;
      SkipComment(tag);
    } else if (kind == '{') {
      Emit(JinjaTokenKind::kVariableBegin);
      at_ = inside;
      ReadExpression(tag, "}}", JinjaTokenKind::kVariableEnd);
    } else if (!ReadRaw(inside)) {
      at_ = tag;
      Emit(JinjaTokenKind::kBlockBegin);
      at_ = inside;
      ReadExpression(tag, "%}", JinjaTokenKind::kBlockEnd);
    }
  }

  void SkipComment(size_t tag) {
    for (; at_ < source_.size(); ++at_) {
      if (ReadEnd("#}", true)) return;
    }
    Fail(tag, "comment without its end");
  }

  // Whether `word` stands at `at` between optional spaces, before the end of a block; *end is then where that end
  // begins.
  bool IsWordBlock(size_t at, std::string_view word, size_t* end) const {
    while (at < source_.size() && IsSpace(source_[at])) ++at;
    if (std::string_view(source_).substr(at, word.size()) != word) return false;
    at += word.size();
    while (at < source_.size() && IsSpace(source_[at])) ++at;
    *end = at;
    const std::string_view rest = std::string_view(source_).substr(at);
    return rest.starts_with("%}") || rest.starts_with("-%}") || rest.starts_with("+%}");
  }

  // {% raw %}: data up to {% endraw %}. As in Jinja2 the begin takes no line end with it, the end does.
  bool ReadRaw(size_t inside) {
    const size_t tag = at_;
    size_t end = 0;
    if (!IsWordBlock(inside, "raw", &end) || source_[end] == '+') return false;
    at_ = end;
    if (source_[end] == '-') {
      at_ += 3;
      SkipSpaces();
    } else {
      at_ += 2;
    }
    line_starting_ = source_[at_ - 1] == '\n';
    for (size_t i = at_; i + 1 < source_.size(); ++i) {
      if (source_[i] != '{' || source_[i + 1] != '%') continue;
      char sign = i + 2 < source_.size() ? source_[i + 2] : '\0';
      if (sign != '-' && sign != '+') sign = '\0';
      if (!IsWordBlock(i + 2 + (sign != '\0' ? 1 : 0), "endraw", &end)) continue;
      EmitData(at_, StripBefore(at_, i, sign, false));
      at_ = end;
      ReadEnd("%}", true);
      return true;
    }
    Fail(tag, "raw block without endraw");
    return true;
  }

  void ReadExpression(size_t tag, std::string_view end, JinjaTokenKind end_kind) {
    std::vector<char> brackets;
    while (!error_) {
      SkipSpaces();
      if (at_ >= source_.size()) return Fail(tag, "tag without its end");
      if (brackets.empty()) {
        const size_t begin = at_;
        if (ReadEnd(end, end_kind == JinjaTokenKind::kBlockEnd)) {
          const size_t after = at_;
          at_ = begin;
          Emit(end_kind);
          at_ = after;
          return;
        }
      }
      ReadToken(brackets);
    }
  }

  void ReadToken(std::vector<char>& brackets) {
    const char c = source_[at_];
    if (IsNameStart(c)) {
      size_t end = at_;
      while (end < source_.size() && IsNamePart(source_[end])) ++end;
      Emit(JinjaTokenKind::kName, source_.substr(at_, end - at_));
      at_ = end;
    } else if (IsDigit(c)) {
      ReadNumber();
    } else if (c == '\'' || c == '"') {
      ReadString();
    } else {
      ReadOperator(brackets);
    }
  }

  void ReadOperator(std::vector<char>& brackets) {
    constexpr std::array<std::string_view, 28> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/",
                                                             "%",  "~",  "<",  ">",  "=",  "(",  ")", "[", "]", "{",
                                                             "}",  ".",  ":",  "|",  ",",  ";",  "",  ""};
    for (std::string_view op : kOperators) {
      if (op.empty() || !StartsWith(op)) continue;
      if (op == "(" || op == "[" || op == "{") {
        if (brackets.size() >= kMaxBrackets) {
          return Fail(at_, "brackets nested deeper than " + std::to_string(kMaxBrackets) + " levels");
        }
        brackets.push_back(op[0] == '(' ? ')' : op[0] == '[' ? ']' : '}');
      } else if (op == ")" || op == "]" || op == "}") {
        if (brackets.empty() || brackets.back() != op[0]) return Fail(at_, "'" + std::string(op) + "' closes nothing");
        brackets.pop_back();
      }
      Emit(JinjaTokenKind::kOperator, std::string(op));
      at_ += op.size();
      return;
    }
    Fail(at_, "a character that Jinja has no use for here");
  }

  void ReadNumber() {
    size_t end = at_;
    int base = 10;
    if (source_[at_] == '0' && at_ + 1 < source_.size()) {
      const char letter = static_cast<char>(source_[at_ + 1] | 0x20);
      base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
    }
    if (base != 10) end += 2;
    std::string digits;
    const auto take = [&](auto accepts) {
      for (; end < source_.size() && (accepts(source_[end]) || source_[end] == '_'); ++end) {
        if (source_[end] != '_') digits += source_[end];
      }
    };
    take([&](char c) { return base == 16 ? std::isxdigit(static_cast<unsigned char>(c)) != 0 : IsDigit(c); });
    bool is_float = false;
    if (base == 10 && end + 1 < source_.size() && source_[end] == '.' && IsDigit(source_[end + 1])) {
      is_float = true;
      digits += '.';
      ++end;
      take(IsDigit);
    }
    if (base == 10 && end < source_.size() && (source_[end] | 0x20) == 'e') {
      size_t exponent = end + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
      if (exponent < source_.size() && IsDigit(source_[exponent])) {
        is_float = true;
        digits.append(source_, end, exponent - end);
        end = exponent;
        take(IsDigit);
      }
    }
    if (end < source_.size() && IsNamePart(source_[end])) return Fail(at_, "malformed number");
    JinjaToken& token = Emit(is_float ? JinjaTokenKind::kFloat : JinjaTokenKind::kInteger, digits);
    const char* const last = digits.data() + digits.size();
    const auto parsed = is_float ? std::from_chars(digits.data(), last, token.number)
                                 : std::from_chars(digits.data(), last, token.integer, base);
    if (parsed.ec != std::errc() || parsed.ptr != last) return Fail(at_, "number out of range or malformed");
    at_ = end;
  }

  void ReadString() {
    const size_t begin = at_;
    const char quote = source_[at_];
    std::string text;
    size_t i = at_ + 1;
    while (i < source_.size() && source_[i] != quote && !error_) {
      if (source_[i] == '\\' && i + 1 < source_.size()) {
        i = ReadEscape(i, text);
      } else {
        text += source_[i++];
      }
    }
    if (error_) return;
    if (i >= source_.size()) return Fail(begin, "string without its end");
    Emit(JinjaTokenKind::kString, std::move(text));
    at_ = i + 1;
  }

  // Python's escapes; one that it does not know stays as written. Returns where the text goes on.
  size_t ReadEscape(size_t backslash, std::string& text) {
    constexpr std::string_view kLetters = "abfnrtv\\'\"";
    constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
    const char c = source_[backslash + 1];
    size_t next = backslash + 2;
    if (const size_t letter = kLetters.find(c); letter != std::string_view::npos) {
      text += kMeanings[letter];
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t num_digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      uint32_t code = 0;
      const char* first = source_.data() + std::min(next, source_.size());
      const char* last = source_.data() + std::min(next + num_digits, source_.size());
      const auto parsed = std::from_chars(first, last, code, 16);
      if (parsed.ptr != first + num_digits || parsed.ec != std::errc() || code > 0x10FFFF ||
          (code >= 0xD800 && code < 0xE000)) {
        Fail(backslash, "malformed \\" + std::string(1, c) + " escape");
        return next;
      }
      const auto character = static_cast<char32_t>(code);
      text += JinjaUtf8(std::u32string_view(&character, 1));
      next += num_digits;
    } else if (c >= '0' && c <= '7') {
      char32_t code = 0;
      for (next = backslash + 1; next < backslash + 4 && next < source_.size(); ++next) {
        if (source_[next] < '0' || source_[next] > '7') break;
        code = code * 8 + static_cast<char32_t>(source_[next] - '0');
      }
      text += JinjaUtf8(std::u32string_view(&code, 1));
    } else if (c == 'N') {
      Fail(backslash, "\\N escapes are not supported");
    } else if (c != '\n') {
      text += '\\';
      text += c;
    }
    return next;
  }

  const std::string source_;
  size_t at_ = 0;
  bool line_starting_ = true;  // the last tag's end took a line end with it
  size_t counted_ = 0;
  JinjaPosition position_;
  std::vector<JinjaToken> tokens_;
  std::optional<Error> error_;
};

}  // namespace

Result<std::vector<JinjaToken>> JinjaTokenize(std::string_view source) {
  return Lexer(NormalizeNewlines(source)).Run();
}

Error JinjaErrorAt(ErrorCode code, JinjaPosition position, const std::string& what) {
  return {code,
          "chat template line " + std::to_string(position.line) + ", column " + std::to_string(position.column) + ": " +
              what,
          {}};
}

}  // namespace engram
