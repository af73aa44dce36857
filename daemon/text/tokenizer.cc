// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <mutex>
#include <utility>

#include "core/file.h"
#include "core/json_text.h"
#include "text/tokenizer_file.h"

namespace engram {
namespace {

// The largest released files have 35 MB.
constexpr uint64_t kMaxFileBytes = 256 << 20;
constexpr size_t kMaxTextBytes = 256 << 20;

// What one Encode() works with.
struct Scratch {
  RegexScratch regex;
  BpeScratch bpe;
};

// Lends working space to callers, so that threads share none and calls find warm caches.
class ScratchPool {
 public:
  std::unique_ptr<Scratch> Take() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<Scratch> scratch = std::move(idle_.back());
        idle_.pop_back();
        return scratch;
      }
    }
    return std::make_unique<Scratch>();
  }
  void GiveBack(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard lock(mutex_);
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(scratch));
  }

 private:
  static constexpr size_t kMaxIdle = 16;  // about 1 MiB each
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> idle_;
};

}  // namespace

struct Tokenizer::Impl {
  TokenizerParts parts;
  mutable ScratchPool pool;

  explicit Impl(TokenizerParts tokenizer_parts) : parts(std::move(tokenizer_parts)) {}

  Status EncodePiece(std::string_view text, Scratch& scratch, std::vector<int32_t>& ids) const {
    std::string normalized;
    if (!parts.normalizer.empty()) {
      ENGRAM_TRY(normalized, parts.normalizer.Apply(std::string(text), scratch.regex));
      text = normalized;
    }
    const PreTokenizer::Sink sink = [&](std::string_view word) { parts.bpe.Encode(word, scratch.bpe, ids); };
    for (const AddedTokens::Piece& piece : parts.normalized_added_tokens.Cut(text)) {
      if (piece.id) {
        ids.push_back(*piece.id);
      } else {
        ENGRAM_CHECK_OK(parts.pre_tokenizer.Run(piece.text, scratch.regex, sink));
      }
    }
    return {};
  }

  Status EncodeText(std::string_view text, Scratch& scratch, std::vector<int32_t>& ids) const {
    for (const AddedTokens::Piece& piece : parts.raw_added_tokens.Cut(text)) {
      if (piece.id) {
        ids.push_back(*piece.id);
      } else {
        ENGRAM_CHECK_OK(EncodePiece(piece.text, scratch, ids));
      }
    }
    return {};
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Result<std::shared_ptr<const Tokenizer>> Tokenizer::Load(const std::filesystem::path& tokenizer_json) {
  ENGRAM_TRY(const std::string text, ReadFile(tokenizer_json, kMaxFileBytes));
  auto parts = ParseTokenizerFile(text);
  if (!parts) return std::move(parts).error().At(tokenizer_json.string());
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::make_unique<Impl>(std::move(*parts))));
}

Result<std::vector<int32_t>> Tokenizer::Encode(std::string_view text, bool add_special_tokens) const {
  if (text.size() > kMaxTextBytes) return InvalidArgument("the text is larger than 256 MiB");
  if (const size_t valid = ValidUtf8Prefix(text); valid != text.size()) {
    return InvalidArgument("the text is not valid UTF-8 at byte " + std::to_string(valid));
  }
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3);  // English has 4 to 5 bytes a token
  if (add_special_tokens) ids = impl_->parts.prefix;
  std::unique_ptr<Scratch> scratch = impl_->pool.Take();
  ENGRAM_CHECK_OK(impl_->EncodeText(text, *scratch, ids));
  impl_->pool.GiveBack(std::move(scratch));
  if (add_special_tokens) ids.insert(ids.end(), impl_->parts.suffix.begin(), impl_->parts.suffix.end());
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!skip_special_tokens || !IsSpecial(id)) bytes += TokenBytes(id);
  }
  return IsValidUtf8(bytes) ? bytes : Utf8Lossy(bytes);
}

std::string_view Tokenizer::TokenBytes(int32_t id) const {
  return impl_->parts.vocabulary.Bytes(id);
}
std::string_view Tokenizer::TokenString(int32_t id) const {
  return impl_->parts.vocabulary.Token(id);
}
std::optional<int32_t> Tokenizer::TokenId(std::string_view token_string) const {
  return impl_->parts.vocabulary.Id(token_string);
}
bool Tokenizer::IsSpecial(int32_t id) const {
  return impl_->parts.vocabulary.IsSpecial(id);
}
int32_t Tokenizer::vocab_size() const {
  return impl_->parts.vocabulary.size();
}

}  // namespace engram
