// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <optional>
#include <vector>

#include "text/regex.h"

namespace engram {
namespace {

// White_Space of Unicode 6.3 and later, as class members. PCRE2's own \s also takes U+180E.
constexpr std::string_view kSpace =
    R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}!-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
// Oniguruma's word characters. PCRE2 10.42 leaves out marks and takes all of N.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
bool IsHex(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// One walk over the pattern. `out_` grows; `atom_` is where the last atom starts in it, so that a quantified atom can
// be wrapped in a group.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  Result<std::string> Run() {
    while (at_ < in_.size()) ENGRAM_CHECK_OK(Step());
    return std::move(out_);
  }

 private:
  static constexpr size_t kNoAtom = static_cast<size_t>(-1);

  Error Refuse(std::string_view what) const {
    return Unsupported("offset " + std::to_string(at_) + ": " + std::string(what) + " is not supported");
  }
  bool LooksAt(std::string_view text) const { return in_.substr(at_, text.size()) == text; }
  void Copy(size_t num_bytes) {
    out_ += in_.substr(at_, num_bytes);
    at_ += num_bytes;
  }
  void StartAtom() { atom_ = out_.size(); }

  Status Step() {
    switch (in_[at_]) {
      case '\\':
        return Escape();
      case '[':
        return Class();
      case '(':
        return OpenGroup();
      case ')':
        if (!groups_.empty()) {
          atom_ = groups_.back();
          groups_.pop_back();
        }
        Copy(1);
        return {};
      case '|':
        atom_ = kNoAtom;
        Copy(1);
        return {};
      case '*':
      case '+':
      case '?':
        Copy(1);
        return {};
      case '{':
        return Interval();
      default:
        StartAtom();
        Copy(1);
        // The other bytes of a character belong to the same atom.
        while (at_ < in_.size() && (in_[at_] & 0xC0) == 0x80) Copy(1);
        return {};
    }
  }

  Status OpenGroup() {
    if (LooksAt("(*")) return Refuse("(*");
    const size_t start = out_.size();
    if (!LooksAt("(?")) {
      Copy(1);
    } else {
      std::optional<size_t> length;
      for (std::string_view head : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"}) {
        if (LooksAt(head)) length = head.size();
      }
      if (length) {
        Copy(*length);
      } else {
        size_t end = at_ + 2;
        std::string flags;
        for (; end < in_.size() && (in_[end] == 'i' || in_[end] == 'm' || in_[end] == '-'); ++end) {
          flags += in_[end] == 'm' ? 's' : in_[end];  // Oniguruma's m lets the dot match a newline
        }
        if (end >= in_.size() || flags.empty()) return Refuse("group " + std::string(in_.substr(at_, 3)));
        // Oniguruma ends the alternation before options in the middle; PCRE2 does not.
        const bool whole_pattern = in_[end] == ')' && at_ == 0;
        if (in_[end] != ':' && !whole_pattern) return Refuse("group " + std::string(in_.substr(at_, end + 1 - at_)));
        out_ += "(?" + flags + in_[end];
        at_ = end + 1;
        if (whole_pattern) return {};
      }
    }
    groups_.push_back(start);
    atom_ = kNoAtom;
    return {};
  }

  // `{n,m}` and what follows it; any other brace is itself in both engines.
  Status Interval() {
    size_t end = at_ + 1;
    const size_t low = end;
    while (end < in_.size() && IsDigit(in_[end])) ++end;
    const size_t low_end = end;
    const bool comma = end < in_.size() && in_[end] == ',';
    size_t high = end, high_end = end;
    if (comma) {
      high = ++end;
      while (end < in_.size() && IsDigit(in_[end])) ++end;
      high_end = end;
    }
    const bool has_low = low_end > low, has_high = high_end > high;
    if (end >= in_.size() || in_[end] != '}' || atom_ == kNoAtom || (!has_low && !has_high)) {
      StartAtom();
      out_ += R"(\{)";
      ++at_;
      return {};
    }
    std::string interval = "{" + (has_low ? std::string(in_.substr(low, low_end - low)) : "0");
    if (comma) interval += "," + std::string(in_.substr(high, high_end - high));
    out_ += interval + "}";
    at_ = end + 1;
    const char next = at_ < in_.size() ? in_[at_] : '\0';
    // Perl reads X{n,m}+ as possessive and X{n}? as lazy; Oniguruma as (?:X{n,m})+ and (?:X{n})?.
    if (next == '+' || (next == '?' && !comma)) {
      out_.insert(atom_, "(?:");
      out_ += ")";
    }
    return {};
  }

  // After a backslash, what is the same in and outside classes. False when it is not one of those.
  Result<bool> CommonEscape() {
    const char c = at_ + 1 < in_.size() ? in_[at_ + 1] : '\0';
    if (c == '\0') return InvalidArgument("offset " + std::to_string(at_) + ": the pattern ends in a backslash");
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || IsDigit(c);
    if (!is_letter) {
      Copy(2);
      while (at_ < in_.size() && (in_[at_] & 0xC0) == 0x80) Copy(1);
      return true;
    }
    switch (c) {
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
      case 'd':
      case 'D':
        Copy(2);
        return true;
      case 'v':
        out_ += R"(\x{0b})";
        at_ += 2;
        return true;
      case 'p':
      case 'P': {
        const size_t close = in_.find('}', at_);
        if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || close == std::string_view::npos) {
          return Refuse("a property without braces");
        }
        Copy(close + 1 - at_);
        return true;
      }
      case 'x':
      case 'u': {
        size_t end = at_ + 2;
        if (c == 'x' && end < in_.size() && in_[end] == '{') {
          const size_t close = in_.find('}', end);
          if (close == std::string_view::npos) return Refuse(R"(\x{ without a closing brace)");
          Copy(close + 1 - at_);
          return true;
        }
        const size_t max_digits = c == 'x' ? 2 : 4;
        while (end < in_.size() && end < at_ + 2 + max_digits && IsHex(in_[end])) ++end;
        if (end == at_ + 2 || (c == 'u' && end != at_ + 6)) return Refuse("an escape with too few digits");
        const std::string digits(in_.substr(at_ + 2, end - at_ - 2));
        // Oniguruma reads \x80 to \xFF as raw bytes of the encoding.
        if (c == 'x' && digits.size() == 2 && digits[0] >= '8') return Refuse(R"(\x above 7f without braces)");
        out_ += R"(\x{)" + digits + "}";
        at_ = end;
        return true;
      }
      default:
        return false;
    }
  }

  Status Escape() {
    StartAtom();
    ENGRAM_TRY(const bool common, CommonEscape());
    if (common) return {};
    const std::string word(kWord);
    std::string text;
    switch (in_[at_ + 1]) {
      case 's':
        text = "[" + std::string(kSpace) + "]";
        break;
      case 'S':
        text = "[^" + std::string(kSpace) + "]";
        break;
      case 'w':
        text = "[" + word + "]";
        break;
      case 'W':
        text = "[^" + word + "]";
        break;
      case 'h':
        text = "[0-9a-fA-F]";
        break;
      case 'H':
        text = "[^0-9a-fA-F]";
        break;
      case 'b':
        text = "(?:(?<=[" + word + "])(?![" + word + "])|(?<![" + word + "])(?=[" + word + "]))";
        break;
      case 'B':
        text = "(?:(?<=[" + word + "])(?=[" + word + "])|(?<![" + word + "])(?![" + word + "]))";
        break;
      case 'A':
      case 'z':
      case 'Z':
        Copy(2);
        return {};
      default:
        return Refuse(in_.substr(at_, 2));
    }
    out_ += text;
    at_ += 2;
    return {};
  }

  Status Class() {
    StartAtom();
    const size_t open = at_;
    Copy(1);
    if (at_ < in_.size() && in_[at_] == '^') Copy(1);
    // A bracket that comes first is a member.
    if (at_ < in_.size() && in_[at_] == ']') {
      out_ += R"(\])";
      ++at_;
    }
    while (at_ < in_.size() && in_[at_] != ']') {
      if (in_[at_] == '[') return Refuse("a class or POSIX bracket inside a class");
      if (LooksAt("&&")) return Refuse("&& in a class");
      if (in_[at_] != '\\') {
        Copy(1);
        continue;
      }
      ENGRAM_TRY(const bool common, CommonEscape());
      if (common) continue;
      switch (in_[at_ + 1]) {
        case 's':
          out_ += kSpace;
          break;
        case 'S':
          out_ += kNotSpace;
          break;
        case 'w':
          out_ += kWord;
          break;
        case 'h':
          out_ += "0-9a-fA-F";
          break;
        case 'b':
          out_ += R"(\x{8})";
          break;
        default:
          return Refuse(std::string(in_.substr(at_, 2)) + " in a class");
      }
      at_ += 2;
    }
    if (at_ >= in_.size()) return InvalidArgument("offset " + std::to_string(open) + ": the class has no end");
    Copy(1);
    return {};
  }

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = kNoAtom;
  std::vector<size_t> groups_;  // where open groups start in out_
};

}  // namespace

Result<std::string> TranslateOniguruma(std::string_view pattern) {
  return Translator(pattern).Run();
}

}  // namespace engram
