// SPDX-License-Identifier: Apache-2.0
#include "constrain/token_trie.h"

#include <algorithm>
#include <utility>

namespace engram {

TokenTrie::TokenTrie(const Tokenizer& tokenizer, std::span<const int32_t> excluded) {
  std::vector<std::pair<std::string_view, int32_t>> sorted;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view bytes = tokenizer.TokenBytes(id);
    if (bytes.empty() || bytes.size() > kMaxTokenBytes || tokenizer.IsSpecial(id)) continue;
    if (std::find(excluded.begin(), excluded.end(), id) != excluded.end()) continue;
    sorted.emplace_back(bytes, id);
  }
  std::sort(sorted.begin(), sorted.end());
  tokens_.reserve(sorted.size());
  std::vector<size_t> open;  // nodes on the way to the present token
  const auto close = [&](size_t depth) {
    for (; open.size() > depth; open.pop_back()) nodes_[open.back()].end = static_cast<uint32_t>(nodes_.size());
  };
  std::string_view before;
  for (const auto& [bytes, id] : sorted) {
    const size_t common = static_cast<size_t>(
        std::mismatch(bytes.begin(), bytes.end(), before.begin(), before.end()).first - bytes.begin());
    close(common);
    for (size_t i = common; i < bytes.size(); ++i) {
      open.push_back(nodes_.size());
      nodes_.push_back(
          {0, static_cast<uint32_t>(tokens_.size()), static_cast<uint16_t>(i + 1), static_cast<uint8_t>(bytes[i])});
    }
    tokens_.push_back(id);
    max_depth_ = std::max(max_depth_, static_cast<uint32_t>(bytes.size()));
    before = bytes;
  }
  close(0);
  const auto end = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back({end, static_cast<uint32_t>(tokens_.size())});
  nodes_.shrink_to_fit();
}

}  // namespace engram
