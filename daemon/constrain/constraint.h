// SPDX-License-Identifier: Apache-2.0
// Constraint: a compiled grammar over one vocabulary; ConstraintMatcher: one text that follows it, token by token.
//
// A constraint is shared by all texts of its grammar and learns with them: which tokens may follow in a state is
// computed once, by a walk over the vocabulary's trie. Both belong to one thread at a time once a matcher was used (the
// engine's); making and destroying them is for any thread. Memory: see Automaton.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "constrain/automaton.h"
#include "constrain/token_trie.h"
#include "core/result.h"
#include "text/tokenizer.h"

namespace engram {

// Which tokens may follow.
struct TokenMask {
  // [vocab_size / 64, rounded up] one bit per token, lowest first; without end tokens. Valid until the constraint's
  // next call.
  std::span<const uint64_t> allowed;
  bool none = false;     // no bit is set
  bool can_end = false;  // the text is complete
};

class Constraint {
 public:
  // `tokenizer` and `trie` are of the model that decodes, whose logits are `vocab_size`.
  Constraint(Program program, std::shared_ptr<const Tokenizer> tokenizer, std::shared_ptr<const TokenTrie> trie,
             uint32_t vocab_size);
  Constraint(const Constraint&) = delete;
  Constraint& operator=(const Constraint&) = delete;

  uint64_t masks_made() const { return masks_made_; }

 private:
  friend class ConstraintMatcher;
  // Fills in the state's mask.
  Status MakeMask(Automaton::State* state);

  Automaton automaton_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
  const std::shared_ptr<const TokenTrie> trie_;
  const uint32_t vocab_size_;
  std::vector<Automaton::State*> path_;  // of the walk, by depth
  uint64_t masks_made_ = 0;
};

class ConstraintMatcher {
 public:
  explicit ConstraintMatcher(std::shared_ptr<Constraint> constraint) : constraint_(std::move(constraint)) {}

  // kInvalidArgument when the grammar is too ambiguous here to be followed.
  Result<TokenMask> Mask();
  // Goes on over a token that the mask allows. kInvalidArgument as above, and for a token that does not fit.
  Status Accept(int32_t token);

 private:
  std::shared_ptr<Constraint> constraint_;
  Automaton::Position position_;
};

}  // namespace engram
