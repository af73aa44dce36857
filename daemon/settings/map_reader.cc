// SPDX-License-Identifier: Apache-2.0
#include "settings/map_reader.h"

#include <algorithm>

#include "settings/value_parsers.h"

namespace engram {
namespace {

const YamlNode kNoNode{};
// Values come from files people paste into reports: long ones are cut.
constexpr size_t kMaxShown = 60;

std::string Shown(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a map";
    case YamlNode::Kind::kScalar:
      break;
  }
  return "\"" + (node.scalar.size() > kMaxShown ? node.scalar.substr(0, kMaxShown) + "..." : node.scalar) + "\"";
}

std::string Join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

MapReader::MapReader(const YamlNode& node, std::string path, const std::filesystem::path& base,
                     std::vector<PathFault>& faults)
    : node_(&node), path_(std::move(path)), base_(&base), faults_(&faults) {
  if (node.kind != YamlNode::Kind::kMap && node.kind != YamlNode::Kind::kNull) {
    Fault(node.place, path_, "expected a map of keys, found " + Shown(node));
    node_ = &kNoNode;
  }
}

void MapReader::Fault(const YamlPlace& place, std::string path, std::string message) {
  faults_->push_back({place, std::move(path), std::move(message)});
}

std::string MapReader::PathOf(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

const YamlNode* MapReader::Find(std::string_view key) const {
  for (const auto& entry : node_->entries)
    if (entry.key == key) return entry.value.kind == YamlNode::Kind::kNull ? nullptr : &entry.value;
  return nullptr;
}

const YamlNode* MapReader::Know(std::string_view key) {
  known_.emplace_back(key);
  return Find(key);
}

bool MapReader::IsScalar(const YamlNode& node, const std::string& path, const std::string& expected) {
  if (node.kind == YamlNode::Kind::kScalar) return true;
  Fault(node.place, path, "expected " + expected + ", found " + Shown(node));
  return false;
}

void MapReader::Custom(std::string_view key, const std::string& expected,
                       const std::function<bool(const YamlNode&)>& parse) {
  const YamlNode* node = Know(key);
  if (!node || !IsScalar(*node, PathOf(key), expected)) return;
  if (!parse(*node)) Fault(node->place, PathOf(key), "expected " + expected + ", found " + Shown(*node));
}

void MapReader::Integer(std::string_view key, uint32_t& out, uint32_t min, uint32_t max) {
  const std::string expected = "a whole number from " + std::to_string(min) + " to " + std::to_string(max);
  Custom(key, expected, [&](const YamlNode& node) {
    // A quoted number in a file is a string; on a command line everything is text.
    if (node.quoted && node.place.in_file()) return false;
    const auto value = ParseInteger(node.scalar);
    if (!value || *value < min || *value > max) return false;
    out = static_cast<uint32_t>(*value);
    return true;
  });
}

void MapReader::Boolean(std::string_view key, bool& out) {
  Custom(key, "true or false", [&](const YamlNode& node) {
    if (node.quoted && node.place.in_file()) return false;
    if (node.scalar != "true" && node.scalar != "false") return false;
    out = node.scalar == "true";
    return true;
  });
}

void MapReader::Size(std::string_view key, uint64_t& out, uint64_t min, uint64_t max) {
  Custom(key, "a size such as 8MiB from " + FormatSize(min) + " to " + FormatSize(max), [&](const YamlNode& node) {
    const auto value = ParseSize(node.scalar);
    if (!value || *value < min || *value > max) return false;
    out = *value;
    return true;
  });
}

void MapReader::Duration(std::string_view key, std::chrono::milliseconds& out, std::chrono::milliseconds min,
                         std::chrono::milliseconds max) {
  const std::string expected =
      "a duration such as 10s or 500ms from " + FormatDuration(min) + " to " + FormatDuration(max);
  Custom(key, expected, [&](const YamlNode& node) {
    const auto value = ParseDuration(node.scalar);
    if (!value || *value < min || *value > max) return false;
    out = *value;
    return true;
  });
}

void MapReader::String(std::string_view key, std::string& out, Emptiness emptiness) {
  Custom(key, emptiness == kNotEmpty ? "a string that is not empty" : "a string", [&](const YamlNode& node) {
    if (node.scalar.empty() && emptiness == kNotEmpty) return false;
    out = node.scalar;
    return true;
  });
}

bool MapReader::ReadChoice(const YamlNode& node, const std::string& path, const std::vector<std::string>& choices,
                           std::string& out) {
  const std::string expected = "one of " + Join(choices);
  if (!IsScalar(node, path, expected)) return false;
  if (std::find(choices.begin(), choices.end(), node.scalar) == choices.end()) {
    Fault(node.place, path, "expected " + expected + ", found " + Shown(node));
    return false;
  }
  out = node.scalar;
  return true;
}

void MapReader::Choice(std::string_view key, std::string& out, const std::vector<std::string>& choices) {
  if (const YamlNode* node = Know(key)) ReadChoice(*node, PathOf(key), choices, out);
}

bool MapReader::ReadPath(const YamlNode& node, const std::string& path, std::filesystem::path& out) {
  if (!IsScalar(node, path, "a path")) return false;
  if (node.scalar.find('\0') != std::string::npos) {
    Fault(node.place, path, "a path cannot hold a zero byte");
    return false;
  }
  out = node.scalar;
  if (!out.empty() && out.is_relative() && node.place.in_file()) out = (*base_ / out).lexically_normal();
  return true;
}

void MapReader::Path(std::string_view key, std::filesystem::path& out) {
  if (const YamlNode* node = Know(key)) ReadPath(*node, PathOf(key), out);
}

void MapReader::Options(std::string_view key, std::vector<std::pair<std::string, std::string>>& out) {
  const YamlNode* node = Know(key);
  if (!node) return;
  if (node->kind != YamlNode::Kind::kMap) {
    Fault(node->place, PathOf(key), "expected a map of options, found " + Shown(*node));
    return;
  }
  out.clear();
  for (const auto& entry : node->entries)
    if (IsScalar(entry.value, PathOf(key) + "." + entry.key, "a single value"))
      out.emplace_back(entry.key, entry.value.scalar);
}

bool MapReader::Entries(std::string_view key,
                        const std::function<void(const YamlNode::Entry&, const std::string&)>& each) {
  const YamlNode* node = Know(key);
  if (!node) return false;
  if (node->kind != YamlNode::Kind::kMap) {
    Fault(node->place, PathOf(key), "expected a map, found " + Shown(*node));
    return false;
  }
  for (const auto& entry : node->entries) each(entry, PathOf(key) + "." + entry.key);
  return true;
}

bool MapReader::Sequence(std::string_view key, const std::function<void(const YamlNode&, const std::string&)>& each) {
  const YamlNode* node = Know(key);
  if (!node) return false;
  if (node->kind != YamlNode::Kind::kSequence) {
    Fault(node->place, PathOf(key), "expected a list, found " + Shown(*node));
    return false;
  }
  for (size_t i = 0; i < node->items.size(); ++i) each(node->items[i], PathOf(key) + "[" + std::to_string(i) + "]");
  return true;
}

MapReader MapReader::Map(std::string_view key) {
  const YamlNode* node = Know(key);
  return MapReader(node ? *node : kNoNode, PathOf(key), *base_, *faults_);
}

MapReader MapReader::Child(const YamlNode& node, const std::string& path) {
  if (node.kind == YamlNode::Kind::kNull) Fault(node.place, path, "expected a map of keys, found nothing");
  return MapReader(node, path, *base_, *faults_);
}

void MapReader::Required(std::string_view key) {
  // An item that is no map has been reported as such.
  if (!Find(key) && node_ != &kNoNode && node_->kind == YamlNode::Kind::kMap)
    Fault(node_->place, PathOf(key), "is missing");
}

void MapReader::Finish() {
  for (const auto& entry : node_->entries)
    if (std::find(known_.begin(), known_.end(), entry.key) == known_.end())
      Fault(entry.place, PathOf(entry.key), "unknown key; known here: " + Join(known_));
}

}  // namespace engram
