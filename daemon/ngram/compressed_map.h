// SPDX-License-Identifier: Apache-2.0
// CompressedMap: token id -> compressed id, under which tokens that differ only in case, accents, width or white space
// are one. Immutable; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/tokenizer.h"

namespace engram {

// NFKC, NFD, strip marks, lowercase by code point, runs of [ \t\r\n] to one space, strip at both ends (a text of exactly
// one space stays), with the Unicode tables of the library that defined compressed ids. `text` must be valid UTF-8.
std::string NormalizeForCompression(std::string_view text);

class CompressedMap {
 public:
  // Builds the map of `tokenizer` for ids [0, vocab_size); ids without a token get... their own key (see .cc).
  static Result<CompressedMap> Build(const Tokenizer& tokenizer, int32_t vocab_size);

  uint32_t compressed_vocab_size() const { return size_; }
  // `token_id` must be in [0, num_tokens()).
  int32_t operator[](int32_t token_id) const { return map_[static_cast<size_t>(token_id)]; }
  int32_t num_tokens() const { return static_cast<int32_t>(map_.size()); }
  std::span<const int32_t> map() const { return map_; }

 private:
  CompressedMap(std::vector<int32_t> map, uint32_t size) : map_(std::move(map)), size_(size) {}
  std::vector<int32_t> map_;  // [num_tokens]
  uint32_t size_;
};

}  // namespace engram
