// SPDX-License-Identifier: Apache-2.0
// TokenTrie: the bytes of a vocabulary's tokens as one tree in one array, to try all of them at once. Immutable; any
// thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace engram {

class TokenTrie {
 public:
  // Depth first: a node's subtree is what follows it up to `end`.
  struct Node {
    uint32_t end = 0;          // index after the subtree
    uint32_t first_token = 0;  // tokens() of this node begin here and end where those of the next node begin
    uint16_t depth = 0;        // bytes from the root; 1 or more
    uint8_t byte = 0;
  };
  static constexpr size_t kMaxTokenBytes = 4096;  // longer ones are left out

  // Of a tokenizer's ordinary tokens: special ones, those in `excluded` and those without bytes are left out.
  TokenTrie(const Tokenizer& tokenizer, std::span<const int32_t> excluded);

  // Without the root, which has no byte; the last one is a sentinel that ends the tokens of the one before.
  std::span<const Node> nodes() const { return {nodes_.data(), nodes_.size() - 1}; }
  std::span<const int32_t> tokens(size_t node) const {
    return std::span(tokens_).subspan(nodes_[node].first_token,
                                      nodes_[node + 1].first_token - nodes_[node].first_token);
  }
  // All tokens of nodes [begin, end).
  std::span<const int32_t> tokens(size_t begin, size_t end) const {
    return std::span(tokens_).subspan(nodes_[begin].first_token, nodes_[end].first_token - nodes_[begin].first_token);
  }
  uint32_t max_depth() const { return max_depth_; }
  size_t memory_bytes() const { return nodes_.size() * sizeof(Node) + tokens_.size() * sizeof(int32_t); }

 private:
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
  uint32_t max_depth_ = 0;
};

}  // namespace engram
