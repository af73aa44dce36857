// SPDX-License-Identifier: Apache-2.0
#include "text/pre_tokenizer.h"

#include <algorithm>
#include <string>
#include <utility>

namespace engram {
namespace {

// Steps nest calls, one level each; released files have up to four.
constexpr size_t kMaxSteps = 32;

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// Rust's \w, which has the joiners too.
constexpr std::string_view kWhitespacePattern =
    R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}\s]+)";

}  // namespace

Result<PreTokenizer> PreTokenizer::Parse(const Fields& document) {
  if (document.Find("pre_tokenizer") == nullptr) {
    return Unsupported("pre_tokenizer is null: only byte-level BPE, with a ByteLevel step, is supported",
                       "pre_tokenizer");
  }
  ENGRAM_TRY(const Fields fields, document.Child("pre_tokenizer"));
  PreTokenizer pre_tokenizer;
  ENGRAM_CHECK_OK(pre_tokenizer.Add(fields, true));
  return pre_tokenizer;
}

Status PreTokenizer::Add(const Fields& fields, bool is_last) {
  ENGRAM_TRY(const std::string_view type, fields.String("type"));
  if (steps_.size() >= kMaxSteps) return Unsupported(fields.path() + ": more than 32 steps are not supported");
  if (type == "Sequence") {
    ENGRAM_TRY(const std::vector<Fields> children, fields.Children("pretokenizers", kMaxSteps));
    if (is_last && children.empty()) return Unsupported(fields.path() + " does not end in ByteLevel: not supported");
    for (size_t i = 0; i < children.size(); ++i) {
      ENGRAM_CHECK_OK(Add(children[i], is_last && i + 1 == children.size()));
    }
    return {};
  }
  if (type == "ByteLevel") {
    if (!is_last) return Unsupported(fields.path() + ": ByteLevel before other steps is not supported");
    ENGRAM_TRY(const bool add_prefix_space, fields.Bool("add_prefix_space", true));
    ENGRAM_TRY(const bool use_regex, fields.Bool("use_regex", true));
    if (add_prefix_space) steps_.push_back({});
    if (use_regex) return AddRegex(fields, kGpt2Pattern, false, Behavior::kIsolated, false);
    return {};
  }
  if (type == "Split") {
    ENGRAM_TRY(const Fields pattern, fields.Child("pattern"));
    const bool literal = pattern.Find("String") != nullptr;
    ENGRAM_TRY(const std::string_view text, pattern.String(literal ? "String" : "Regex"));
    ENGRAM_TRY(const Behavior behavior, ParseBehavior(fields));
    ENGRAM_TRY(const bool invert, fields.Bool("invert", false));
    ENGRAM_CHECK_OK(AddRegex(fields, text, literal, behavior, invert));
  } else if (type == "Digits") {
    ENGRAM_TRY(const bool individual, fields.Bool("individual_digits", false));
    ENGRAM_CHECK_OK(
        AddRegex(fields, R"(\p{N})", false, individual ? Behavior::kIsolated : Behavior::kContiguous, false));
  } else if (type == "Punctuation") {
    Behavior behavior = Behavior::kIsolated;
    if (fields.Find("behavior") != nullptr) {
      ENGRAM_TRY(behavior, ParseBehavior(fields));
    }
    ENGRAM_CHECK_OK(AddRegex(fields, R"([\p{P}$+<=>^`|~])", false, behavior, false));
  } else if (type == "Whitespace") {
    ENGRAM_CHECK_OK(AddRegex(fields, kWhitespacePattern, false, Behavior::kRemoved, true));
  } else if (type == "WhitespaceSplit") {
    ENGRAM_CHECK_OK(AddRegex(fields, R"(\s)", false, Behavior::kRemoved, false));
  } else {
    return Unsupported(fields.path() + ": pre-tokenizer " + std::string(type) + " is not supported", fields.path());
  }
  if (is_last) return Unsupported(fields.path() + ": a pre-tokenizer that does not end in ByteLevel is not supported");
  return {};
}

Status PreTokenizer::AddRegex(const Fields& fields, std::string_view pattern, bool literal, Behavior behavior,
                              bool invert) {
  auto regex = Regex::Compile(pattern, literal);
  if (!regex) return std::move(regex).error().At(fields.PathOf("pattern"));
  steps_.push_back({std::move(*regex), behavior, invert});
  return {};
}

Result<PreTokenizer::Behavior> PreTokenizer::ParseBehavior(const Fields& fields) {
  ENGRAM_TRY(const std::string_view name, fields.String("behavior"));
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  return Unsupported(fields.PathOf("behavior") + ": " + std::string(name) + " is not supported");
}

Status PreTokenizer::Run(std::string_view text, RegexScratch& scratch, const Sink& sink) const {
  return RunStep(0, text, scratch, sink);
}

Status PreTokenizer::RunStep(size_t index, std::string_view text, RegexScratch& scratch, const Sink& sink) const {
  if (text.empty()) return {};
  if (index == steps_.size()) {
    sink(text);
    return {};
  }
  const Step& step = steps_[index];
  if (!step.regex) {
    if (text.front() == ' ') return RunStep(index + 1, text, scratch, sink);
    return RunStep(index + 1, " " + std::string(text), scratch, sink);
  }
  if (step.behavior != Behavior::kIsolated && step.behavior != Behavior::kRemoved) {
    return RunMerging(index, text, scratch, sink);
  }
  const bool drop_matches = step.behavior == Behavior::kRemoved && !step.invert;
  const bool drop_rest = step.behavior == Behavior::kRemoved && step.invert;
  Regex::Matches matches(*step.regex, text, scratch);
  size_t rest = 0;
  for (Regex::Match match; matches.Next(match); rest = match.end) {
    if (!drop_rest) ENGRAM_CHECK_OK(RunStep(index + 1, text.substr(rest, match.begin - rest), scratch, sink));
    if (!drop_matches) {
      ENGRAM_CHECK_OK(RunStep(index + 1, text.substr(match.begin, match.end - match.begin), scratch, sink));
    }
  }
  ENGRAM_CHECK_OK(matches.status());
  if (drop_rest) return {};
  return RunStep(index + 1, text.substr(rest), scratch, sink);
}

Status PreTokenizer::RunMerging(size_t index, std::string_view text, RegexScratch& scratch, const Sink& sink) const {
  const Step& step = steps_[index];
  std::vector<Part> parts;
  Regex::Matches matches(*step.regex, text, scratch);
  size_t rest = 0;
  for (Regex::Match match; matches.Next(match); rest = match.end) {
    if (rest != match.begin) parts.push_back({rest, match.begin, step.invert});
    parts.push_back({match.begin, match.end, !step.invert});
  }
  ENGRAM_CHECK_OK(matches.status());
  if (rest != text.size()) parts.push_back({rest, text.size(), step.invert});

  const bool backwards = step.behavior == Behavior::kMergedWithNext;
  if (backwards) std::reverse(parts.begin(), parts.end());
  std::vector<Part> words;
  bool previous_is_match = false;
  for (const Part& part : parts) {
    const bool merges = step.behavior == Behavior::kContiguous ? part.is_match == previous_is_match
                                                               : part.is_match && !previous_is_match;
    if (!merges || words.empty()) {
      words.push_back(part);
    } else if (backwards) {
      words.back().begin = part.begin;
    } else {
      words.back().end = part.end;
    }
    previous_is_match = part.is_match;
  }
  if (backwards) std::reverse(words.begin(), words.end());
  for (const Part& word : words) {
    ENGRAM_CHECK_OK(RunStep(index + 1, text.substr(word.begin, word.end - word.begin), scratch, sink));
  }
  return {};
}

}  // namespace engram
