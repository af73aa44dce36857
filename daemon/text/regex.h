// SPDX-License-Identifier: Apache-2.0
// Regex: a pattern written for Oniguruma (the engine tokenizer.json files are written for), run by PCRE2 with JIT.
//
// What the two engines read differently is translated (\s \S \w \W \h \H \v \b \B \uHHHH, `$` and `^` at every line,
// (?m) as dot-all, X{n,m}+ and X{n}? as a repeated group, {,m}) or refused by name (nested classes and `&&`, POSIX
// brackets, options in the middle of a pattern, calls, verbs, other escapes). One difference stays: case-insensitive
// Oniguruma also matches letters that fold to several (U+FB06 as "st"). Sources: Oniguruma's doc/RE, pcre2pattern(3).
// Immutable after Compile(); any thread, each with its own RegexScratch.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "core/result.h"

// PCRE2's opaque types, as its 8-bit library names them.
extern "C" {
struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;
struct pcre2_real_jit_stack_8;
}

namespace engram {

// What one thread needs to match with: result slots, limits, a JIT stack. Any number of patterns, one at a time.
class RegexScratch {
 public:
  RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;
  ~RegexScratch();

 private:
  friend class Regex;
  pcre2_real_match_data_8* match_;
  pcre2_real_match_context_8* limits_;
  pcre2_real_jit_stack_8* jit_stack_;
};

class Regex {
 public:
  // kUnsupported for a construct that PCRE2 would read differently, kInvalidArgument for a pattern that is wrong; both
  // name the offset. `literal` takes the pattern as plain text.
  static Result<Regex> Compile(std::string_view pattern, bool literal);

  struct Match {
    size_t begin, end;  // byte offsets
  };
  // Goes through the matches of `text` (valid UTF-8) in order, as Oniguruma's bindings do: an empty match directly
  // after a match is skipped. The regex, scratch and text must outlive it.
  class Matches {
   public:
    Matches(const Regex& regex, std::string_view text, RegexScratch& scratch)
        : regex_(regex), text_(text), scratch_(scratch) {}
    // False at the end of the text, and when the match limits are used up: then status() is kResourceExhausted.
    bool Next(Match& match);
    const Status& status() const { return status_; }

   private:
    const Regex& regex_;
    std::string_view text_;
    RegexScratch& scratch_;
    size_t position_ = 0;
    size_t last_end_ = static_cast<size_t>(-1);
    Status status_;
  };

  // The pattern as PCRE2 got it, for error messages and tests.
  const std::string& translated() const { return translated_; }

 private:
  struct FreeCode {
    void operator()(pcre2_real_code_8* code) const;
  };
  Regex() = default;

  std::unique_ptr<pcre2_real_code_8, FreeCode> code_;
  std::string translated_;
  bool has_jit_ = false;  // false where the system forbids writable executable memory: slower, same results
};

// The translation alone: Oniguruma's pattern as one for PCRE2 with UTF, UCP and MULTILINE.
Result<std::string> TranslateOniguruma(std::string_view pattern);

}  // namespace engram
