// SPDX-License-Identifier: Apache-2.0
// What program.cc finds out about a network of nodes before it is used. Pure; linear time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "constrain/grammar.h"
#include "constrain/program.h"

namespace engram {

// Views of a program in the making. The repetitions may be changed.
struct NodeNetwork {
  std::span<const Node> nodes;
  std::span<const NodeId> targets;
  std::span<Repetition> repeats;
  std::span<const NodeId> starts;  // [rules] first node of each
  std::span<const NodeId> ends;    // [rules] its nodes lie before this one and after those of the rule before
};

// Nodes from which the end of their rule can be reached.
class ProductiveNodes {
 public:
  explicit ProductiveNodes(const NodeNetwork& network);
  bool operator()(NodeId node) const { return reached_[node]; }

 private:
  std::vector<bool> reached_;
};

// Refuses left recursion, naming the rule, and long repetitions of what may be empty; those that stay get a minimum of
// 0, which matches the same.
Status CheckProgram(const NodeNetwork& network, const Grammar& grammar);

}  // namespace engram
