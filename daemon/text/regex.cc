// SPDX-License-Identifier: Apache-2.0
#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <new>

namespace engram {
namespace {

constexpr size_t kMaxPatternBytes = 64 << 10;
// A hostile pattern backtracks for about a tenth of a second, then fails. The patterns of released tokenizers need
// about one unit a character.
constexpr uint32_t kMatchLimit = 20'000'000;
constexpr uint32_t kHeapLimitKib = 64 << 10;
constexpr size_t kJitStackMaxBytes = 4 << 20;

std::string Message(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

}  // namespace

RegexScratch::RegexScratch()
    : match_(pcre2_match_data_create(1, nullptr)),
      limits_(pcre2_match_context_create(nullptr)),
      jit_stack_(pcre2_jit_stack_create(32 << 10, kJitStackMaxBytes, nullptr)) {
  if (match_ == nullptr || limits_ == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(limits_, kMatchLimit);
  pcre2_set_heap_limit(limits_, kHeapLimitKib);
  // Without a stack of its own (no JIT on this system) matching uses the small default one.
  if (jit_stack_ != nullptr) pcre2_jit_stack_assign(limits_, nullptr, jit_stack_);
}

RegexScratch::~RegexScratch() {
  pcre2_match_data_free(match_);
  pcre2_match_context_free(limits_);
  pcre2_jit_stack_free(jit_stack_);
}

void Regex::FreeCode::operator()(pcre2_real_code_8* code) const {
  pcre2_code_free(code);
}

Result<Regex> Regex::Compile(std::string_view pattern, bool literal) {
  if (pattern.size() > kMaxPatternBytes) return Unsupported("a pattern of more than 64 KiB is not supported");
  Regex regex;
  uint32_t options = PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C;
  if (literal) {
    regex.translated_ = pattern;
    options = PCRE2_UTF | PCRE2_LITERAL;
  } else {
    ENGRAM_TRY(regex.translated_, TranslateOniguruma(pattern));
    options |= PCRE2_UCP | PCRE2_MULTILINE;
  }
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  if (context == nullptr) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  regex.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(regex.translated_.data()), regex.translated_.size(),
                                  options, &error, &offset, context.get()));
  if (regex.code_ == nullptr) {
    return InvalidArgument("the pattern does not compile: " + Message(error) + " at offset " + std::to_string(offset) +
                           " of " + regex.translated_);
  }
  regex.has_jit_ = pcre2_jit_compile(regex.code_.get(), PCRE2_JIT_COMPLETE) == 0;
  return regex;
}

bool Regex::Matches::Next(Match& match) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data());
  while (position_ <= text_.size()) {
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (regex_.has_jit_) {
      rc = pcre2_jit_match(regex_.code_.get(), subject, text_.size(), position_, PCRE2_NO_UTF_CHECK, scratch_.match_,
                           scratch_.limits_);
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter's stack is the heap, which is larger
      rc = pcre2_match(regex_.code_.get(), subject, text_.size(), position_, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       scratch_.match_, scratch_.limits_);
    }
    if (rc == PCRE2_ERROR_NOMATCH) return false;
    if (rc < 0) {
      status_ = ResourceExhausted("the pattern " + regex_.translated_ + " failed at byte " + std::to_string(position_) +
                                  ": " + Message(rc));
      return false;
    }
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(scratch_.match_);
    match = {found[0], found[1]};
    if (match.begin == match.end && match.end == last_end_) {
      ++position_;
      while (position_ < text_.size() && (text_[position_] & 0xC0) == 0x80) ++position_;
      continue;
    }
    position_ = last_end_ = match.end;
    return true;
  }
  return false;
}

}  // namespace engram
