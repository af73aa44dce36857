// SPDX-License-Identifier: Apache-2.0
// MapReader: reads one YAML map key by key into typed values and collects every fault with its place. A value at fault
// leaves its target as it was. One thread; the node, the base directory and the fault list must outlive the reader.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "settings/yaml_tree.h"

namespace engram {

struct PathFault {
  YamlPlace place;
  std::string path;  // dotted key
  std::string message;
};

class MapReader {
 public:
  enum Emptiness { kMayBeEmpty, kNotEmpty };

  // `base`: what relative paths in a file are relative to.
  MapReader(const YamlNode& node, std::string path, const std::filesystem::path& base, std::vector<PathFault>& faults);

  // Each names a key that is then known, and does nothing more when the map lacks it or its value is null.
  void Integer(std::string_view key, uint32_t& out, uint32_t min, uint32_t max);
  void Boolean(std::string_view key, bool& out);  // true or false
  void Size(std::string_view key, uint64_t& out, uint64_t min, uint64_t max);
  void Duration(std::string_view key, std::chrono::milliseconds& out, std::chrono::milliseconds min,
                std::chrono::milliseconds max);
  void String(std::string_view key, std::string& out, Emptiness emptiness = kMayBeEmpty);
  void Choice(std::string_view key, std::string& out, const std::vector<std::string>& choices);
  void Path(std::string_view key, std::filesystem::path& out);
  // A map of scalars, handed on as text in file order.
  void Options(std::string_view key, std::vector<std::pair<std::string, std::string>>& out);
  // Calls `each(entry, path)` for every entry of a map whose keys are the user's; false when the key is absent or no
  // map.
  bool Entries(std::string_view key, const std::function<void(const YamlNode::Entry&, const std::string&)>& each);
  // A scalar that `parse` understands; `expected` says what it should have been.
  void Custom(std::string_view key, const std::string& expected, const std::function<bool(const YamlNode&)>& parse);
  // Calls `each(item, path)` for every item; false when the key is absent or no sequence.
  bool Sequence(std::string_view key, const std::function<void(const YamlNode&, const std::string&)>& each);
  // A reader for the map at `key`; an empty one when it is absent or no map.
  MapReader Map(std::string_view key);
  // A reader for `node`, an item of a sequence, at `path`.
  MapReader Child(const YamlNode& node, const std::string& path);

  // The same for nodes that are not values of this map; false after reporting a fault.
  bool ReadChoice(const YamlNode& node, const std::string& path, const std::vector<std::string>& choices,
                  std::string& out);
  bool ReadPath(const YamlNode& node, const std::string& path, std::filesystem::path& out);

  // Reports the key when the map lacks it.
  void Required(std::string_view key);
  // The value at `key`, nullptr when absent or null.
  const YamlNode* Find(std::string_view key) const;
  std::string PathOf(std::string_view key) const;
  const YamlPlace& place() const { return node_->place; }
  void Fault(const YamlPlace& place, std::string path, std::string message);
  // Reports every key no call has named. The last call on a reader.
  void Finish();

 private:
  const YamlNode* Know(std::string_view key);  // Find(), and the key is known from now on
  bool IsScalar(const YamlNode& node, const std::string& path, const std::string& expected);

  const YamlNode* node_;
  std::string path_;
  const std::filesystem::path* base_;
  std::vector<PathFault>* faults_;
  std::vector<std::string> known_;
};

}  // namespace engram
