// SPDX-License-Identifier: Apache-2.0
#include "constrain/constraint_compiler.h"

#include <algorithm>

namespace engram {

ConstraintCompiler::ConstraintCompiler(std::shared_ptr<const Tokenizer> tokenizer, uint32_t vocab_size,
                                       std::vector<int32_t> end_tokens)
    : tokenizer_(std::move(tokenizer)), vocab_size_(vocab_size), end_tokens_(std::move(end_tokens)) {}

std::shared_ptr<const TokenTrie> ConstraintCompiler::Trie() {
  std::lock_guard lock(mutex_);
  if (trie_ == nullptr) trie_ = std::make_shared<const TokenTrie>(*tokenizer_, end_tokens_);
  return trie_;
}

std::shared_ptr<Constraint> ConstraintCompiler::FindLocked(const std::string& key) {
  std::erase_if(live_, [](const Live& live) { return live.constraint.expired(); });
  for (const Live& live : live_)
    if (live.key == key) return live.constraint.lock();
  return nullptr;
}

void ConstraintCompiler::KeepLocked(Entry entry, std::list<Entry>& dropped) {
  const auto kept =
      std::find_if(recent_.begin(), recent_.end(), [&](const Entry& other) { return other.key == entry.key; });
  if (kept != recent_.end()) {
    recent_.splice(recent_.begin(), recent_, kept);
    return;
  }
  recent_.push_front(std::move(entry));
  if (recent_.size() > kMaxIdle) dropped.splice(dropped.end(), recent_, std::prev(recent_.end()));
}

Result<std::shared_ptr<Constraint>> ConstraintCompiler::Make(const std::function<Result<Grammar>()>& make) {
  ENGRAM_TRY(const Grammar grammar, make());
  ENGRAM_TRY(Program program, Program::Compile(grammar));
  auto constraint = std::make_shared<Constraint>(std::move(program), tokenizer_, Trie(), vocab_size_);
  // While nobody else has it: the first step of every text, and what is wrong at its start.
  ENGRAM_TRY(const TokenMask start, ConstraintMatcher(constraint).Mask());
  if (start.none && !start.can_end) return InvalidArgument("no token of the model's vocabulary can begin the text");
  return constraint;
}

Result<std::shared_ptr<Constraint>> ConstraintCompiler::Get(const std::string& key,
                                                            const std::function<Result<Grammar>()>& make) {
  std::list<Entry> dropped;  // destroyed after the lock
  {
    std::lock_guard lock(mutex_);
    if (std::shared_ptr<Constraint> found = FindLocked(key)) {
      KeepLocked({key, found}, dropped);
      return found;
    }
  }
  // Not under the lock: it may take long.
  ENGRAM_TRY(std::shared_ptr<Constraint> made, Make(make));
  std::lock_guard lock(mutex_);
  if (std::shared_ptr<Constraint> found = FindLocked(key)) return found;
  if (live_.size() >= kMaxLive) {
    // The oldest that no request has makes room.
    const auto idle = std::find_if(recent_.rbegin(), recent_.rend(),
                                   [](const Entry& entry) { return entry.constraint.use_count() == 1; });
    if (idle == recent_.rend())
      return ResourceExhausted(std::to_string(kMaxLive) + " different grammars are in use; try again later");
    dropped.splice(dropped.end(), recent_, std::prev(idle.base()));
  }
  live_.push_back({key, made});
  KeepLocked({key, made}, dropped);
  return made;
}

}  // namespace engram
