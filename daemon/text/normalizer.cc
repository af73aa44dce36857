// SPDX-License-Identifier: Apache-2.0
#include "text/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>

#include <algorithm>
#include <utility>

#include "text/unicode_text.h"

namespace engram {
namespace {

constexpr size_t kMaxSteps = 32;
constexpr size_t kMaxContentBytes = 1024;
constexpr size_t kMaxNormalizedBytes = size_t{1} << 30;

using GetInstance = const icu::Normalizer2* (*)(UErrorCode&);

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool IsUnicode9(char32_t code_point) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(code_point), age);
  return age[0] != 0 && age[0] <= 9;
}

// A mark in Unicode 9. U+1CF2 and U+1CF3 became letters in Unicode 12.
bool IsUnicode9Mark(char32_t code_point) {
  if (code_point == 0x1CF2 || code_point == 0x1CF3) return true;
  return (U_GET_GC_MASK(static_cast<UChar32>(code_point)) & U_GC_M_MASK) != 0 && IsUnicode9(code_point);
}

const icu::UnicodeSet& Unicode9() {
  static const icu::UnicodeSet set = [] {
    UErrorCode error = U_ZERO_ERROR;
    icu::UnicodeSet assigned(u"[:age=9.0:]", error);
    assigned.freeze();
    return assigned;
  }();
  return set;
}

Status Normalize(GetInstance get_instance, std::string& text) {
  if (IsAscii(text)) return {};
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* current = get_instance(error);
  // What the current tables leave alone, the old ones do too.
  if (U_SUCCESS(error) && current->isNormalizedUTF8({text.data(), static_cast<int32_t>(text.size())}, error)) return {};
  if (U_FAILURE(error)) return Internal(std::string("ICU has no normalisation data: ") + u_errorName(error));
  const icu::FilteredNormalizer2 unicode9(*current, Unicode9());
  std::string normalized;
  icu::StringByteSink<std::string> sink(&normalized, static_cast<int32_t>(text.size()));
  unicode9.normalizeUTF8(0, {text.data(), static_cast<int32_t>(text.size())}, sink, nullptr, error);
  if (U_FAILURE(error)) return Internal(std::string("ICU normalisation failed: ") + u_errorName(error));
  text = std::move(normalized);
  return {};
}

void Lowercase(std::string& text) {
  std::string lower;
  lower.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t c = NextCodePoint(text, at);
    if (c == 0x130) {  // the only character whose lower case is two
      lower += "i\u0307";
    } else {
      AppendCodePoint(static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))), lower);
    }
  }
  text = std::move(lower);
}

void StripAccents(std::string& text) {
  std::string kept;
  kept.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (!IsUnicode9Mark(NextCodePoint(text, at))) kept.append(text, begin, at - begin);
  }
  text = std::move(kept);
}

void Strip(bool left, bool right, std::string& text) {
  size_t begin = 0, end = text.size();
  for (size_t at = begin; left && at < end; begin = at) {
    if (!u_isUWhiteSpace(static_cast<UChar32>(NextCodePoint(text, at)))) break;
  }
  for (size_t at = end; right && at > begin; end = at) {
    if (!u_isUWhiteSpace(static_cast<UChar32>(PreviousCodePoint(text, at)))) break;
  }
  text = text.substr(begin, end - begin);
}

Status Replace(const Regex& regex, std::string_view content, std::string& text, RegexScratch& scratch) {
  std::string replaced;
  size_t rest = 0;
  Regex::Matches matches(regex, text, scratch);
  for (Regex::Match match; matches.Next(match); rest = match.end) {
    replaced.append(text, rest, match.begin - rest);
    replaced += content;
    if (replaced.size() > kMaxNormalizedBytes) return ResourceExhausted("the normalised text is larger than 1 GiB");
  }
  ENGRAM_CHECK_OK(matches.status());
  replaced.append(text, rest);
  text = std::move(replaced);
  return {};
}

}  // namespace

Result<Normalizer> Normalizer::Parse(const Fields& document) {
  Normalizer normalizer;
  if (document.Find("normalizer") == nullptr) return normalizer;
  ENGRAM_TRY(const Fields fields, document.Child("normalizer"));
  ENGRAM_CHECK_OK(normalizer.Add(fields));
  return normalizer;
}

Status Normalizer::Add(const Fields& fields) {
  ENGRAM_TRY(const std::string_view type, fields.String("type"));
  if (steps_.size() >= kMaxSteps) return Unsupported(fields.path() + ": more than 32 steps are not supported");
  Step step;
  if (type == "Sequence") {
    ENGRAM_TRY(const std::vector<Fields> children, fields.Children("normalizers", kMaxSteps));
    for (const Fields& child : children) ENGRAM_CHECK_OK(Add(child));
    return {};
  }
  if (type == "NFC") {
    step.kind = Kind::kNfc;
  } else if (type == "NFD") {
    step.kind = Kind::kNfd;
  } else if (type == "NFKC") {
    step.kind = Kind::kNfkc;
  } else if (type == "NFKD") {
    step.kind = Kind::kNfkd;
  } else if (type == "Lowercase") {
    step.kind = Kind::kLowercase;
  } else if (type == "StripAccents") {
    step.kind = Kind::kStripAccents;
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    ENGRAM_TRY(step.left, fields.Bool("strip_left", true));
    ENGRAM_TRY(step.right, fields.Bool("strip_right", true));
  } else if (type == "Prepend") {
    step.kind = Kind::kPrepend;
    ENGRAM_TRY(step.content, fields.String("prepend"));
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    ENGRAM_TRY(step.content, fields.String("content"));
    ENGRAM_TRY(const Fields pattern, fields.Child("pattern"));
    const bool literal = pattern.Find("String") != nullptr;
    ENGRAM_TRY(const std::string_view text, pattern.String(literal ? "String" : "Regex"));
    auto regex = Regex::Compile(text, literal);
    if (!regex) return std::move(regex).error().At(fields.PathOf("pattern"));
    step.regex = std::move(*regex);
  } else {
    return Unsupported(fields.path() + ": normalizer " + std::string(type) + " is not supported", fields.path());
  }
  if (step.content.size() > kMaxContentBytes) {
    return Unsupported(fields.path() + ": a text of more than 1024 bytes is not supported");
  }
  steps_.push_back(std::move(step));
  return {};
}

Result<std::string> Normalizer::Apply(std::string text, RegexScratch& scratch) const {
  for (const Step& step : steps_) {
    ENGRAM_CHECK_OK(ApplyStep(step, text, scratch));
    if (text.size() > kMaxNormalizedBytes) return ResourceExhausted("the normalised text is larger than 1 GiB");
  }
  return text;
}

Status Normalizer::ApplyStep(const Step& step, std::string& text, RegexScratch& scratch) {
  switch (step.kind) {
    case Kind::kNfc:
      return Normalize(&icu::Normalizer2::getNFCInstance, text);
    case Kind::kNfd:
      return Normalize(&icu::Normalizer2::getNFDInstance, text);
    case Kind::kNfkc:
      return Normalize(&icu::Normalizer2::getNFKCInstance, text);
    case Kind::kNfkd:
      return Normalize(&icu::Normalizer2::getNFKDInstance, text);
    case Kind::kLowercase:
      Lowercase(text);
      return {};
    case Kind::kPrepend:
      if (!text.empty()) text.insert(0, step.content);
      return {};
    case Kind::kReplace:
      return Replace(*step.regex, step.content, text, scratch);
    case Kind::kStripAccents:
      StripAccents(text);
      return {};
    case Kind::kStrip:
      Strip(step.left, step.right, text);
      return {};
  }
  return {};
}

}  // namespace engram
