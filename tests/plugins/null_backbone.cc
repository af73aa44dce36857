// SPDX-License-Identifier: Apache-2.0
// A backbone that costs nothing: it keeps the contract of sequences, asks for the rows of the Engram layers that
// config.json states, and answers every token with the same logits and gates. What remains is the host's own work, for
// measurements, and for tests that need an engine and not what it says. Options: the limits max_sequences,
// max_positions, max_batch_tokens and kv_tokens; step_us, for which each step sleeps; it has no weights, and so takes
// any `weights`.
#include <engram/backbone.h>
#include <engram/model_json.h>
#include <engram/plugin_error.h>
#include <engram/safetensors.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

using engram::sdk::Fence;
using engram::sdk::PluginError;

namespace {

constexpr float kGate = 0.25f;
// Where the logits are highest.
constexpr uint32_t kFavourite = 42;

struct Sequence {
  uint32_t reserved = 0;  // positions
  uint32_t length = 0;
};

uint32_t Number(const boost::json::object& object, const char* key, uint32_t fallback) {
  const boost::json::value* value = object.if_contains(key);
  if (value == nullptr) return fallback;
  if (!value->is_int64() || value->get_int64() < 1 || value->get_int64() > (1 << 24))
    throw PluginError(ENGRAM_INVALID_ARGUMENT, std::string("config.json: ") + key + " is no number from 1 to 2^24");
  return static_cast<uint32_t>(value->get_int64());
}

// As config.json says, else as the model's tensors are.
engram_row_format RowFormat(const boost::json::object& engram, const std::string& model_dir, uint32_t layer) {
  if (const boost::json::value* stated = engram.if_contains("row_format")) {
    const boost::json::string& name = stated->as_string();
    if (name == "f32") return ENGRAM_ROW_F32;
    if (name == "f16") return ENGRAM_ROW_F16;
    return name == "fp8_e4m3_ue8m0" ? ENGRAM_ROW_FP8_E4M3_UE8M0 : ENGRAM_ROW_BF16;
  }
  const engram::sdk::SafetensorsModel tensors(model_dir);
  const std::string name = "layers." + std::to_string(layer) + ".engram.embed.weight";
  const engram::sdk::TensorInfo* info = tensors.Find(name);
  switch (info != nullptr ? info->type : tensors.Get("model." + name).type) {
    case engram::sdk::TensorType::kF32:
      return ENGRAM_ROW_F32;
    case engram::sdk::TensorType::kF16:
      return ENGRAM_ROW_F16;
    case engram::sdk::TensorType::kF8E4M3:
      return ENGRAM_ROW_FP8_E4M3_UE8M0;
    default:
      return ENGRAM_ROW_BF16;
  }
}

}  // namespace

struct engram_backbone {
  const engram_host* host = nullptr;
  uint32_t vocab_size = 0;
  uint32_t hidden_size = 1;
  uint32_t num_layers = 1;
  uint32_t num_streams = 1;
  uint32_t num_columns = 0;
  uint32_t head_dim = 0;
  engram_row_format row_format = ENGRAM_ROW_BF16;
  std::vector<uint32_t> layers;
  uint32_t max_sequences = 256;
  uint32_t max_positions = 4096;
  uint32_t max_batch_tokens = 512;
  uint64_t kv_tokens = 1u << 20;
  uint32_t step_us = 0;

  std::unordered_map<engram_sequence_id, Sequence> sequences;
  engram_sequence_id next_id = 1;
  std::vector<float> logits;  // [flagged tokens][vocab_size], grown as needed and never changed
  std::vector<float> gates;   // [engram_layers][max_batch_tokens][num_streams]
  std::atomic<uint64_t> kv_used{0};
  std::atomic<uint64_t> steps{0};
  std::atomic<uint64_t> tokens{0};

  void ReadConfig(const std::string& model_dir);
  void SetOption(const std::string& key, const std::string& value);
  Sequence& Find(engram_sequence_id id) {
    const auto found = sequences.find(id);
    if (found == sequences.end()) throw PluginError(ENGRAM_NOT_FOUND, "no sequence " + std::to_string(id));
    return found->second;
  }
  engram_sequence_id Add(uint32_t reserve_tokens, uint32_t length) {
    if (reserve_tokens > max_positions || reserve_tokens < length)
      throw PluginError(ENGRAM_INVALID_ARGUMENT, "cannot reserve " + std::to_string(reserve_tokens) + " positions");
    if (kv_used + reserve_tokens > kv_tokens || sequences.size() >= max_sequences)
      throw PluginError(ENGRAM_RESOURCE_EXHAUSTED, "no room for another sequence");
    kv_used += reserve_tokens;
    sequences.emplace(next_id, Sequence{reserve_tokens, length});
    return next_id++;
  }
};

void engram_backbone::ReadConfig(const std::string& model_dir) {
  const std::string path = model_dir + "/config.json";
  std::ifstream file(path, std::ios::binary);
  if (!file) throw PluginError(ENGRAM_NOT_FOUND, path + ": cannot be opened");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const boost::json::object config = engram::sdk::ParseJsonObject(text, path, 32);
  vocab_size = Number(config, "vocab_size", 1);
  hidden_size = Number(config, "hidden_size", 1);
  num_layers = Number(config, "num_hidden_layers", 1);
  num_streams = Number(config, "hc_mult", 1);
  max_positions = Number(config, "max_position_embeddings", max_positions);
  const boost::json::value* engram = config.if_contains("engram");
  if (engram == nullptr || !engram->is_object()) return;
  const boost::json::object& object = engram->get_object();
  num_columns = (Number(object, "max_ngram_size", 2) - 1) * Number(object, "n_heads", 1);
  head_dim = Number(object, "head_dim", 1);
  for (const boost::json::value& layer : object.at("layer_ids").as_array())
    layers.push_back(static_cast<uint32_t>(layer.as_int64()));
  std::sort(layers.begin(), layers.end());
  if (!layers.empty()) row_format = RowFormat(object, model_dir, layers.front());
}

void engram_backbone::SetOption(const std::string& key, const std::string& value) {
  if (key == "weights") return;
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number == 0)
    throw PluginError(ENGRAM_INVALID_ARGUMENT, "option " + key + " is \"" + value + "\", not a number");
  if (key == "max_sequences") {
    max_sequences = number;
  } else if (key == "max_positions") {
    max_positions = number;
  } else if (key == "max_batch_tokens") {
    max_batch_tokens = number;
  } else if (key == "kv_tokens") {
    kv_tokens = number;
  } else if (key == "step_us") {
    step_us = number;
  } else {
    throw PluginError(ENGRAM_INVALID_ARGUMENT, "unknown option " + key);
  }
}

namespace {

engram_status Open(const engram_host* host, const char* model_dir, const engram_option* options, uint32_t num_options,
                   engram_backbone** out, engram_message* message) {
  return Fence(message, [&] {
    auto backbone = std::make_unique<engram_backbone>();
    backbone->host = host;
    backbone->ReadConfig(model_dir);
    for (uint32_t i = 0; i < num_options; ++i) backbone->SetOption(options[i].key, options[i].value);
    backbone->gates.assign(backbone->layers.size() * backbone->max_batch_tokens * backbone->num_streams, kGate);
    *out = backbone.release();
  });
}

void Close(engram_backbone* backbone) {
  delete backbone;
}

engram_status Describe(engram_backbone* backbone, engram_backbone_info* info) {
  info->vocab_size = backbone->vocab_size;
  info->hidden_size = backbone->hidden_size;
  info->num_layers = backbone->num_layers;
  info->num_streams = backbone->num_streams;
  info->max_positions = backbone->max_positions;
  info->max_batch_tokens = backbone->max_batch_tokens;
  info->max_sequences = backbone->max_sequences;
  info->num_engram_layers = static_cast<uint32_t>(backbone->layers.size());
  info->num_columns = backbone->num_columns;
  info->row_values = backbone->head_dim;
  info->row_format = backbone->layers.empty() ? 0 : backbone->row_format;
  info->engram_layers = backbone->layers.data();
  info->kv_capacity_tokens = backbone->kv_tokens;
  info->device = "none";
  info->weight_type = "none";
  return ENGRAM_OK;
}

engram_status SequenceNew(engram_backbone* backbone, uint32_t reserve_tokens, engram_sequence_id* out,
                          engram_message* message) {
  return Fence(message, [&] { *out = backbone->Add(reserve_tokens, 0); });
}

void SequenceFree(engram_backbone* backbone, engram_sequence_id id) {
  const auto found = backbone->sequences.find(id);
  if (found == backbone->sequences.end()) return;
  backbone->kv_used -= found->second.reserved;
  backbone->sequences.erase(found);
}

engram_status SequenceTruncate(engram_backbone* backbone, engram_sequence_id id, uint32_t length,
                               engram_message* message) {
  return Fence(message, [&] {
    Sequence& sequence = backbone->Find(id);
    if (length > sequence.length) throw PluginError(ENGRAM_INVALID_ARGUMENT, "truncated to more than its length");
    sequence.length = length;
  });
}

engram_status SequenceFork(engram_backbone* backbone, engram_sequence_id source, uint32_t reserve_tokens,
                           engram_sequence_id* out, engram_message* message) {
  return Fence(message, [&] { *out = backbone->Add(reserve_tokens, backbone->Find(source).length); });
}

// Room for the logits of so many tokens.
void GrowLogits(engram_backbone* backbone, size_t num_logits) {
  size_t have = backbone->logits.size() / backbone->vocab_size;
  if (have >= num_logits) return;
  backbone->logits.resize(num_logits * backbone->vocab_size, 0.0f);
  for (; have < num_logits; ++have) {
    float* row = backbone->logits.data() + have * backbone->vocab_size;
    row[kFavourite % backbone->vocab_size] = 10.0f;
  }
}

engram_status Step(engram_backbone* backbone, const engram_batch* batch, engram_step_output* output,
                   engram_message* message) {
  if (batch->rows != nullptr) {
    for (uint32_t layer = 0; layer < backbone->layers.size(); ++layer) {
      engram_row_view view = {};
      view.struct_size = sizeof(view);
      const engram_status status =
          backbone->host->await_rows(backbone->host->context, batch->rows, layer, &view, message);
      if (status != ENGRAM_OK) return status;
    }
  }
  return Fence(message, [&] {
    if (batch->num_tokens > backbone->max_batch_tokens)
      throw PluginError(ENGRAM_INVALID_ARGUMENT, std::to_string(batch->num_tokens) + " tokens in a step");
    for (uint32_t i = 0; i < batch->num_slices; ++i) {
      const engram_slice& slice = batch->slices[i];
      Sequence& sequence = backbone->Find(slice.sequence);
      if (slice.position != sequence.length || slice.num_tokens > sequence.reserved - sequence.length)
        throw PluginError(ENGRAM_INVALID_ARGUMENT, "slice " + std::to_string(i) + " does not continue its sequence");
      sequence.length += slice.num_tokens;
    }
    output->num_logits = static_cast<uint32_t>(
        std::count_if(batch->wants_logits, batch->wants_logits + batch->num_tokens, [](uint8_t w) { return w != 0; }));
    GrowLogits(backbone, output->num_logits);
    output->logits = backbone->logits.data();
    if ((batch->flags & ENGRAM_BATCH_GATES) != 0 && !backbone->layers.empty()) output->gates = backbone->gates.data();
    if (backbone->step_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(backbone->step_us));
    ++backbone->steps;
    backbone->tokens += batch->num_tokens;
  });
}

engram_status Stats(engram_backbone* backbone, engram_backbone_stats* stats) {
  stats->num_steps = backbone->steps;
  stats->num_tokens = backbone->tokens;
  stats->kv_used_tokens = backbone->kv_used;
  return ENGRAM_OK;
}

constexpr engram_backbone_functions kFunctions = {sizeof(engram_backbone_functions),
                                                  0,
                                                  Open,
                                                  Close,
                                                  Describe,
                                                  SequenceNew,
                                                  SequenceFree,
                                                  SequenceTruncate,
                                                  SequenceFork,
                                                  Step,
                                                  Stats,
                                                  nullptr,
                                                  nullptr};
constexpr engram_plugin_descriptor kDescriptor = {ENGRAM_ABI_MAGIC,
                                                  ENGRAM_ABI_MAJOR,
                                                  ENGRAM_ABI_MINOR,
                                                  sizeof(engram_plugin_descriptor),
                                                  ENGRAM_PLUGIN_BACKBONE,
                                                  0,
                                                  0,
                                                  "null_backbone",
                                                  "0.1.0",
                                                  "costs nothing and says always the same",
                                                  &kFunctions};

}  // namespace

extern "C" const engram_plugin_descriptor* engram_plugin_entry(void) {
  return &kDescriptor;
}
