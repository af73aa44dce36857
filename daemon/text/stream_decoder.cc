// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "core/json_text.h"
#include "text/tokenizer.h"

namespace engram {

std::string StreamDecoder::Push(int32_t id) {
  if (skip_special_tokens_ && tokenizer_->IsSpecial(id)) return {};
  pending_ += tokenizer_->TokenBytes(id);
  const size_t num_ready = pending_.size() - IncompleteUtf8Tail(pending_);
  std::string ready = Utf8Lossy(std::string_view(pending_).substr(0, num_ready));
  pending_.erase(0, num_ready);
  return ready;
}

std::string StreamDecoder::Finish() {
  return Utf8Lossy(std::exchange(pending_, {}));
}

}  // namespace engram
