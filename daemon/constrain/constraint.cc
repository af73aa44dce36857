// SPDX-License-Identifier: Apache-2.0
#include "constrain/constraint.h"

#include <algorithm>
#include <string>

#include "core/json_text.h"

namespace engram {

Constraint::Constraint(Program program, std::shared_ptr<const Tokenizer> tokenizer,
                       std::shared_ptr<const TokenTrie> trie, uint32_t vocab_size)
    : automaton_(std::move(program)),
      tokenizer_(std::move(tokenizer)),
      trie_(std::move(trie)),
      vocab_size_(vocab_size),
      path_(trie_->max_depth() + 1) {}

Status Constraint::MakeMask(Automaton::State* state) {
  std::vector<uint64_t> mask((vocab_size_ + 63) / 64);
  const std::span<const TokenTrie::Node> nodes = trie_->nodes();
  const Program& program = automaton_.program();
  bool any = false;
  path_[0] = state;
  for (size_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    Automaton::State* next = automaton_.Next(path_[node.depth - 1u], program.byte_class(node.byte));
    if (automaton_.IsDead(next)) {
      i = node.end;
      continue;
    }
    path_[node.depth] = next;
    for (const int32_t token : trie_->tokens(i)) {
      mask[static_cast<uint32_t>(token) / 64] |= uint64_t{1} << (static_cast<uint32_t>(token) % 64);
      any = true;
    }
    ++i;
  }
  ENGRAM_CHECK_OK(automaton_.Finish());
  state->mask = std::move(mask);
  state->mask_empty = !any;
  automaton_.CountBytes(state->mask.size() * sizeof(uint64_t));
  ++masks_made_;
  return {};
}

Result<TokenMask> ConstraintMatcher::Mask() {
  ENGRAM_CHECK_OK(constraint_->automaton_.Begin(position_));
  Automaton::State* state = position_.state;
  if (state->mask.empty()) ENGRAM_CHECK_OK(constraint_->MakeMask(state));
  return TokenMask{state->mask, state->mask_empty, state->can_end};
}

Status ConstraintMatcher::Accept(int32_t token) {
  Automaton& automaton = constraint_->automaton_;
  ENGRAM_CHECK_OK(automaton.Begin(position_));
  const std::string_view bytes = constraint_->tokenizer_->TokenBytes(token);
  Automaton::State* state = position_.state;
  for (const char byte : bytes)
    state = automaton.Next(state, automaton.program().byte_class(static_cast<uint8_t>(byte)));
  ENGRAM_CHECK_OK(automaton.Finish());
  if (bytes.empty() || automaton.IsDead(state))
    return InvalidArgument("token " + std::to_string(token) + ", " + JsonQuote(bytes) + ", does not fit the grammar",
                           "grammar");
  position_.state = state;
  return {};
}

}  // namespace engram
