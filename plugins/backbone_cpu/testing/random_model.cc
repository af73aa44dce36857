// SPDX-License-Identifier: Apache-2.0
#include "testing/random_model.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>

namespace backbone_cpu::testing {

namespace {

// Stores x as `type` (cut, not rounded) and returns what was stored.
double Encode(TensorType type, float x, std::vector<uint8_t>* out) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof(bits));
  const auto put = [out](uint32_t value, int num_bytes) {
    for (int i = 0; i < num_bytes; ++i) out->push_back(static_cast<uint8_t>(value >> 8 * i));
  };
  if (type == TensorType::kF32) {
    put(bits, 4);
    return x;
  }
  if (type == TensorType::kBF16) {
    put(bits >> 16, 2);
    bits &= 0xffff0000u;
    std::memcpy(&x, &bits, sizeof(x));
    return x;
  }
  int exponent = 0;
  const double fraction = std::frexp(std::fabs(static_cast<double>(x)), &exponent);  // in [0.5, 1)
  if (fraction == 0 || exponent - 1 < -14) {
    put(0, 2);
    return 0;
  }
  const auto mantissa = static_cast<uint32_t>(fraction * 2048) - 1024;
  put((x < 0 ? 0x8000u : 0u) | static_cast<uint32_t>(exponent - 1 + 15) << 10 | mantissa, 2);
  return std::copysign(std::ldexp(1024.0 + mantissa, exponent - 11), x);
}

double DecodeE4M3(uint8_t code) {
  const int exponent = code >> 3 & 15;
  const int mantissa = code & 7;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

class Builder {
 public:
  Builder(const ModelSpec& spec, uint64_t seed) : random_(seed) { model_.spec = spec; }

  RandomModel Build() {
    const ModelSpec& s = model_.spec;
    const uint64_t d = s.hidden;
    Matrix("model.embed_tokens.weight", {s.vocab, d}, 1.0);
    if (!s.tie) Matrix("lm_head.weight", {s.vocab, d}, 1.0 / std::sqrt(d));
    Norm("model.norm.weight", {d});
    if (s.streams > 1) Mix("model.hc_head", s.streams, 1);
    for (uint32_t layer = 0; layer < s.layers; ++layer) Layer(layer);
    for (const uint32_t layer : s.engram_layers) Engram(layer);
    model_.config = Config();
    if (!s.engram_layers.empty()) {
      Addresser& addresser = model_.addresser;
      addresser.max_ngram_size = s.max_ngram;
      addresser.num_heads = s.engram_heads;
      for (uint32_t id = 0; id < s.vocab; ++id) addresser.compressed.push_back(static_cast<int32_t>(id * 7 % s.vocab));
      addresser.pad = 3;
    }
    return std::move(model_);
  }

 private:
  static constexpr int64_t kPrime = 101;  // rows per column; the host's addressing is not what is tested here

  float Uniform() { return std::uniform_real_distribution<float>(-1.0f, 1.0f)(random_); }

  void Fill(const std::string& name, TensorType type, std::vector<uint64_t> shape, double center, double spread) {
    Tensor tensor;
    tensor.type = type;
    tensor.shape = std::move(shape);
    uint64_t count = 1;
    for (const uint64_t size : tensor.shape) count *= size;
    for (uint64_t i = 0; i < count; ++i) {
      tensor.values.push_back(Encode(type, static_cast<float>(center + spread * Uniform()), &tensor.bytes));
    }
    model_.tensors[name] = std::move(tensor);
  }
  void Matrix(const std::string& name, std::vector<uint64_t> shape, double spread) {
    Fill(name, model_.spec.weight_type, std::move(shape), 0, spread);
  }
  void Linear(const std::string& name, uint64_t rows, uint64_t cols) {
    Matrix(name, {rows, cols}, 2.0 / std::sqrt(static_cast<double>(cols)));
  }
  void Norm(const std::string& name, std::vector<uint64_t> shape) {
    Fill(name, model_.spec.weight_type, std::move(shape), 1, 0.5);
  }
  void Mix(const std::string& name, uint64_t outputs, uint64_t scales) {
    const uint64_t width = uint64_t{model_.spec.streams} * model_.spec.hidden;
    Fill(name + ".fn", TensorType::kF32, {outputs, width}, 0, 2.0 / std::sqrt(static_cast<double>(width)));
    Fill(name + ".base", TensorType::kF32, {outputs}, 0, 1);
    Fill(name + ".scale", TensorType::kF32, {scales}, 0.8, 0.3);
  }
  void Mlp(const std::string& prefix, uint64_t ffn) {
    Linear(prefix + "gate_proj.weight", ffn, model_.spec.hidden);
    Linear(prefix + "up_proj.weight", ffn, model_.spec.hidden);
    Linear(prefix + "down_proj.weight", model_.spec.hidden, ffn);
  }

  void Layer(uint32_t layer) {
    const ModelSpec& s = model_.spec;
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const std::string attention = prefix + "self_attn.";
    const uint64_t q = s.heads * s.head_dim;
    const uint64_t kv = s.kv_heads * s.head_dim;
    Norm(prefix + "input_layernorm.weight", {s.hidden});
    Norm(prefix + "post_attention_layernorm.weight", {s.hidden});
    Linear(attention + "q_proj.weight", q, s.hidden);
    Linear(attention + "k_proj.weight", kv, s.hidden);
    Linear(attention + "v_proj.weight", kv, s.hidden);
    Linear(attention + "o_proj.weight", s.hidden, q);
    if (s.qkv_bias) {
      Matrix(attention + "q_proj.bias", {q}, 1);
      Matrix(attention + "k_proj.bias", {kv}, 1);
      Matrix(attention + "v_proj.bias", {kv}, 1);
    }
    if (s.output_bias) Matrix(attention + "o_proj.bias", {s.hidden}, 1);
    if (s.qk_norm) {
      Norm(attention + "q_norm.weight", {s.head_dim});
      Norm(attention + "k_norm.weight", {s.head_dim});
    }
    if (s.experts != 0 && layer >= s.first_dense) {
      Linear(prefix + "mlp.gate.weight", s.experts, s.hidden);
      for (uint32_t e = 0; e < s.experts; ++e) Mlp(prefix + "mlp.experts." + std::to_string(e) + ".", s.moe_ffn);
      if (s.shared_experts != 0) Mlp(prefix + "mlp.shared_experts.", s.moe_ffn * s.shared_experts);
    } else {
      Mlp(prefix + "mlp.", s.ffn);
    }
    if (s.streams > 1) {
      Mix(prefix + "attn_hc", s.streams * (2 + s.streams), 3);
      Mix(prefix + "mlp_hc", s.streams * (2 + s.streams), 3);
    }
  }

  void Engram(uint32_t layer) {
    const ModelSpec& s = model_.spec;
    const std::string prefix = "model.layers." + std::to_string(layer) + ".engram.";
    const uint64_t columns = (s.max_ngram - 1) * s.engram_heads;
    const uint64_t memory = columns * s.engram_head_dim;
    const uint64_t width = s.streams * s.hidden;
    LayerHash hash;
    for (uint32_t i = 0; i < s.max_ngram; ++i)
      hash.multipliers.push_back(2 * static_cast<int64_t>(random_() >> 16) + 1);
    hash.primes.assign(columns, kPrime);
    model_.addresser.layers[layer] = hash;
    Table(prefix, columns * kPrime);
    if (s.variant == "deepseek_v41") {
      Linear(prefix + "wkv.weight", width + s.hidden, memory);
      Norm(prefix + "q_weight", {s.streams, s.hidden});
      Norm(prefix + "k_weight", {s.streams, s.hidden});
      return;
    }
    Linear(prefix + "key_proj.weight", width, memory);
    Linear(prefix + "value_proj.weight", s.hidden, memory);
    Norm(prefix + "key_norm.weight", {s.streams, s.hidden});
    Norm(prefix + "query_norm.weight", {s.streams, s.hidden});
    if (s.kernel != 0) {
      Norm(prefix + "conv_norm.weight", {s.streams, s.hidden});
      Matrix(prefix + "conv.weight", {width, s.kernel}, 1);
    }
  }

  void Table(const std::string& prefix, uint64_t rows) {
    const ModelSpec& s = model_.spec;
    if (s.row_type != TensorType::kF8E4M3) {
      Fill(prefix + "embed.weight", s.row_type, {rows, s.engram_head_dim}, 0, 1);
      return;
    }
    const uint64_t blocks = (s.engram_head_dim + 31) / 32;
    Tensor codes = {s.row_type, {rows, s.engram_head_dim}, {}, {}};
    Tensor scales = {TensorType::kF8E8M0, {rows, blocks}, {}, {}};
    for (uint64_t i = 0; i < rows * blocks; ++i) scales.bytes.push_back(static_cast<uint8_t>(118 + random_() % 4));
    for (uint64_t i = 0; i < rows * s.engram_head_dim; ++i) {
      auto code = static_cast<uint8_t>(random_() % 256);
      if ((code & 0x7f) == 0x7f) code = 0;  // NaN
      codes.bytes.push_back(code);
      const uint64_t scale = i / s.engram_head_dim * blocks + i % s.engram_head_dim / 32;
      codes.values.push_back(DecodeE4M3(code) * std::ldexp(1.0, scales.bytes[scale] - 127));
    }
    model_.tensors[prefix + "embed.weight"] = std::move(codes);
    model_.tensors[prefix + "embed.scale"] = std::move(scales);
  }

  std::string Config() const {
    const ModelSpec& s = model_.spec;
    std::string text = "{";
    const auto add = [&text](const std::string& key, const std::string& value) {
      text += (text.size() < 2 || text.back() == '{' ? "" : ", ") + ("\"" + key + "\": " + value);
    };
    const auto number = [](auto value) { return std::to_string(value); };
    const auto boolean = [](bool value) { return std::string(value ? "true" : "false"); };
    add("model_type", "\"" + s.model_type + "\"");
    add("vocab_size", number(s.vocab));
    add("hidden_size", number(s.hidden));
    add("num_hidden_layers", number(s.layers));
    add("num_attention_heads", number(s.heads));
    add("num_key_value_heads", number(s.kv_heads));
    if (s.head_dim * s.heads != s.hidden) add("head_dim", number(s.head_dim));
    add("intermediate_size", number(s.ffn));
    add("hidden_act", "\"silu\"");
    add("rms_norm_eps", "1e" + number(static_cast<int>(std::round(std::log10(s.eps)))));
    add("rope_theta", number(s.rope_theta));
    add("rope_scaling", s.rope.empty() ? "null" : s.rope);
    add("max_position_embeddings", "300");
    add("tie_word_embeddings", boolean(s.tie));
    if (s.model_type == "engram") {
      add("qk_norm", boolean(s.qk_norm));
      add("hc_mult", number(s.streams));
      add("hc_sinkhorn_iters", number(s.sinkhorn_iterations));
    }
    if (s.output_bias) add("attention_bias", "true");
    if (s.experts != 0) {
      add("num_experts", number(s.experts));
      add("num_experts_per_tok", number(s.experts_per_token));
      add("moe_intermediate_size", number(s.moe_ffn));
      add("n_shared_experts", number(s.shared_experts));
      add("norm_topk_prob", boolean(s.norm_topk));
      add("first_k_dense_replace", number(s.first_dense));
    }
    if (!s.engram_layers.empty()) {
      std::string layers;
      for (const uint32_t layer : s.engram_layers) layers += (layers.empty() ? "" : ", ") + number(layer);
      add("engram", "{\"variant\": \"" + s.variant + "\", \"layer_ids\": [" + layers +
                        "], \"max_ngram_size\": " + number(s.max_ngram) + ", \"n_heads\": " + number(s.engram_heads) +
                        ", \"head_dim\": " + number(s.engram_head_dim) + ", \"kernel_size\": " + number(s.kernel) +
                        "}");
    }
    return text + "}";
  }

  std::mt19937_64 random_;
  RandomModel model_;
};

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "backbone_cpu.XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp " + pattern);
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void WriteText(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) throw std::runtime_error(path);
}

void WriteSafetensors(const std::string& path, const Tensors& tensors) {
  std::string header = "{\"__metadata__\": {\"format\": \"pt\"}";
  std::string values;
  for (const auto& [name, tensor] : tensors) {
    const std::string begin = std::to_string(values.size());
    values.append(tensor.bytes.begin(), tensor.bytes.end());
    header += ", \"" + name + "\": {\"dtype\": \"" + engram::sdk::Name(tensor.type) +
              "\", \"shape\": " + engram::sdk::ShapeText(tensor.shape) + ", \"data_offsets\": [" + begin + ", " +
              std::to_string(values.size()) + "]}";
  }
  header += "}";
  std::string length;
  for (int i = 0; i < 8; ++i) length.push_back(static_cast<char>(header.size() >> 8 * i));
  WriteText(path, length + header + values);
}

RandomModel MakeRandomModel(const ModelSpec& spec, uint64_t seed) {
  return Builder(spec, seed).Build();
}

void WriteModel(const RandomModel& model, const std::string& directory) {
  WriteText(directory + "/config.json", model.config);
  if (!model.spec.sharded) {
    WriteSafetensors(directory + "/model.safetensors", model.tensors);
    return;
  }
  std::map<std::string, Tensors> shards;
  std::string map;
  size_t i = 0;
  for (const auto& [name, tensor] : model.tensors) {
    const std::string shard = "model-0000" + std::to_string(i++ % 3 + 1) + "-of-00003.safetensors";
    shards[shard][name] = tensor;
    map += (map.empty() ? "\"" : ", \"") + name + "\": \"" + shard + "\"";
  }
  for (const auto& [shard, tensors] : shards) WriteSafetensors(directory + "/" + shard, tensors);
  WriteText(directory + "/model.safetensors.index.json", "{\"metadata\": {}, \"weight_map\": {" + map + "}}");
}

}  // namespace backbone_cpu::testing
