// SPDX-License-Identifier: Apache-2.0
// Model: everything loaded from one model directory: tokenizer, chat template, Engram memory, backbone. Built on any
// thread (blocks, may take minutes); afterwards only its engine touches the backbone; the const parts are for all.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "memory/model_memory.h"
#include "plugin/backbone.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace engram {

struct ModelOptions {
  std::string name;  // what clients call it; empty: the directory's name
  std::filesystem::path directory;
  std::shared_ptr<const PluginLibrary> backbone;
  PluginOptions backbone_options;
  std::vector<TierSpec> tiers;
  std::map<uint32_t, std::filesystem::path> packed_tables;           // by model layer; the others: safetensors
  uint64_t memory_budget_bytes = 0;                                  // of the tiers; 0: no limit
  uint32_t retain_versions = 1000;                                   // of the memory, for as_of
  std::optional<HotSetOptions> hot_sets;                             // not given: caches start cold
  std::chrono::milliseconds read_timeout = RowGather::kReadTimeout;  // of a layer's rows in a step
  uint32_t lookahead_tokens = 1024;  // of a prompt, whose rows are read before a step needs them; 0: none
  std::function<Status()> go_on;     // asked between the steps of a load, on any thread; its error ends the load
};

class Model {
 public:
  // Loads and cross-checks: backbone's vocabulary against the tokenizer's, Engram layers, columns and row format
  // against the tables, compressed size against the config. Messages name the file and both values.
  static Result<std::unique_ptr<Model>> Load(ModelOptions options);
  ~Model();
  // What a model in `directory` is called when nobody gives it a name: the last part of the path.
  static std::string NameOf(const std::filesystem::path& directory);

  const std::string& name() const { return name_; }
  const std::filesystem::path& directory() const { return directory_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const ChatTemplate* chat_template() const { return chat_template_ ? &*chat_template_ : nullptr; }
  ModelMemory* memory() const { return memory_.get(); }  // nullptr for a plain model
  Backbone& backbone() const { return *backbone_; }
  const std::vector<int32_t>& eos_token_ids() const { return eos_token_ids_; }  // config.json, generation_config.json
  int64_t created_unix_s() const { return created_unix_s_; }                    // when it was loaded

 private:
  Model() = default;
  std::string name_;
  std::filesystem::path directory_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_template_;
  std::vector<int32_t> eos_token_ids_;
  int64_t created_unix_s_ = 0;
  std::unique_ptr<ModelMemory> memory_;  // destroyed after backbone_, which calls it
  std::unique_ptr<Backbone> backbone_;
};

}  // namespace engram
