// SPDX-License-Identifier: Apache-2.0
// Program: a grammar as a network of nodes that consume bytes, call rules and count repetitions. Immutable; any thread.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <vector>

#include "constrain/grammar.h"
#include "core/result.h"

namespace engram {

using NodeId = uint32_t;

struct Node {
  enum class Kind : uint8_t {
    kBytes,   // one byte of sets[arg], then `next`
    kSplit,   // any of targets[arg, arg + next)
    kCall,    // the rule that starts at node `arg`, then `next`
    kRepeat,  // repeats[arg], then `next`
    kReturn   // the end of a rule or of a repetition's body
  };
  Kind kind = Kind::kReturn;
  uint32_t arg = 0;
  uint32_t next = 0;
};

struct Repetition {
  NodeId body = 0;
  uint32_t min = 0;
  uint32_t max = 0;  // Expr::kUnbounded: any number
};

class Program {
 public:
  static constexpr size_t kMaxNodes = 1 << 17;
  // More of something that may be empty would have to be counted one by one without reading a byte.
  static constexpr uint32_t kMaxEmptyRepeats = 64;

  // Parts that can never be completed are cut off, so that whatever can be begun can be ended. kInvalidArgument for a
  // rule without a definition, one that calls itself before it matches anything (left recursion), a grammar that
  // matches nothing, and one that is too large. Takes time linear in the number of nodes.
  static Result<Program> Compile(const Grammar& grammar);

  const Node& node(NodeId id) const { return nodes_[id]; }
  NodeId target(uint32_t index) const { return targets_[index]; }
  const Repetition& repetition(uint32_t index) const { return repeats_[index]; }
  NodeId start() const { return start_; }
  // Bytes that no set tells apart are of one class.
  uint32_t num_classes() const { return static_cast<uint32_t>(representatives_.size()); }
  uint8_t byte_class(uint8_t byte) const { return classes_[byte]; }
  // Whether bytes of the class go on from a kBytes node.
  bool Takes(const Node& bytes, uint32_t byte_class) const {
    return sets_[bytes.arg].test(representatives_[byte_class]);
  }
  size_t memory_bytes() const;

 private:
  friend class ProgramCompiler;
  std::vector<Node> nodes_;
  std::vector<NodeId> targets_;
  std::vector<Repetition> repeats_;
  std::vector<std::bitset<256>> sets_;
  std::array<uint8_t, 256> classes_{};
  std::vector<uint8_t> representatives_;  // [classes] a byte of each
  NodeId start_ = 0;
};

}  // namespace engram
