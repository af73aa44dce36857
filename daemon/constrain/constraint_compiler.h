// SPDX-License-Identifier: Apache-2.0
// ConstraintCompiler: makes constraints for one model and shares those of equal grammars, so that what one request has
// learnt of a grammar serves the next. Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "constrain/constraint.h"
#include "constrain/grammar.h"
#include "core/result.h"
#include "text/tokenizer.h"

namespace engram {

class ConstraintCompiler {
 public:
  static constexpr size_t kMaxIdle = 16;  // kept for a next request
  static constexpr size_t kMaxLive = 64;  // at once, in requests or kept

  // `end_tokens` end a text, and are therefore never a part of one.
  ConstraintCompiler(std::shared_ptr<const Tokenizer> tokenizer, uint32_t vocab_size, std::vector<int32_t> end_tokens);

  // The constraint of the grammar that `make` makes, and that `key` names: equal keys have equal grammars. Errors:
  // those of `make`; kInvalidArgument when the grammar cannot be compiled or no token of the vocabulary begins it;
  // kResourceExhausted when there are kMaxLive others in use. Takes time linear in the grammar and the vocabulary.
  Result<std::shared_ptr<Constraint>> Get(const std::string& key, const std::function<Result<Grammar>()>& make);

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<Constraint> constraint;
  };

  struct Live {
    std::string key;
    std::weak_ptr<Constraint> constraint;
  };

  std::shared_ptr<Constraint> FindLocked(const std::string& key);
  // Keeps it as the latest; what falls out for it goes to `dropped`.
  void KeepLocked(Entry entry, std::list<Entry>& dropped);
  Result<std::shared_ptr<Constraint>> Make(const std::function<Result<Grammar>()>& make);
  std::shared_ptr<const TokenTrie> Trie();

  const std::shared_ptr<const Tokenizer> tokenizer_;
  const uint32_t vocab_size_;
  const std::vector<int32_t> end_tokens_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::shared_ptr<const TokenTrie> trie_;  // made for the first grammar
  std::list<Entry> recent_;                // latest first
  std::vector<Live> live_;                 // of different keys
};

}  // namespace engram
