// SPDX-License-Identifier: Apache-2.0
#include "weights.h"

#include <new>

#include "engram/packed_table.h"
#include "kernels/kernels.h"

namespace backbone_cpu {

namespace {

using engram::sdk::PluginError;
using engram::sdk::SafetensorsModel;
using engram::sdk::ShapeText;
using engram::sdk::TensorInfo;
using engram::sdk::TensorType;
using Shape = std::vector<uint64_t>;

class Reader {
 public:
  Reader(const std::string& model_dir, const ModelConfig& config) : model_(model_dir), config_(config) {}

  Weights Read() {
    const uint64_t hidden = config_.hidden_size;
    Weights weights;
    weights.embedding = ReadMatrix("model.embed_tokens.weight", config_.vocab_size, hidden);
    if (!config_.tie_word_embeddings) weights.head = ReadMatrix("lm_head.weight", config_.vocab_size, hidden);
    weights.final_norm = ReadVector("model.norm.weight", {hidden});
    if (config_.num_streams > 1) weights.head_mix = ReadMix("model.hc_head", config_.num_streams, 1);
    for (uint32_t layer = 0; layer < config_.num_layers; ++layer) weights.layers.push_back(ReadLayer(layer));
    for (const uint32_t layer : config_.engram.layers) {
      const engram_row_format format = RowFormat(layer);
      if (layer != config_.engram.layers.front() && format != weights.row_format) {
        throw PluginError(ENGRAM_UNSUPPORTED, Place(EngramName(layer) + "embed.weight") +
                                                  ": its type differs from that of the first Engram layer's table");
      }
      weights.row_format = format;
      weights.layers[layer].engram = std::make_unique<EngramWeights>(ReadEngram(layer));
    }
    weights.num_bytes = num_bytes_;
    return weights;
  }

 private:
  static std::string LayerName(uint32_t layer) { return "model.layers." + std::to_string(layer) + "."; }
  static std::string EngramName(uint32_t layer) { return LayerName(layer) + "engram."; }

  std::string Place(const std::string& name) const {
    return model_.FilePath(model_.Get(name).file) + ": tensor '" + name + "'";
  }

  // The tensor, after its shape and type were checked.
  const TensorInfo& Expect(const std::string& name, const Shape& shape) const {
    const TensorInfo& info = model_.Get(name);
    if (info.shape != shape) {
      throw PluginError(ENGRAM_INVALID_ARGUMENT, Place(name) + ": shape is " + ShapeText(info.shape) +
                                                     ", the configuration asks for " + ShapeText(shape));
    }
    return info;
  }
  void ExpectWeightType(const std::string& name, const TensorInfo& info) const {
    if (info.type != TensorType::kBF16 && info.type != TensorType::kF16 && info.type != TensorType::kF32) {
      throw PluginError(ENGRAM_UNSUPPORTED,
                        Place(name) + ": type is " + Name(info.type) + "; weights are BF16, F16 or F32");
    }
  }

  Matrix ReadMatrix(const std::string& name, uint64_t rows, uint64_t cols) {
    Expect(name, {rows, cols});
    return ReadRows(name, 0, rows, cols);
  }

  // Rows [first, first + rows) of a matrix with `cols` columns.
  Matrix ReadRows(const std::string& name, uint64_t first, uint64_t rows, uint64_t cols) {
    const TensorInfo& info = model_.Get(name);
    ExpectWeightType(name, info);
    Matrix matrix;
    matrix.type = info.type;
    matrix.rows = rows;
    matrix.cols = cols;
    const uint64_t row_bytes = cols * NumBytes(info.type);
    matrix.values = AllocateAligned(rows * row_bytes);
    model_.Read(name, first * row_bytes, rows * row_bytes, matrix.values.get());
    num_bytes_ += rows * row_bytes;
    return matrix;
  }

  Vector ReadVector(const std::string& name, const Shape& shape) {
    const TensorInfo& info = Expect(name, shape);
    ExpectWeightType(name, info);
    std::vector<uint8_t> stored(info.num_bytes);
    model_.Read(name, 0, info.num_bytes, stored.data());
    Vector values(info.num_bytes / NumBytes(info.type));
    if (info.type == TensorType::kF32) {
      std::memcpy(values.data(), stored.data(), stored.size());
    } else if (info.type == TensorType::kBF16) {
      kKernelsRef.widen_bf16(values.data(), stored.data(), values.size());
    } else {
      kKernelsRef.widen_f16(values.data(), stored.data(), values.size());
    }
    num_bytes_ += values.size() * sizeof(float);
    return values;
  }

  MixWeights ReadMix(const std::string& prefix, uint64_t num_outputs, uint64_t num_scales) {
    const uint64_t width = config_.stream_width();
    const Vector fn = ReadVector(prefix + ".fn", {num_outputs, width});
    MixWeights mix;
    mix.fn.rows = num_outputs;
    mix.fn.cols = width;
    mix.fn.values = AllocateAligned(fn.size() * sizeof(float));
    std::memcpy(mix.fn.values.get(), fn.data(), fn.size() * sizeof(float));
    mix.base = ReadVector(prefix + ".base", {num_outputs});
    mix.scale = ReadVector(prefix + ".scale", {num_scales});
    return mix;
  }

  MlpWeights ReadMlp(const std::string& prefix, uint64_t intermediate) {
    MlpWeights mlp;
    mlp.gate = ReadMatrix(prefix + "gate_proj.weight", intermediate, config_.hidden_size);
    mlp.up = ReadMatrix(prefix + "up_proj.weight", intermediate, config_.hidden_size);
    mlp.down = ReadMatrix(prefix + "down_proj.weight", config_.hidden_size, intermediate);
    return mlp;
  }

  LayerWeights ReadLayer(uint32_t index) {
    const std::string prefix = LayerName(index);
    const std::string attention = prefix + "self_attn.";
    const uint64_t hidden = config_.hidden_size;
    const uint64_t query_width = config_.query_width();
    const uint64_t kv_width = config_.kv_width();
    LayerWeights layer;
    layer.input_norm = ReadVector(prefix + "input_layernorm.weight", {hidden});
    layer.post_norm = ReadVector(prefix + "post_attention_layernorm.weight", {hidden});
    layer.q = ReadMatrix(attention + "q_proj.weight", query_width, hidden);
    layer.k = ReadMatrix(attention + "k_proj.weight", kv_width, hidden);
    layer.v = ReadMatrix(attention + "v_proj.weight", kv_width, hidden);
    layer.o = ReadMatrix(attention + "o_proj.weight", hidden, query_width);
    if (config_.qkv_bias) {
      layer.q_bias = ReadVector(attention + "q_proj.bias", {query_width});
      layer.k_bias = ReadVector(attention + "k_proj.bias", {kv_width});
      layer.v_bias = ReadVector(attention + "v_proj.bias", {kv_width});
    }
    if (config_.output_bias) layer.o_bias = ReadVector(attention + "o_proj.bias", {hidden});
    if (config_.qk_norm) {
      layer.q_norm = ReadVector(attention + "q_norm.weight", {config_.head_dim});
      layer.k_norm = ReadVector(attention + "k_norm.weight", {config_.head_dim});
    }
    if (config_.is_moe_layer[index]) {
      layer.router = ReadMatrix(prefix + "mlp.gate.weight", config_.num_experts, hidden);
      for (uint32_t expert = 0; expert < config_.num_experts; ++expert) {
        layer.experts.push_back(
            ReadMlp(prefix + "mlp.experts." + std::to_string(expert) + ".", config_.moe_intermediate_size));
      }
      if (config_.shared_intermediate_size != 0) {
        layer.mlp = ReadMlp(prefix + "mlp.shared_experts.", config_.shared_intermediate_size);
      }
    } else {
      layer.mlp = ReadMlp(prefix + "mlp.", config_.intermediate_size);
    }
    if (config_.num_streams > 1) {
      const uint64_t streams = config_.num_streams;
      layer.attention_mix = ReadMix(prefix + "attn_hc", 2 * streams + streams * streams, 3);
      layer.mlp_mix = ReadMix(prefix + "mlp_hc", 2 * streams + streams * streams, 3);
    }
    return layer;
  }

  EngramWeights ReadEngram(uint32_t index) {
    const std::string prefix = EngramName(index);
    const EngramConfig& engram = config_.engram;
    const uint64_t streams = config_.num_streams;
    const uint64_t hidden = config_.hidden_size;
    const uint64_t width = streams * hidden;
    EngramWeights weights;
    if (engram.variant == EngramVariant::kDeepseekV41) {
      Expect(prefix + "wkv.weight", {width + hidden, engram.memory_width()});
      weights.key = ReadRows(prefix + "wkv.weight", 0, width, engram.memory_width());
      weights.value = ReadRows(prefix + "wkv.weight", width, hidden, engram.memory_width());
      weights.query_norm = ReadVector(prefix + "q_weight", {streams, hidden});
      weights.key_norm = ReadVector(prefix + "k_weight", {streams, hidden});
      return weights;
    }
    weights.key = ReadMatrix(prefix + "key_proj.weight", width, engram.memory_width());
    weights.value = ReadMatrix(prefix + "value_proj.weight", hidden, engram.memory_width());
    weights.key_norm = ReadVector(prefix + "key_norm.weight", {streams, hidden});
    weights.query_norm = ReadVector(prefix + "query_norm.weight", {streams, hidden});
    if (engram.kernel_size != 0) {
      const uint64_t taps = engram.kernel_size;
      const Vector norm = ReadVector(prefix + "conv_norm.weight", {streams, hidden});
      const Vector conv = ReadVector(prefix + "conv.weight", {width, taps});
      weights.conv.resize(conv.size());
      for (uint64_t stream = 0; stream < streams; ++stream) {
        for (uint64_t tap = 0; tap < taps; ++tap) {
          for (uint64_t i = 0; i < hidden; ++i) {
            const uint64_t channel = stream * hidden + i;
            weights.conv[(stream * taps + tap) * hidden + i] = conv[channel * taps + tap] * norm[channel];
          }
        }
      }
    }
    return weights;
  }

  // The format of a layer's rows, which the host reads from this tensor or, where it is left out, from another file.
  engram_row_format RowFormat(uint32_t index) const {
    const std::string name = EngramName(index) + "embed.weight";
    const engram_row_format stated = config_.engram.row_format;
    if (model_.Find(name) == nullptr) {
      if (stated != 0) return stated;
      throw PluginError(ENGRAM_NOT_FOUND, model_.FilePath(0) + ": tensor '" + name +
                                              "' is missing, and config.json has no engram.row_format, which says how "
                                              "rows that are elsewhere are stored");
    }
    const engram_row_format found = CheckTable(name, index);
    if (stated != 0 && stated != found) {
      throw PluginError(ENGRAM_INVALID_ARGUMENT,
                        Place(name) + ": holds rows of format " + engram::sdk::PackedFormatName(found) +
                            ", engram.row_format in config.json is " + engram::sdk::PackedFormatName(stated));
    }
    return found;
  }

  // Type and shape of a layer's table.
  engram_row_format CheckTable(const std::string& name, uint32_t index) const {
    const TensorInfo& table = model_.Get(name);
    const uint64_t head_dim = config_.engram.head_dim;
    if (table.shape.size() != 2 || table.shape[1] != head_dim) {
      throw PluginError(ENGRAM_INVALID_ARGUMENT, Place(name) + ": shape is " + ShapeText(table.shape) +
                                                     ", the configuration asks for [rows, " + std::to_string(head_dim) +
                                                     "]");
    }
    switch (table.type) {
      case TensorType::kBF16:
        return ENGRAM_ROW_BF16;
      case TensorType::kF16:
        return ENGRAM_ROW_F16;
      case TensorType::kF32:
        return ENGRAM_ROW_F32;
      case TensorType::kF8E4M3: {
        const std::string scale_name = EngramName(index) + "embed.scale";
        const TensorInfo& scale = Expect(scale_name, {table.shape[0], (head_dim + 31) / 32});
        if (scale.type != TensorType::kF8E8M0 && scale.type != TensorType::kU8) {
          throw PluginError(ENGRAM_UNSUPPORTED, Place(scale_name) + ": type is " + Name(scale.type) +
                                                    "; scales of an F8_E4M3 table are F8_E8M0");
        }
        return ENGRAM_ROW_FP8_E4M3_UE8M0;
      }
      default:
        throw PluginError(ENGRAM_UNSUPPORTED,
                          Place(name) + ": type is " + Name(table.type) + "; tables are BF16, F16, F32 or F8_E4M3");
    }
  }

  SafetensorsModel model_;
  const ModelConfig& config_;
  uint64_t num_bytes_ = 0;
};

}  // namespace

std::unique_ptr<void, FreeDeleter> AllocateAligned(uint64_t num_bytes) {
  constexpr uint64_t kAlignment = 64;
  const uint64_t rounded = (num_bytes + kAlignment - 1) / kAlignment * kAlignment + kAlignment;
  if (rounded < num_bytes) throw std::bad_alloc();
  std::unique_ptr<void, FreeDeleter> memory(std::aligned_alloc(kAlignment, rounded));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

Weights ReadWeights(const std::string& model_dir, const ModelConfig& config) {
  return Reader(model_dir, config).Read();
}

}  // namespace backbone_cpu
