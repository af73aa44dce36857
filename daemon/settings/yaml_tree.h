// SPDX-License-Identifier: Apache-2.0
// YamlNode: a YAML document as a plain tree in which every node knows where it was written. Bounded: no anchors or
// aliases, limited depth, one document. Pure functions.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace engram {

// Where a node was written.
struct YamlPlace {
  std::string origin;  // a file name or an option such as "--listen"
  int line = 0;        // from 1; 0: the origin is no file
  bool in_file() const { return line > 0; }
  std::string Text() const { return in_file() ? origin + ":" + std::to_string(line) : origin; }
};

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  struct Entry;
  Kind kind = Kind::kNull;
  YamlPlace place;
  std::string scalar;
  bool quoted = false;          // a scalar in quotes or a block: a string, whatever it looks like
  std::vector<YamlNode> items;  // kSequence
  std::vector<Entry> entries;   // kMap, in file order, keys distinct
};

struct YamlNode::Entry {
  std::string key;
  YamlPlace place;  // of the key
  YamlNode value;
};

struct YamlFault {
  YamlPlace place;
  std::string message;
};

inline constexpr int kMaxYamlDepth = 16;

// Parses `text`. Faults that leave a usable tree (duplicate keys, aliases) are added to `faults` and parsing goes on;
// after a syntax error or one of the bounds, which are faults too, the tree is null. `file` false: the origin is an
// option, and places carry no line. Never throws.
YamlNode ParseYaml(const std::string& text, const std::string& origin, bool file, std::vector<YamlFault>& faults);

}  // namespace engram
