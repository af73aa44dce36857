// SPDX-License-Identifier: Apache-2.0
#include "settings/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>

namespace engram {
namespace {

// Ends the parse; the fault has been recorded.
struct StopParsing : std::runtime_error {
  StopParsing() : std::runtime_error("stop") {}
};

// Builds the tree from yaml-cpp's events rather than from YAML::Node: the events tell anchors, aliases and duplicate
// keys apart, and nothing is ever expanded.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& origin, bool file, std::vector<YamlFault>& faults)
      : origin_(origin), file_(file), faults_(faults) {}

  YamlNode root;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    RefuseAnchor(mark, anchor);
    YamlNode node;
    node.place = Place(mark);
    Add(std::move(node));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    faults_.push_back({Place(mark), "aliases (*name) are not supported: write the value out"});
    YamlNode node;
    node.place = Place(mark);
    Add(std::move(node));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    YamlNode node;
    node.place = Place(mark);
    node.quoted = tag == "!";
    // yaml-cpp reports a plain ~ or null as a scalar here, and as a null only for an empty value.
    if (!node.quoted && (value == "~" || value == "null")) {
      node.kind = YamlNode::Kind::kNull;
    } else {
      node.kind = YamlNode::Kind::kScalar;
      node.scalar = value;
    }
    Add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kSequence);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Frame {
    YamlNode node;
    bool has_key = false;
    bool skip_value = false;  // the key was refused; its value is read and dropped
    std::string key;
    YamlPlace key_place;
  };

  YamlPlace Place(const YAML::Mark& mark) const { return {origin_, file_ ? std::max(mark.line, 0) + 1 : 0}; }
  void RefuseAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) faults_.push_back({Place(mark), "anchors (&name) are not supported: write the value out"});
  }
  void RefuseTag(const YAML::Mark& mark, const std::string& tag) {
    if (tag != "" && tag != "?" && tag != "!") faults_.push_back({Place(mark), "tag " + tag + " is not supported"});
  }
  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    if (frames_.size() >= static_cast<size_t>(kMaxYamlDepth)) {
      faults_.push_back({Place(mark), "nested more than " + std::to_string(kMaxYamlDepth) + " levels deep"});
      throw StopParsing();
    }
    Frame frame;
    frame.node.kind = kind;
    frame.node.place = Place(mark);
    frames_.push_back(std::move(frame));
  }
  void Close() {
    YamlNode node = std::move(frames_.back().node);
    frames_.pop_back();
    Add(std::move(node));
  }
  void Add(YamlNode node) {
    if (frames_.empty()) {
      root = std::move(node);
      return;
    }
    Frame& parent = frames_.back();
    if (parent.node.kind == YamlNode::Kind::kSequence) {
      parent.node.items.push_back(std::move(node));
      return;
    }
    if (!parent.has_key) {
      parent.has_key = true;
      parent.skip_value = false;
      parent.key = node.scalar;
      parent.key_place = node.place;
      if (node.kind != YamlNode::Kind::kScalar) {
        faults_.push_back({node.place, "a key must be a plain word"});
        parent.skip_value = true;
        return;
      }
      const auto& entries = parent.node.entries;
      const auto first =
          std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.key == node.scalar; });
      if (first != entries.end()) {
        faults_.push_back({node.place, "key \"" + node.scalar + "\" is given twice, first at " + first->place.Text()});
        parent.skip_value = true;
      }
      return;
    }
    parent.has_key = false;
    if (!parent.skip_value)
      parent.node.entries.push_back({std::move(parent.key), std::move(parent.key_place), std::move(node)});
  }

  const std::string& origin_;
  const bool file_;
  std::vector<YamlFault>& faults_;
  std::vector<Frame> frames_;
};

}  // namespace

YamlNode ParseYaml(const std::string& text, const std::string& origin, bool file, std::vector<YamlFault>& faults) {
  TreeBuilder builder(origin, file, faults);
  // The library's errors are exceptions; they end here.
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    TreeBuilder rest(origin, file, faults);
    if (parser.HandleNextDocument(rest))
      faults.push_back({rest.root.place, "a second document (---) is not supported"});
  } catch (const StopParsing&) {
  } catch (const YAML::Exception& error) {
    faults.push_back({{origin, file ? std::max(error.mark.line, 0) + 1 : 0}, "not valid YAML: " + error.msg});
  } catch (const std::exception& error) {
    faults.push_back({{origin, file ? 1 : 0}, std::string("not readable as YAML: ") + error.what()});
  }
  return std::move(builder.root);
}

}  // namespace engram
