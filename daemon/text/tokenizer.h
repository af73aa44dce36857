// SPDX-License-Identifier: Apache-2.0
// Tokenizer: byte-level BPE from a Hugging Face tokenizer.json. Immutable after Load(); every const function may be
// called from any thread at once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace engram {

class Tokenizer {
 public:
  // Reads a tokenizer.json. A component it does not implement is refused by name (kUnsupported), a malformed file with
  // the key at fault (kInvalidArgument); never a silently different tokenisation.
  static Result<std::shared_ptr<const Tokenizer>> Load(const std::filesystem::path& tokenizer_json);
  ~Tokenizer();

  // Token ids of `text` (must be valid UTF-8: kInvalidArgument with the offset otherwise). Added tokens written in the
  // text are recognised, as the Hugging Face library does. `add_special_tokens` runs the post-processor (BOS and EOS).
  Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const;

  // Exact bytes of the tokens made valid UTF-8 (wrong parts become U+FFFD). Ids out of range are left out.
  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  // The bytes one token stands for, before any UTF-8 repair; empty for an id without a token.
  std::string_view TokenBytes(int32_t id) const;
  // The vocabulary's own string for a token ("Ġthe"); empty for an id without a token.
  std::string_view TokenString(int32_t id) const;
  std::optional<int32_t> TokenId(std::string_view token_string) const;
  bool IsSpecial(int32_t id) const;
  // Largest id + 1, added tokens included.
  int32_t vocab_size() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Decodes one sequence's tokens as they come: the pieces joined are Decode() of all ids, and no piece ends inside a
// UTF-8 character. One thread at a time; the tokenizer must outlive it.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}
  // Text that this token completes; may be empty.
  std::string Push(int32_t id);
  // What is left of an unfinished character, as U+FFFD.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;  // at most 3 bytes: the start of a character
};

}  // namespace engram
