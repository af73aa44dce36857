// SPDX-License-Identifier: Apache-2.0
#include "model_config.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numbers>
#include <sstream>

#include "engram/model_json.h"
#include "engram/packed_table.h"
#include "engram/plugin_error.h"

namespace backbone_cpu {

namespace {

using boost::json::object;
using boost::json::value;
using engram::sdk::PluginError;

// Sizes beyond these are not models but broken files; they keep every product below in 64 bits.
constexpr uint64_t kMaxSize = 1u << 24;
constexpr uint64_t kMaxCount = 1u << 16;

// One object of config.json with the path to it, for messages.
class Keys {
 public:
  Keys(const object& keys, std::string place) : keys_(keys), place_(std::move(place)) {}

  PluginError Error(const char* key, const std::string& what) const {
    return PluginError(ENGRAM_INVALID_ARGUMENT, place_ + "'" + key + "' " + what);
  }
  PluginError Unsupported(const char* key, const std::string& what) const {
    return PluginError(ENGRAM_UNSUPPORTED, place_ + "'" + key + "' " + what);
  }

  // Null for a missing key and for JSON null: Hugging Face writes null where a feature is off.
  const value* Find(const char* key) const {
    const value* found = keys_.if_contains(key);
    return found == nullptr || found->is_null() ? nullptr : found;
  }

  uint32_t Unsigned(const char* key, uint64_t low, uint64_t high) const {
    const value* found = Find(key);
    if (found == nullptr) throw Error(key, "is missing");
    return Unsigned(*found, key, low, high);
  }
  uint32_t Unsigned(const char* key, uint64_t low, uint64_t high, uint32_t otherwise) const {
    const value* found = Find(key);
    return found == nullptr ? otherwise : Unsigned(*found, key, low, high);
  }
  uint32_t Unsigned(const value& found, const char* key, uint64_t low, uint64_t high) const {
    if (found.is_int64() && found.get_int64() >= 0) {
      const auto number = static_cast<uint64_t>(found.get_int64());
      if (number >= low && number <= high) return static_cast<uint32_t>(number);
    }
    throw Error(key, "is not an integer from " + std::to_string(low) + " to " + std::to_string(high));
  }

  double Positive(const char* key, double otherwise) const {
    const value* found = Find(key);
    return found == nullptr ? otherwise : Positive(*found, key);
  }
  double Positive(const char* key) const {
    const value* found = Find(key);
    if (found == nullptr) throw Error(key, "is missing");
    return Positive(*found, key);
  }
  double Positive(const value& found, const char* key) const {
    boost::json::error_code error;
    const double number = found.is_number() ? found.to_number<double>(error) : -1.0;
    if (error || !(number > 0) || !std::isfinite(static_cast<float>(number))) {
      throw Error(key, "is not a positive number");
    }
    return number;
  }

  bool Bool(const char* key, bool otherwise) const {
    const value* found = Find(key);
    if (found == nullptr) return otherwise;
    if (!found->is_bool()) throw Error(key, "is not true or false");
    return found->get_bool();
  }

  std::string Text(const char* key) const {
    const value* found = Find(key);
    if (found == nullptr) throw Error(key, "is missing");
    if (!found->is_string()) throw Error(key, "is not a string");
    return std::string(found->get_string());
  }

  std::vector<uint32_t> UnsignedList(const char* key, uint64_t low, uint64_t high) const {
    const value* found = Find(key);
    if (found == nullptr) throw Error(key, "is missing");
    if (!found->is_array()) throw Error(key, "is not a list");
    std::vector<uint32_t> list;
    for (const value& item : found->get_array()) list.push_back(Unsigned(item, key, low, high));
    return list;
  }

  const object* Object(const char* key) const {
    const value* found = Find(key);
    if (found == nullptr) return nullptr;
    if (!found->is_object()) throw Error(key, "is not an object");
    return &found->get_object();
  }

  const std::string& place() const { return place_; }

 private:
  const object& keys_;
  std::string place_;
};

// Llama 3.1's scaling: long wavelengths divided by `factor`, short ones kept, a linear blend between.
double Llama3Frequency(double frequency, const Keys& scaling, double factor) {
  const double low = scaling.Positive("low_freq_factor");
  const double high = scaling.Positive("high_freq_factor");
  const double original = scaling.Positive("original_max_position_embeddings");
  if (high <= low) throw scaling.Error("high_freq_factor", "is not above low_freq_factor");
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < original / high) return frequency;
  if (wavelength > original / low) return frequency / factor;
  const double blend = (original / wavelength - low) / (high - low);
  return (1 - blend) * frequency / factor + blend * frequency;
}

std::vector<double> ReadInverseFrequencies(const Keys& keys, uint32_t head_dim) {
  // Newer files hold base and scaling together in rope_parameters, older ones in rope_theta and rope_scaling.
  const char* scaling_key = keys.Find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
  const object* scaling_object = keys.Object(scaling_key);
  double theta = keys.Positive("rope_theta", 10000.0);
  std::string type = "default";
  double factor = 1;
  static const object kNone;
  const Keys scaling(scaling_object == nullptr ? kNone : *scaling_object, keys.place() + scaling_key + ".");
  if (scaling_object != nullptr) {
    theta = scaling.Positive("rope_theta", theta);
    const char* type_key = scaling.Find("rope_type") != nullptr ? "rope_type" : "type";
    if (scaling.Find(type_key) != nullptr) {
      type = scaling.Text(type_key);
    } else if (std::string(scaling_key) == "rope_scaling") {
      throw scaling.Error("rope_type", "is missing");
    }
    if (type != "default" && type != "linear" && type != "llama3") {
      throw scaling.Unsupported(type_key, "is '" + type + "'; default, linear and llama3 are known");
    }
    if (type != "default") factor = scaling.Positive("factor");
    if (scaling.Positive("partial_rotary_factor", 1.0) != 1.0) {
      throw scaling.Unsupported("partial_rotary_factor", "other than 1 is not supported");
    }
  }
  std::vector<double> frequencies(head_dim / 2);
  for (uint32_t i = 0; i < head_dim / 2; ++i) {
    const double frequency = std::pow(theta, -2.0 * i / head_dim);
    frequencies[i] = type == "llama3" ? Llama3Frequency(frequency, scaling, factor) : frequency / factor;
  }
  return frequencies;
}

void ReadMoe(const Keys& keys, const std::string& model_type, ModelConfig* config) {
  const bool may_be_moe = model_type == "engram" || model_type == "qwen3_moe";
  config->is_moe_layer.assign(config->num_layers, false);
  if (!may_be_moe || keys.Find("num_experts") == nullptr) {
    if (model_type == "qwen3_moe") throw keys.Error("num_experts", "is missing");
    return;
  }
  config->num_experts = keys.Unsigned("num_experts", 0, kMaxCount);
  if (config->num_experts == 0) return;
  config->num_experts_per_token = keys.Unsigned("num_experts_per_tok", 1, config->num_experts);
  config->moe_intermediate_size = keys.Unsigned("moe_intermediate_size", 1, kMaxSize);
  config->norm_topk_prob = keys.Bool("norm_topk_prob", false);
  const uint64_t num_shared = keys.Unsigned("n_shared_experts", 0, kMaxCount, 0);
  if (num_shared * config->moe_intermediate_size > kMaxSize) throw keys.Error("n_shared_experts", "is too large");
  config->shared_intermediate_size = static_cast<uint32_t>(num_shared * config->moe_intermediate_size);
  const uint32_t first_moe = keys.Unsigned("first_k_dense_replace", 0, kMaxCount, 0);
  const uint32_t step = keys.Unsigned("decoder_sparse_step", 1, kMaxCount, 1);
  for (uint32_t layer = first_moe; layer < config->num_layers; ++layer) {
    config->is_moe_layer[layer] = (layer + 1) % step == 0;
  }
  if (keys.Find("mlp_only_layers") != nullptr) {
    for (uint32_t layer : keys.UnsignedList("mlp_only_layers", 0, config->num_layers - 1)) {
      config->is_moe_layer[layer] = false;
    }
  }
}

void ReadEngram(const Keys& keys, const ModelConfig& config, EngramConfig* engram) {
  const std::string variant = keys.Text("variant");
  if (variant == "paper") {
    engram->variant = EngramVariant::kPaper;
  } else if (variant == "deepseek_v41") {
    engram->variant = EngramVariant::kDeepseekV41;
  } else {
    throw keys.Unsupported("variant", "is '" + variant + "'; paper and deepseek_v41 are known");
  }
  engram->layers = keys.UnsignedList("layer_ids", 0, config.num_layers - 1);
  // The file's order decides which primes a layer gets, which is the host's business; here they are met ascending.
  std::sort(engram->layers.begin(), engram->layers.end());
  const auto repeated = std::adjacent_find(engram->layers.begin(), engram->layers.end());
  if (repeated != engram->layers.end()) {
    throw keys.Error("layer_ids", "names layer " + std::to_string(*repeated) + " twice");
  }
  if (engram->layers.empty()) throw keys.Error("layer_ids", "is empty");
  engram->max_ngram_size = keys.Unsigned("max_ngram_size", 2, 64);
  engram->num_heads = keys.Unsigned("n_heads", 1, 1024);
  engram->head_dim = keys.Unsigned("head_dim", 1, kMaxCount);
  if (uint64_t{engram->num_columns()} * engram->head_dim > kMaxSize) throw keys.Error("head_dim", "is too large");
  engram->kernel_size = keys.Unsigned("kernel_size", 0, 1024, 0);
  if (engram->variant == EngramVariant::kDeepseekV41 && engram->kernel_size != 0) {
    throw keys.Error("kernel_size", "is not 0, but variant deepseek_v41 has no convolution");
  }
  const std::string format = keys.Find("row_format") == nullptr ? "" : keys.Text("row_format");
  for (const engram_row_format known : {ENGRAM_ROW_BF16, ENGRAM_ROW_F16, ENGRAM_ROW_F32, ENGRAM_ROW_FP8_E4M3_UE8M0}) {
    if (format == engram::sdk::PackedFormatName(known)) engram->row_format = known;
  }
  if (!format.empty() && engram->row_format == 0) {
    throw keys.Unsupported("row_format", "is '" + format + "'; bf16, f16, f32 and fp8_e4m3_ue8m0 are known");
  }
}

std::string ReadConfigText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw PluginError(ENGRAM_NOT_FOUND, path + ": cannot be opened");
  std::string text(16u << 20, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) throw PluginError(ENGRAM_IO, path + ": cannot be read");
  if (!file.eof()) throw PluginError(ENGRAM_INVALID_ARGUMENT, path + ": larger than 16 MiB");
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

void RefuseUnsupported(const Keys& keys, const std::string& model_type) {
  const auto refuse_true = [&keys](const char* key) {
    if (keys.Bool(key, false)) throw keys.Unsupported(key, "is true, which is not supported");
  };
  if (keys.Find("quantization_config") != nullptr) {
    throw keys.Unsupported("quantization_config", "is present; quantised checkpoints are not supported");
  }
  if (keys.Find("hidden_act") != nullptr && keys.Text("hidden_act") != "silu") {
    throw keys.Unsupported("hidden_act", "is '" + keys.Text("hidden_act") + "'; silu is known");
  }
  refuse_true("mlp_bias");
  refuse_true("use_sliding_window");
  // Qwen's files give a window that use_sliding_window: false turns off; elsewhere the window alone turns it on.
  const bool has_switch = model_type.starts_with("qwen");
  if (!has_switch && keys.Find("sliding_window") != nullptr) {
    throw keys.Unsupported("sliding_window", "is set; sliding-window attention is not supported");
  }
  if (keys.Positive("partial_rotary_factor", 1.0) != 1.0) {
    throw keys.Unsupported("partial_rotary_factor", "other than 1 is not supported");
  }
}

}  // namespace

ModelConfig ReadModelConfig(const std::string& model_dir) {
  const std::string path = model_dir + "/config.json";
  const object root = engram::sdk::ParseJsonObject(ReadConfigText(path), path, 32);
  const Keys keys(root, path + ": ");

  const std::string model_type = keys.Text("model_type");
  bool is_known = false;
  for (const char* known : {"engram", "qwen2", "qwen3", "qwen3_moe", "llama", "mistral"}) {
    is_known = is_known || model_type == known;
  }
  if (!is_known) {
    throw keys.Unsupported("model_type",
                           "is '" + model_type + "'; engram, qwen2, qwen3, qwen3_moe, llama and mistral are known");
  }
  RefuseUnsupported(keys, model_type);

  ModelConfig config;
  config.vocab_size = keys.Unsigned("vocab_size", 1, kMaxSize);
  config.hidden_size = keys.Unsigned("hidden_size", 1, kMaxSize);
  config.num_layers = keys.Unsigned("num_hidden_layers", 1, kMaxCount);
  config.num_heads = keys.Unsigned("num_attention_heads", 1, kMaxCount);
  config.num_kv_heads = keys.Unsigned("num_key_value_heads", 1, kMaxCount, config.num_heads);
  if (config.num_heads % config.num_kv_heads != 0) {
    throw keys.Error("num_key_value_heads", "(" + std::to_string(config.num_kv_heads) +
                                                ") does not divide num_attention_heads (" +
                                                std::to_string(config.num_heads) + ")");
  }
  if (keys.Find("head_dim") == nullptr && config.hidden_size % config.num_heads != 0) {
    throw keys.Error("head_dim", "is missing and num_attention_heads does not divide hidden_size");
  }
  config.head_dim = keys.Unsigned("head_dim", 1, kMaxCount, config.hidden_size / config.num_heads);
  if (config.head_dim == 0 || config.head_dim % 2 != 0) {
    throw keys.Error("head_dim", "(" + std::to_string(config.head_dim) + ") is not even, as rotary embedding needs");
  }
  if (uint64_t{config.num_heads} * config.head_dim > kMaxSize) throw keys.Error("head_dim", "is too large");
  config.max_positions = keys.Unsigned("max_position_embeddings", 1, kMaxSize);
  config.rms_norm_eps = static_cast<float>(keys.Positive("rms_norm_eps", 1e-6));
  config.tie_word_embeddings = keys.Bool("tie_word_embeddings", false);
  config.qk_norm = keys.Bool("qk_norm", model_type == "engram" || model_type.starts_with("qwen3"));
  const bool attention_bias = keys.Bool("attention_bias", false);
  config.qkv_bias = attention_bias || model_type == "qwen2";
  config.output_bias = attention_bias && model_type != "qwen2";
  config.inverse_frequencies = ReadInverseFrequencies(keys, config.head_dim);

  ReadMoe(keys, model_type, &config);
  bool has_dense = false;
  for (const bool is_moe : config.is_moe_layer) has_dense = has_dense || !is_moe;
  if (has_dense) config.intermediate_size = keys.Unsigned("intermediate_size", 1, kMaxSize);

  if (model_type == "engram") {
    config.num_streams = keys.Unsigned("hc_mult", 1, 64, 1);
    config.sinkhorn_iterations = keys.Unsigned("hc_sinkhorn_iters", 1, 1000, 20);
    config.hc_eps = static_cast<float>(keys.Positive("hc_eps", 1e-6));
    if (uint64_t{config.num_streams} * config.hidden_size > kMaxSize) throw keys.Error("hc_mult", "is too large");
    if (const object* engram = keys.Object("engram")) {
      ReadEngram(Keys(*engram, path + ": engram."), config, &config.engram);
    }
  }
  return config;
}

}  // namespace backbone_cpu
