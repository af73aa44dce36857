// SPDX-License-Identifier: Apache-2.0
// Normalizer: rewrites text before it is cut into words: NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace,
// StripAccents, Strip, Sequence. Meaning as in the Hugging Face library, whose normalisation tables are Unicode 9's:
// characters assigned later stay as they are. Immutable; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/json_fields.h"
#include "text/regex.h"

namespace engram {

class Normalizer {
 public:
  // Reads the "normalizer" member of `document`; null is none. kUnsupported names a component not implemented.
  static Result<Normalizer> Parse(const Fields& document);

  bool empty() const { return steps_.empty(); }
  // The normalised form of `text` (valid UTF-8). kResourceExhausted when a pattern uses up its limits or the result
  // grows above 1 GiB.
  Result<std::string> Apply(std::string text, RegexScratch& scratch) const;

 private:
  enum class Kind { kNfc, kNfd, kNfkc, kNfkd, kLowercase, kPrepend, kReplace, kStripAccents, kStrip };
  struct Step {
    Kind kind = Kind::kNfc;
    std::string content;               // kPrepend, kReplace
    std::optional<Regex> regex;        // kReplace
    bool left = false, right = false;  // kStrip
  };
  Status Add(const Fields& fields);
  static Status ApplyStep(const Step& step, std::string& text, RegexScratch& scratch);

  std::vector<Step> steps_;
};

}  // namespace engram
