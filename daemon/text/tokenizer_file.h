// SPDX-License-Identifier: Apache-2.0
// What a tokenizer.json says, ready to run. Pure functions.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/vocabulary.h"

namespace engram {

struct TokenizerParts {
  Vocabulary vocabulary;
  AddedTokens raw_added_tokens;         // looked for in the text as it is
  AddedTokens normalized_added_tokens;  // looked for in the normalised text
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  std::vector<int32_t> prefix, suffix;  // what the post-processor puts around a text's tokens
};

// Parses the JSON text. kUnsupported and kInvalidArgument as Tokenizer::Load(). "truncation" and "padding" are ignored.
Result<TokenizerParts> ParseTokenizerFile(std::string_view json);

}  // namespace engram
