// SPDX-License-Identifier: Apache-2.0
// CompressedMap: token id -> compressed id, under which tokens that differ only in case, accents, width or white space
// are one. Immutable; any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/tokenizer.h"

namespace engram {

// NFKC, NFD, strip marks, lowercase by code point, runs of [ \t\r\n] to one space, strip at both ends (a text of
// exactly one space stays), with the Unicode tables of the library that defined compressed ids. `text` must be valid
// UTF-8.
std::string NormalizeForCompression(std::string_view text);

// The key under which a token is counted: its vocabulary string where the text of its bytes holds U+FFFD (a part of a
// character), else the normalised text, or the text itself where that is empty.
std::string CompressionKey(std::string_view token_bytes, std::string_view token_string);

class CompressedMap {
 public:
  // Builds the map of `tokenizer` for ids [0, max(vocab_size, tokenizer.vocab_size())). An id below
  // tokenizer.vocab_size() without a token decodes to nothing: all such ids share the empty key, which no token has.
  // Ids from there up to the model's `vocab_size` are padding of its embedding. The reference counts tokens of the
  // tokenizer alone, and every multiplier depends on that count, so padding is not counted: all of it gets the one
  // compressed id compressed_vocab_size(), which no token has (row ids stay in range with it, see geometry.cc).
  // kInvalidArgument for a vocab_size below 1 or above kMaxVocabSize.
  static Result<CompressedMap> Build(const Tokenizer& tokenizer, int32_t vocab_size);
  static constexpr int32_t kMaxVocabSize = 1 << 24;

  // Compares with the map that a model ships as `model_dir`/compressed_map.json, an object {"compressed_vocab_size",
  // "map": [compressed id per token id]}; no such file is no error. The shipped map may leave out padding.
  // kInvalidArgument naming the file and the key, or the first token id that differs with both compressed ids.
  Status CheckShipped(const std::filesystem::path& model_dir) const;

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
