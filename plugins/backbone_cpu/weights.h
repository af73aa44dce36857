// SPDX-License-Identifier: Apache-2.0
//
// The resident weights of a model. Matrices keep the type they are stored in (products widen them on the fly, so memory
// traffic is that of the file); everything that is a vector is held as float32.
#ifndef BACKBONE_CPU_WEIGHTS_H_
#define BACKBONE_CPU_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "engram/host.h"
#include "engram/safetensors.h"
#include "model_config.h"

namespace backbone_cpu {

struct FreeDeleter {
  void operator()(void* memory) const { std::free(memory); }
};

// 64-byte aligned, uninitialised; throws std::bad_alloc. Large blocks take physical memory only when touched.
std::unique_ptr<void, FreeDeleter> AllocateAligned(uint64_t num_bytes);

// [rows][cols], row-major: y = W x.
struct Matrix {
  engram::sdk::TensorType type = engram::sdk::TensorType::kF32;  // kBF16, kF16 or kF32
  size_t rows = 0;
  size_t cols = 0;
  std::unique_ptr<void, FreeDeleter> values;

  const void* Row(size_t row) const {
    return static_cast<const char*>(values.get()) + row * cols * engram::sdk::NumBytes(type);
  }
};

using Vector = std::vector<float>;

// SwiGLU: down(silu(gate(x)) * up(x)).
struct MlpWeights {
  Matrix gate;  // [intermediate][hidden]
  Matrix up;    // [intermediate][hidden]
  Matrix down;  // [hidden][intermediate]
};

// One hyper-connection site.
struct MixWeights {
  Matrix fn;     // [2S + S*S][S*d], or [S][S*d] for the head; float32
  Vector base;   // [fn.rows]
  Vector scale;  // [3], or [1] for the head
};

struct EngramWeights {
  Matrix key;         // [S*d][m]
  Matrix value;       // [d][m]
  Vector key_norm;    // [S*d]
  Vector query_norm;  // [S*d]
  Vector conv;        // [S][kernel_size][d]: conv.weight transposed, times conv_norm; empty without convolution
};

struct LayerWeights {
  Vector input_norm;      // [d]
  Vector post_norm;       // [d]
  Matrix q, k, v, o;      // [query_width][d], [kv_width][d] twice, [d][query_width]
  Vector q_bias, k_bias;  // empty: none
  Vector v_bias, o_bias;
  Vector q_norm, k_norm;  // [head_dim]; empty: none
  MlpWeights mlp;         // the dense MLP, or the shared expert of a MoE layer (may be empty)
  Matrix router;          // [num_experts][d]; MoE layers
  std::vector<MlpWeights> experts;
  MixWeights attention_mix, mlp_mix;  // S > 1
  std::unique_ptr<EngramWeights> engram;
};

struct Weights {
  Matrix embedding;  // [vocab][d]
  Matrix head;       // [vocab][d]; empty when tied to the embedding
  Vector final_norm;
  MixWeights head_mix;  // S > 1
  std::vector<LayerWeights> layers;
  engram_row_format row_format = ENGRAM_ROW_BF16;  // of the tables; meaningless for a plain model
  uint64_t num_bytes = 0;                          // resident

  const Matrix& output() const { return head.rows == 0 ? embedding : head; }
};

// Reads everything but the Engram tables, of which it checks type and shape only. Errors are PluginError and name file
// and tensor, and both shapes where they differ.
Weights ReadWeights(const std::string& model_dir, const ModelConfig& config);

}  // namespace backbone_cpu

#endif  // BACKBONE_CPU_WEIGHTS_H_
