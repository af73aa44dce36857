// SPDX-License-Identifier: Apache-2.0
#include "constrain/program_check.h"

#include <algorithm>
#include <string>
#include <utility>

namespace engram {
namespace {

// The nodes from which the end of the rule is reached, with bytes read on the way or (`over_bytes` false) without: the
// least solution of one condition per node, found from the ends back.
std::vector<bool> Reaching(const NodeNetwork& network, bool over_bytes) {
  const auto& [nodes, targets, repeats, starts, ends] = network;
  // Who looks at a node's answer, as lists over one array.
  std::vector<std::pair<NodeId, NodeId>> edges;  // (looked at, looks)
  for (NodeId id = 0; id < nodes.size(); ++id) {
    const Node& node = nodes[id];
    switch (node.kind) {
      case Node::Kind::kBytes:
        edges.emplace_back(node.next, id);
        break;
      case Node::Kind::kSplit:
        for (uint32_t i = 0; i < node.next; ++i) edges.emplace_back(targets[node.arg + i], id);
        break;
      case Node::Kind::kCall:
        edges.emplace_back(node.arg, id);
        edges.emplace_back(node.next, id);
        break;
      case Node::Kind::kRepeat:
        edges.emplace_back(repeats[node.arg].body, id);
        edges.emplace_back(node.next, id);
        break;
      case Node::Kind::kReturn:
        break;
    }
  }
  std::vector<uint32_t> begin(nodes.size() + 1, 0);
  for (const auto& [from, to] : edges) ++begin[from + 1];
  for (size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
  std::vector<NodeId> lookers(edges.size());
  std::vector<uint32_t> filled(begin.begin(), begin.end() - 1);
  for (const auto& [from, to] : edges) lookers[filled[from]++] = to;

  std::vector<bool> reached(nodes.size(), false);
  const auto holds = [&, &nodes = nodes, &targets = targets, &repeats = repeats](const Node& node) {
    switch (node.kind) {
      case Node::Kind::kBytes:
        return over_bytes && reached[node.next];
      case Node::Kind::kSplit:
        for (uint32_t i = 0; i < node.next; ++i)
          if (reached[targets[node.arg + i]]) return true;
        return false;
      case Node::Kind::kCall:
        return reached[node.arg] && reached[node.next];
      case Node::Kind::kRepeat:
        return (repeats[node.arg].min == 0 || reached[repeats[node.arg].body]) && reached[node.next];
      case Node::Kind::kReturn:
        break;
    }
    return true;
  };
  std::vector<NodeId> work;
  const auto visit = [&, &nodes = nodes](NodeId id) {
    if (reached[id] || !holds(nodes[id])) return;
    reached[id] = true;
    work.push_back(id);
  };
  for (NodeId id = 0; id < nodes.size(); ++id)
    if (nodes[id].kind == Node::Kind::kReturn) visit(id);
  while (!work.empty()) {
    const NodeId id = work.back();
    work.pop_back();
    for (uint32_t i = begin[id]; i < begin[id + 1]; ++i) {
      const Node& looker = nodes[lookers[i]];
      // A split of many targets need not look at all of them: one is there.
      if (looker.kind != Node::Kind::kSplit) {
        visit(lookers[i]);
      } else if (!reached[lookers[i]]) {
        reached[lookers[i]] = true;
        work.push_back(lookers[i]);
      }
    }
  }
  return reached;
}

// The rules a node stands before without a byte in between; depth first over nodes, so that one that comes back to a
// node on the present way has found a rule that calls itself.
class LeftRecursion {
 public:
  LeftRecursion(const NodeNetwork& network, const std::vector<bool>& nullable)
      : network_(network), nullable_(nullable), state_(network.nodes.size(), State::kNew) {}

  // A node on a cycle.
  bool Find(NodeId* found) {
    for (const NodeId start : network_.starts)
      if (FindFrom(start, found)) return true;
    return false;
  }

 private:
  enum class State : uint8_t { kNew, kOpen, kDone };

  bool FindFrom(NodeId start, NodeId* found) {
    std::vector<std::pair<NodeId, bool>> work{{start, false}};  // node, its successors are done
    while (!work.empty()) {
      const auto [id, leaving] = work.back();
      work.pop_back();
      if (leaving) {
        state_[id] = State::kDone;
        continue;
      }
      if (state_[id] == State::kOpen) return *found = id, true;
      if (state_[id] == State::kDone) continue;
      state_[id] = State::kOpen;
      work.emplace_back(id, true);
      const Node& node = network_.nodes[id];
      const auto push = [&](NodeId to) { work.emplace_back(to, false); };
      switch (node.kind) {
        case Node::Kind::kSplit:
          for (uint32_t i = 0; i < node.next; ++i) push(network_.targets[node.arg + i]);
          break;
        case Node::Kind::kCall:
          push(node.arg);
          if (nullable_[node.arg]) push(node.next);
          break;
        case Node::Kind::kRepeat: {
          const Repetition& repetition = network_.repeats[node.arg];
          push(repetition.body);
          if (repetition.min == 0 || nullable_[repetition.body]) push(node.next);
          break;
        }
        case Node::Kind::kBytes:
        case Node::Kind::kReturn:
          break;
      }
    }
    return false;
  }

  const NodeNetwork& network_;
  const std::vector<bool>& nullable_;
  std::vector<State> state_;
};

std::string RuleOf(const NodeNetwork& network, const Grammar& grammar, NodeId node) {
  const auto rule = std::upper_bound(network.ends.begin(), network.ends.end(), node) - network.ends.begin();
  return grammar.rules()[static_cast<size_t>(rule)].name;
}

}  // namespace

ProductiveNodes::ProductiveNodes(const NodeNetwork& network) : reached_(Reaching(network, true)) {}

Status CheckProgram(const NodeNetwork& network, const Grammar& grammar) {
  const std::vector<bool> nullable = Reaching(network, false);
  NodeId found = 0;
  if (LeftRecursion(network, nullable).Find(&found))
    return InvalidArgument("rule \"" + RuleOf(network, grammar, found) +
                           "\" calls itself before it matches anything (left recursion)");
  for (NodeId id = 0; id < network.nodes.size(); ++id) {
    const Node& node = network.nodes[id];
    if (node.kind != Node::Kind::kRepeat) continue;
    Repetition& repetition = network.repeats[node.arg];
    if (!nullable[repetition.body]) continue;
    if (repetition.max != Expr::kUnbounded && repetition.max > Program::kMaxEmptyRepeats)
      return InvalidArgument("rule \"" + RuleOf(network, grammar, id) +
                             "\" repeats something that may be empty up to " + std::to_string(repetition.max) +
                             " times; at most " + std::to_string(Program::kMaxEmptyRepeats) +
                             " or any number can be checked");
    repetition.min = 0;
  }
  return {};
}

}  // namespace engram
