// SPDX-License-Identifier: Apache-2.0
//
// Shapes, types and families beyond the vectors': small random models against a double-precision forward pass.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"
#include "testing/random_model.h"

namespace backbone_cpu::testing {
namespace {

std::vector<ModelSpec> Specs() {
  std::vector<ModelSpec> specs;
  const auto add = [&specs](const std::string& name, auto change) {
    ModelSpec spec;
    spec.name = name;
    change(spec);
    specs.push_back(spec);
  };
  const auto paper = [](ModelSpec& s, uint32_t kernel) {
    s.variant = "paper";
    s.engram_layers = {0, 2};
    s.kernel = kernel;
  };
  add("Qwen3", [](ModelSpec& s) { s.model_type = "qwen3"; });
  add("Qwen3UntiedSharded", [](ModelSpec& s) {
    s.model_type = "qwen3";
    s.tie = false;
    s.sharded = true;
    s.weight_type = TensorType::kBF16;
  });
  add("Qwen3Moe", [](ModelSpec& s) {
    s.model_type = "qwen3_moe";
    s.experts = 5;
    s.experts_per_token = 3;
    s.moe_ffn = 19;
    s.norm_topk = true;
    s.weight_type = TensorType::kBF16;
  });
  add("Qwen2", [](ModelSpec& s) {
    s.model_type = "qwen2";
    s.qk_norm = false;
    s.qkv_bias = true;
  });
  add("Llama", [](ModelSpec& s) {
    s.model_type = "llama";
    s.qk_norm = false;
    s.eps = 1e-5;
    s.rope = R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                 "original_max_position_embeddings": 32})";
  });
  add("LlamaDefaultHeadDimWithBias", [](ModelSpec& s) {
    s.model_type = "llama";
    s.qk_norm = false;
    s.qkv_bias = s.output_bias = true;
    s.hidden = 40;
    s.rope = R"({"type": "linear", "factor": 4.0})";
  });
  add("Mistral", [](ModelSpec& s) {
    s.model_type = "mistral";
    s.qk_norm = false;
    s.kv_heads = 1;
    s.weight_type = TensorType::kF16;
  });
  add("OneHeadPerGroupOddHidden", [](ModelSpec& s) {
    s.hidden = 37;
    s.heads = s.kv_heads = 3;
    s.head_dim = 6;
    s.weight_type = TensorType::kF16;
  });
  add("HeadDimOfTwo", [](ModelSpec& s) { s.head_dim = 2; });
  add("PaperKernel1F16Rows", [&](ModelSpec& s) {
    paper(s, 1);
    s.row_type = TensorType::kF16;
    s.engram_head_dim = 9;
  });
  add("PaperKernel2TwoStreams", [&](ModelSpec& s) {
    paper(s, 2);
    s.streams = 2;
    s.row_type = TensorType::kBF16;
    s.weight_type = TensorType::kBF16;
  });
  add("PaperKernel5ThreeStreamsFourGrams", [&](ModelSpec& s) {
    paper(s, 5);
    s.streams = 3;
    s.max_ngram = 4;
    s.engram_heads = 3;
  });
  add("PaperWithoutConvolution", [&](ModelSpec& s) { paper(s, 0); });
  add("PaperFp8HeadDim40", [&](ModelSpec& s) {
    paper(s, 4);
    s.engram_head_dim = 40;
    s.row_type = TensorType::kF8E4M3;
    s.max_ngram = 2;
  });
  add("PaperFiveStreamsShortSinkhorn", [&](ModelSpec& s) {
    paper(s, 3);
    s.streams = 5;
    s.sinkhorn_iterations = 1;
  });
  add("DeepseekOneStream", [](ModelSpec& s) {
    s.variant = "deepseek_v41";
    s.engram_layers = {1};
    s.engram_heads = 3;
    s.row_type = TensorType::kF8E4M3;
    s.engram_head_dim = 33;
  });
  add("DeepseekThreeStreamsOddWidth", [](ModelSpec& s) {
    s.variant = "deepseek_v41";
    s.engram_layers = {0, 1, 2};
    s.streams = 3;
    s.hidden = 19;
    s.max_ngram = 5;
    s.engram_heads = 1;
  });
  add("MoeTwoSharedFirstDense", [&](ModelSpec& s) {
    paper(s, 2);
    s.experts = 7;
    s.experts_per_token = 2;
    s.moe_ffn = 11;
    s.shared_experts = 2;
    s.first_dense = 1;
    s.tie = false;
  });
  add("MoeAllExperts", [](ModelSpec& s) {
    s.experts = s.experts_per_token = 3;
    s.moe_ffn = 8;
    s.norm_topk = true;
    s.streams = 2;
  });
  return specs;
}

class FamilyTest : public ::testing::TestWithParam<ModelSpec> {};

void ExpectClose(const std::vector<float>& got, const std::vector<double>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  double worst = 0;
  double largest = 1;
  for (size_t i = 0; i < want.size(); ++i) {
    worst = std::max(worst, std::isnan(got[i]) ? INFINITY : std::fabs(got[i] - want[i]));
    largest = std::max(largest, std::fabs(want[i]));
  }
  EXPECT_LE(worst, tolerance * largest);
}

TEST_P(FamilyTest, AgreesWithDoublePrecision) {
  const RandomModel model = MakeRandomModel(GetParam(), 42);
  const TemporaryDirectory directory;
  WriteModel(model, directory.path());
  std::vector<int32_t> tokens;
  for (int i = 0; i < 37; ++i) tokens.push_back((i * 29 + i * i) % 101);
  for (const bool memory_off : {false, true}) {
    const ReferenceResult expected = RunReference(model, tokens, memory_off);
    for (const char* kernels : {"", "avx2", "ref"}) {
      std::vector<std::pair<std::string, std::string>> options = {{"threads", "2"}, {"max_batch_tokens", "37"}};
      if (kernels[0] != '\0' && ChooseKernels(kernels) == nullptr) continue;
      options.emplace_back("kernels", kernels);
      OpenedModel opened(directory.path(), model.addresser, options);
      for (const uint32_t chunk : {37u, 5u}) {
        SCOPED_TRACE(opened.info().device + std::string(" chunk ") + std::to_string(chunk));
        const auto sequence = opened.New(37, tokens);
        const StepResult result = opened.RunAll(sequence, chunk, memory_off);
        for (size_t t = 0; t < tokens.size(); ++t) {
          ExpectClose(result.logits[t], expected.logits[t], 2e-5);
          ExpectClose(result.hidden[t], expected.hidden[t], 2e-5);
          for (size_t layer = 0; !memory_off && layer < expected.gates.size(); ++layer) {
            ExpectClose(result.gates[layer][t], expected.gates[layer][t], 1e-5);
          }
        }
        opened.Free(sequence);
      }
    }
  }
}

TEST_P(FamilyTest, LensAgreesWithDoublePrecision) {
  const RandomModel model = MakeRandomModel(GetParam(), 42);
  const TemporaryDirectory directory;
  WriteModel(model, directory.path());
  std::vector<int32_t> tokens;
  for (int i = 0; i < 23; ++i) tokens.push_back((i * 31 + i * i) % 101);
  for (const bool memory_off : {false, true}) {
    const ReferenceResult expected = RunReference(model, tokens, memory_off);
    OpenedModel opened(directory.path(), model.addresser, {{"threads", "2"}, {"max_batch_tokens", "23"}});
    const auto plain = opened.New(23, tokens);
    const StepResult before = opened.RunAll(plain, 7, memory_off);
    opened.LookClosely();
    const auto sequence = opened.New(23, tokens);
    const StepResult result = opened.RunAll(sequence, 7, memory_off);
    EXPECT_EQ(result.logits, before.logits) << "looking changed what is seen";
    ASSERT_EQ(result.lens.size(), expected.lens.size());
    EXPECT_EQ(result.lens.back(), result.logits);
    for (size_t layer = 0; layer < expected.lens.size(); ++layer) {
      for (size_t t = 0; t < tokens.size(); ++t) ExpectClose(result.lens[layer][t], expected.lens[layer][t], 2e-5);
    }
    ASSERT_EQ(result.memory_norms.size(), opened.info().num_engram_layers);
    for (size_t layer = 0; layer < result.memory_norms.size(); ++layer) {
      for (size_t t = 0; t < tokens.size(); ++t) {
        const std::vector<double> none(opened.info().num_streams, 0.0);
        ExpectClose(result.memory_norms[layer][t], memory_off ? none : expected.memory_norms[layer][t], 2e-5);
        ExpectClose(result.stream_norms[layer][t], memory_off ? none : expected.stream_norms[layer][t], 2e-5);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, FamilyTest, ::testing::ValuesIn(Specs()),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace backbone_cpu::testing
