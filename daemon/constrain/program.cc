// SPDX-License-Identifier: Apache-2.0
#include "constrain/program.h"

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <unordered_map>

#include "constrain/program_check.h"
#include "constrain/utf8_ranges.h"

namespace engram {

// Builds from the end: an expression is compiled knowing the node after it.
class ProgramCompiler {
 public:
  explicit ProgramCompiler(const Grammar& grammar) : grammar_(grammar) {}

  Result<Program> Run() {
    ENGRAM_CHECK_OK(grammar_.status());
    return_ = Add({Node::Kind::kReturn});
    // Calls name the rule until all rules have their nodes.
    for (const Grammar::Rule& rule : grammar_.rules()) {
      starts_.push_back(Compile(rule.body, return_));
      ends_.push_back(static_cast<NodeId>(program_.nodes_.size()));
    }
    if (too_large_)
      return InvalidArgument("the grammar is too large: it needs more than " + std::to_string(Program::kMaxNodes) +
                             " states");
    for (Node& node : program_.nodes_)
      if (node.kind == Node::Kind::kCall) node.arg = starts_[node.arg];
    program_.start_ = starts_[grammar_.root()];
    const NodeNetwork network{program_.nodes_, program_.targets_, program_.repeats_, starts_, ends_};
    ENGRAM_CHECK_OK(CheckProgram(network, grammar_));
    const ProductiveNodes productive(network);
    if (!productive(program_.start_)) return InvalidArgument("the grammar matches no text");
    Prune(productive);
    MakeClasses();
    return std::move(program_);
  }

 private:
  NodeId Add(Node node) {
    if (program_.nodes_.size() >= Program::kMaxNodes) {
      too_large_ = true;
      return 0;
    }
    program_.nodes_.push_back(node);
    return static_cast<NodeId>(program_.nodes_.size() - 1);
  }

  NodeId AddSplit(std::vector<NodeId> targets) {
    if (targets.size() == 1) return targets[0];
    const auto first = static_cast<uint32_t>(program_.targets_.size());
    program_.targets_.insert(program_.targets_.end(), targets.begin(), targets.end());
    return Add({Node::Kind::kSplit, first, static_cast<uint32_t>(targets.size())});
  }

  NodeId AddBytes(const std::bitset<256>& set, NodeId next) {
    const auto [found, added] = set_ids_.try_emplace(set, static_cast<uint32_t>(program_.sets_.size()));
    if (added) program_.sets_.push_back(set);
    return Add({Node::Kind::kBytes, found->second, next});
  }
  NodeId AddByte(char byte, NodeId next) {
    std::bitset<256> set;
    set.set(static_cast<uint8_t>(byte));
    return AddBytes(set, next);
  }

  NodeId CompileLiteral(std::string_view text, NodeId next) {
    for (size_t i = text.size(); i > 0 && !too_large_; --i) next = AddByte(text[i - 1], next);
    return next;
  }

  NodeId CompileCodePoints(const CodePoints& code_points, NodeId next) {
    std::bitset<256> single;
    std::vector<NodeId> targets;
    for (const Utf8Sequence& sequence : Utf8Sequences(code_points)) {
      if (too_large_) break;
      NodeId node = next;
      for (uint8_t i = sequence.size; i > 0; --i) {
        std::bitset<256> set;
        for (uint32_t b = sequence.bytes[i - 1].first; b <= sequence.bytes[i - 1].last; ++b) set.set(b);
        if (sequence.size == 1) {
          single |= set;
        } else {
          node = AddBytes(set, node);
        }
      }
      if (sequence.size > 1) targets.push_back(node);
    }
    if (single.any()) targets.push_back(AddBytes(single, next));
    return AddSplit(std::move(targets));
  }

  // A trie of sorted texts that are equal up to `depth`: at most one way to go on for any byte.
  NodeId CompileAnyOf(std::span<const std::string> texts, size_t depth, NodeId next) {
    if (texts.size() == 1) return CompileLiteral(std::string_view(texts[0]).substr(depth), next);
    const std::string_view first = texts.front();
    size_t common = depth;
    while (common < first.size() && common < texts.back().size() && first[common] == texts.back()[common]) ++common;
    std::vector<NodeId> targets;
    if (first.size() == common) {
      targets.push_back(next);
      texts = texts.subspan(1);
    }
    while (!texts.empty() && !too_large_) {
      const char byte = texts.front()[common];
      size_t end = 1;
      while (end < texts.size() && texts[end][common] == byte) ++end;
      targets.push_back(AddByte(byte, CompileAnyOf(texts.first(end), common + 1, next)));
      texts = texts.subspan(end);
    }
    return CompileLiteral(first.substr(depth, common - depth), AddSplit(std::move(targets)));
  }

  // Knuth-Morris-Pratt over bytes; every state may also be the end of the whole text, but the one after `end`.
  NodeId CompileUntil(std::string_view end, NodeId next) {
    const size_t n = end.size();
    std::vector<size_t> fallback(n + 1, 0);
    for (size_t i = 1, k = 0; i < n; ++i) {
      while (k > 0 && end[i] != end[k]) k = fallback[k];
      if (end[i] == end[k]) ++k;
      fallback[i + 1] = k;
    }
    // Splits first, so that their ids are known: each is filled in below.
    std::vector<NodeId> states;
    for (size_t i = 0; i < n; ++i) states.push_back(Add({Node::Kind::kSplit}));
    for (size_t i = 0; i < n && !too_large_; ++i) {
      std::map<NodeId, std::bitset<256>> ways;
      for (uint32_t b = 0; b < 256; ++b) {
        size_t k = i;
        while (k > 0 && static_cast<uint8_t>(end[k]) != b) k = fallback[k];
        if (static_cast<uint8_t>(end[k]) == b) ++k;
        ways[k == n ? next : states[k]].set(b);
      }
      std::vector<NodeId> targets{return_};
      for (const auto& [to, bytes] : ways) targets.push_back(AddBytes(bytes, to));
      FillSplit(states[i], targets);
    }
    return states.empty() ? next : states[0];
  }

  NodeId CompileNotPrefixed(std::string_view prefix, NodeId next) {
    const NodeId any = Add({Node::Kind::kSplit});
    std::bitset<256> all;
    all.set();
    FillSplit(any, {next, AddBytes(all, any)});
    NodeId node = any;
    // From the last byte of the prefix back: that one must differ, each before it may.
    for (size_t i = prefix.size(); i > 0 && !too_large_; --i) {
      std::bitset<256> same;
      same.set(static_cast<uint8_t>(prefix[i - 1]));
      std::vector<NodeId> targets{next, AddBytes(~same, any)};
      if (i < prefix.size()) targets.push_back(AddBytes(same, node));
      node = AddSplit(std::move(targets));
    }
    return node;
  }

  void FillSplit(NodeId split, const std::vector<NodeId>& targets) {
    program_.nodes_[split].arg = static_cast<uint32_t>(program_.targets_.size());
    program_.nodes_[split].next = static_cast<uint32_t>(targets.size());
    program_.targets_.insert(program_.targets_.end(), targets.begin(), targets.end());
  }

  NodeId Compile(ExprId id, NodeId next) {
    if (too_large_) return 0;
    const Expr& expr = grammar_.expressions()[id];
    switch (expr.kind) {
      case Expr::Kind::kLiteral:
        return CompileLiteral(expr.text, next);
      case Expr::Kind::kCodePoints:
        return CompileCodePoints(expr.code_points, next);
      case Expr::Kind::kAnyOf:
        return expr.texts.empty() ? AddSplit({}) : CompileAnyOf(expr.texts, 0, next);
      case Expr::Kind::kSequence:
        for (size_t i = expr.children.size(); i > 0; --i) next = Compile(expr.children[i - 1], next);
        return next;
      case Expr::Kind::kChoice: {
        std::vector<NodeId> targets;
        for (const ExprId child : expr.children) targets.push_back(Compile(child, next));
        return AddSplit(std::move(targets));
      }
      case Expr::Kind::kRepeat: {
        if (expr.max == 0) return next;
        if (expr.min == 1 && expr.max == 1) return Compile(expr.children[0], next);
        if (expr.min == 0 && expr.max == 1) return AddSplit({Compile(expr.children[0], next), next});
        const NodeId body = Compile(expr.children[0], return_);
        program_.repeats_.push_back({body, expr.min, expr.max});
        return Add({Node::Kind::kRepeat, static_cast<uint32_t>(program_.repeats_.size() - 1), next});
      }
      case Expr::Kind::kRule:
        return Add({Node::Kind::kCall, expr.rule, next});
      case Expr::Kind::kUntil:
        return CompileUntil(expr.text, next);
      case Expr::Kind::kNotPrefixed:
        return CompileNotPrefixed(expr.text, next);
    }
    return next;
  }

  // Leaves out ways that can never be completed.
  void Prune(const ProductiveNodes& productive) {
    for (Node& node : program_.nodes_) {
      if (node.kind == Node::Kind::kSplit) {
        NodeId* begin = program_.targets_.data() + node.arg;
        node.next = static_cast<uint32_t>(
            std::remove_if(begin, begin + node.next, [&](NodeId target) { return !productive(target); }) - begin);
      } else if (node.kind == Node::Kind::kRepeat) {
        Repetition& repetition = program_.repeats_[node.arg];
        if (!productive(repetition.body)) repetition.max = 0;
      }
    }
  }

  void MakeClasses() {
    std::array<uint8_t, 256>& classes = program_.classes_;
    uint32_t num_classes = 1;
    for (const std::bitset<256>& set : program_.sets_) {
      if (num_classes == 256) break;
      std::map<std::pair<uint8_t, bool>, uint8_t> next;
      for (uint32_t b = 0; b < 256; ++b) {
        const auto id = static_cast<uint8_t>(next.size());
        classes[b] = next.try_emplace({classes[b], set.test(b)}, id).first->second;
      }
      num_classes = static_cast<uint32_t>(next.size());
    }
    program_.representatives_.resize(num_classes);
    for (uint32_t b = 256; b > 0; --b) program_.representatives_[classes[b - 1]] = static_cast<uint8_t>(b - 1);
  }

  const Grammar& grammar_;
  Program program_;
  std::vector<NodeId> starts_;  // by rule
  std::vector<NodeId> ends_;    // by rule
  std::unordered_map<std::bitset<256>, uint32_t> set_ids_;
  NodeId return_ = 0;
  bool too_large_ = false;
};

Result<Program> Program::Compile(const Grammar& grammar) {
  return ProgramCompiler(grammar).Run();
}

size_t Program::memory_bytes() const {
  return nodes_.size() * sizeof(Node) + targets_.size() * sizeof(NodeId) + repeats_.size() * sizeof(Repetition) +
         sets_.size() * sizeof(std::bitset<256>);
}

}  // namespace engram
