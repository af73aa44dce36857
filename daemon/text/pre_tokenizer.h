// SPDX-License-Identifier: Apache-2.0
// PreTokenizer: cuts normalised text into the words that BPE merges within: Sequence, Split, Digits, Punctuation,
// Whitespace, WhitespaceSplit, and ByteLevel last. Meaning as in the Hugging Face library. Immutable; any thread.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/json_fields.h"
#include "text/regex.h"

namespace engram {

class PreTokenizer {
 public:
  using Sink = std::function<void(std::string_view word)>;

  // Reads the "pre_tokenizer" member of `document`. kUnsupported names a component that is not implemented; so is one
  // without ByteLevel as its last step, which would not be byte-level BPE.
  static Result<PreTokenizer> Parse(const Fields& document);

  // Calls `sink` with each word of `text` (valid UTF-8), in order; words are raw bytes, not the byte alphabet, and are
  // valid during the call. kResourceExhausted when a pattern uses up its limits.
  Status Run(std::string_view text, RegexScratch& scratch, const Sink& sink) const;

 private:
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
  // Cuts at a pattern or, without one, puts a space before text that does not start with one.
  struct Step {
    std::optional<Regex> regex;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
  };
  struct Part {
    size_t begin, end;
    bool is_match;
  };

  PreTokenizer() = default;
  Status Add(const Fields& fields, bool is_last);
  Status AddRegex(const Fields& fields, std::string_view pattern, bool literal, Behavior behavior, bool invert);
  Status RunStep(size_t index, std::string_view text, RegexScratch& scratch, const Sink& sink) const;
  Status RunMerging(size_t index, std::string_view text, RegexScratch& scratch, const Sink& sink) const;
  static Result<Behavior> ParseBehavior(const Fields& fields);

  std::vector<Step> steps_;
};

}  // namespace engram
