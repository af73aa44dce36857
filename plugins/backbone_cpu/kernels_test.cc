// SPDX-License-Identifier: Apache-2.0
//
// Every kernel set against ref, at sizes from nothing to beyond two vectors and at real shapes, with unaligned
// buffers between canaries; and the independence of results from the shape of a call, bit by bit.
#include "kernels/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace backbone_cpu {
namespace {

constexpr float kCanary = -12345.5f;
constexpr size_t kGuard = 17;

// `n` floats one element off alignment, between canaries.
class Guarded {
 public:
  explicit Guarded(size_t n) : n_(n), storage_(n + 2 * kGuard, kCanary) {}
  Guarded(const std::vector<float>& values) : Guarded(values.size()) {
    std::copy(values.begin(), values.end(), data());
  }
  float* data() { return storage_.data() + kGuard; }
  std::vector<float> values() const { return {storage_.begin() + kGuard, storage_.end() - kGuard}; }
  void ExpectIntact() const {
    for (size_t i = 0; i < kGuard; ++i) {
      ASSERT_EQ(storage_[i], kCanary) << "before, " << i;
      ASSERT_EQ(storage_[kGuard + n_ + i], kCanary) << "after, " << i;
    }
  }

 private:
  size_t n_;
  std::vector<float> storage_;
};

std::vector<size_t> Sizes() {
  std::vector<size_t> sizes;
  for (size_t n = 0; n <= 34; ++n) sizes.push_back(n);
  for (size_t n : {47, 48, 63, 64, 65, 96, 127, 128, 131, 160, 256, 1000}) sizes.push_back(n);
  return sizes;
}

class KernelsTest : public ::testing::TestWithParam<const Kernels*> {
 protected:
  void SetUp() override {
    if (!GetParam()->supported()) GTEST_SKIP() << "this processor has no " << GetParam()->name;
  }
  const Kernels& tested() const { return *GetParam(); }

  std::vector<float> Random(size_t n, float spread = 1.0f) {
    std::uniform_real_distribution<float> uniform(-spread, spread);
    std::vector<float> values(n);
    for (float& value : values) value = uniform(random_);
    return values;
  }
  std::vector<uint16_t> RandomHalves(size_t n, bool is_bf16) {
    std::vector<uint16_t> bits(n);
    for (uint16_t& value : bits) {
      // Sign, an exponent near zero's, any mantissa.
      const uint32_t r = static_cast<uint32_t>(random_());
      value = is_bf16 ? static_cast<uint16_t>((r & 0x807f) | (122 + (r >> 16) % 6) << 7)
                      : static_cast<uint16_t>((r & 0x83ff) | (10 + (r >> 16) % 6) << 10);
    }
    return bits;
  }

  void ExpectNear(const std::vector<float>& got, const std::vector<float>& want, float tolerance) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], tolerance * (1 + std::fabs(want[i]))) << i << " of " << want.size();
    }
  }

  template <typename Function>
  void ForEachSize(const Function& function) {
    for (const size_t n : Sizes()) {
      SCOPED_TRACE("n " + std::to_string(n));
      function(n);
      if (HasFatalFailure()) return;
    }
  }

  // Runs `call(kernels, output)` on the tested set and on ref from the same initial output.
  template <typename Call>
  void CompareInPlace(const std::vector<float>& initial, float tolerance, const Call& call) {
    Guarded got(initial);
    Guarded want(initial);
    call(tested(), got.data());
    call(kKernelsRef, want.data());
    got.ExpectIntact();
    ExpectNear(got.values(), want.values(), tolerance);
  }

  template <typename Stored>
  void TestMatmul(void (*Kernels::*matmul)(const Stored*, const float*, size_t, float*, size_t, size_t, size_t, size_t),
                  const std::vector<Stored>& pool) {
    struct Shape {
      size_t rows, tokens, k;
    };
    std::vector<Shape> shapes;
    for (size_t k : Sizes()) shapes.push_back({9, 1, k});
    for (size_t rows = 0; rows <= 10; ++rows) {
      for (size_t tokens = 0; tokens <= 14; ++tokens) shapes.push_back({rows, tokens, 37});
    }
    shapes.push_back({64, 33, 256});
    shapes.push_back({31, 150, 1000});  // more than one block of tokens
    for (const Shape& s : shapes) {
      SCOPED_TRACE(std::to_string(s.rows) + " rows, " + std::to_string(s.tokens) + " tokens, k " + std::to_string(s.k));
      ASSERT_LE(s.rows * s.k + 1, pool.size());
      const Stored* w = pool.data() + 1;
      const size_t x_stride = s.k + 3;
      const size_t y_stride = s.rows + 2;
      Guarded x(Random(s.tokens * x_stride));
      const std::vector<float> initial(s.tokens * y_stride, 7.0f);  // the gaps between rows must stay 7
      CompareInPlace(initial, 3e-5f, [&](const Kernels& kernels, float* y) {
        (kernels.*matmul)(w, x.data(), x_stride, y, y_stride, s.rows, s.tokens, s.k);
      });
      if (HasFatalFailure()) return;
      // One token, one row: the same bits as within the big call.
      Guarded all(s.tokens * s.rows);
      (tested().*matmul)(w, x.data(), x_stride, all.data(), s.rows, s.rows, s.tokens, s.k);
      for (size_t t = 0; t < s.tokens; ++t) {
        Guarded one(s.rows);
        (tested().*matmul)(w, x.data() + t * x_stride, x_stride, one.data(), s.rows, s.rows, 1, s.k);
        ASSERT_EQ(0, std::memcmp(one.data(), all.data() + t * s.rows, s.rows * sizeof(float))) << "token " << t;
        for (size_t r = 0; r < s.rows; ++r) {
          float single = 0;
          (tested().*matmul)(w + r * s.k, x.data() + t * x_stride, x_stride, &single, 1, 1, 1, s.k);
          ASSERT_EQ(single, one.data()[r]) << "row " << r;
        }
      }
    }
  }

  std::mt19937 random_{7};
};

TEST_P(KernelsTest, MatmulF32) {
  TestMatmul(&Kernels::matmul_f32, Random(31 * 1000 + 1));
}
TEST_P(KernelsTest, MatmulBf16) {
  TestMatmul(&Kernels::matmul_bf16, RandomHalves(31 * 1000 + 1, true));
}
TEST_P(KernelsTest, MatmulF16) {
  TestMatmul(&Kernels::matmul_f16, RandomHalves(31 * 1000 + 1, false));
}

TEST_P(KernelsTest, WeightedSum) {
  for (const size_t rows : {0, 1, 2, 3, 4, 5, 9}) {
    for (const size_t positions : {0, 1, 7, 16}) {
      ForEachSize([&](size_t n) {
        const size_t out_stride = n + 3;
        const size_t weight_stride = positions + 2;
        const std::vector<float> weights = Random(rows * weight_stride);
        const std::vector<float> values = Random(positions * n);
        const std::vector<float> initial = Random(rows * out_stride);
        CompareInPlace(initial, 1e-5f, [&](const Kernels& kernels, float* out) {
          kernels.weighted_sum(out, out_stride, weights.data(), weight_stride, values.data(), rows, positions, n);
        });
        // A row alone, and positions in two parts: the same bits.
        Guarded whole(initial);
        Guarded parts(initial);
        tested().weighted_sum(whole.data(), out_stride, weights.data(), weight_stride, values.data(), rows, positions,
                              n);
        const size_t half = positions / 2;
        for (size_t r = 0; r < rows; ++r) {
          float* out = parts.data() + r * out_stride;
          const float* w = weights.data() + r * weight_stride;
          tested().weighted_sum(out, out_stride, w, weight_stride, values.data(), 1, half, n);
          tested().weighted_sum(out, out_stride, w + half, weight_stride, values.data() + half * n, 1, positions - half,
                                n);
        }
        ASSERT_EQ(whole.values(), parts.values());
      });
    }
  }
}

TEST_P(KernelsTest, Softmax) {
  ForEachSize([&](size_t n) {
    if (n == 0) return;
    for (const float spread : {1.0f, 300.0f}) {
      const std::vector<float> x = Random(n, spread);
      CompareInPlace(x, 2e-6f, [&](const Kernels& kernels, float* values) { kernels.softmax(values, n, 0.37f); });
    }
    CompareInPlace(std::vector<float>(n, -80.0f), 2e-6f,
                   [&](const Kernels& kernels, float* values) { kernels.softmax(values, n, 1.0f); });
  });
}

TEST_P(KernelsTest, Reductions) {
  ForEachSize([&](size_t n) {
    Guarded a(Random(n)), aw(Random(n)), b(Random(n)), bw(Random(n));
    const float dot = tested().weighted_dot(a.data(), aw.data(), b.data(), bw.data(), n);
    EXPECT_NEAR(dot, kKernelsRef.weighted_dot(a.data(), aw.data(), b.data(), bw.data(), n), 1e-4f);
    if (n == 0) return;
    const float want = kKernelsRef.rms_scale(a.data(), n, 1e-6f);
    EXPECT_NEAR(tested().rms_scale(a.data(), n, 1e-6f), want, 1e-5f * want);
  });
}

TEST_P(KernelsTest, Elementwise) {
  ForEachSize([&](size_t n) {
    const std::vector<float> a = Random(n, 4.0f);
    const std::vector<float> b = Random(n, 4.0f);
    const std::vector<float> out = Random(n);
    CompareInPlace(out, 1e-6f, [&](const Kernels& k, float* y) { k.scale_by(y, a.data(), b.data(), 0.7f, n); });
    CompareInPlace(out, 1e-6f, [&](const Kernels& k, float* y) { k.scale_by(y, y, b.data(), 0.7f, n); });
    CompareInPlace(out, 1e-5f, [&](const Kernels& k, float* y) { k.axpy(y, a.data(), -1.3f, n); });
    CompareInPlace(out, 1e-5f, [&](const Kernels& k, float* y) { k.conv_tap(y, a.data(), b.data(), 0.9f, n); });
    CompareInPlace(out, 1e-5f, [&](const Kernels& k, float* y) { k.add_gated_conv(y, a.data(), b.data(), 0.6f, n); });
    for (const float spread : {2.0f, 60.0f, 1000.0f}) {
      CompareInPlace(Random(n, spread), 2e-6f, [&](const Kernels& k, float* y) { k.silu_mul(y, b.data(), n); });
    }
  });
}

TEST_P(KernelsTest, Rotate) {
  ForEachSize([&](size_t half) {
    const std::vector<float> cosine = Random(half);
    const std::vector<float> sine = Random(half);
    CompareInPlace(Random(2 * half), 1e-6f,
                   [&](const Kernels& k, float* x) { k.rotate(x, cosine.data(), sine.data(), half); });
  });
}

TEST_P(KernelsTest, NanIsKept) {
  std::vector<float> gate(33, 1.0f);
  const std::vector<float> up(33, 1.0f);
  gate[3] = gate[32] = NAN;
  tested().silu_mul(gate.data(), up.data(), gate.size());
  EXPECT_TRUE(std::isnan(gate[3]) && std::isnan(gate[32]));
  EXPECT_FALSE(std::isnan(gate[4]));
}

// Exact for every bit pattern, at odd addresses and any length.
TEST_P(KernelsTest, WideningIsExact) {
  const auto compare = [&](void (*Kernels::*widen)(float*, const void*, size_t), const std::vector<uint8_t>& bytes,
                           size_t n) {
    Guarded got(n), want(n);
    (tested().*widen)(got.data(), bytes.data() + 1, n);
    (kKernelsRef.*widen)(want.data(), bytes.data() + 1, n);
    got.ExpectIntact();
    for (size_t i = 0; i < n; ++i) {
      const float g = got.data()[i];
      const float w = want.data()[i];
      ASSERT_TRUE((std::isnan(g) && std::isnan(w)) || std::memcmp(&g, &w, sizeof(g)) == 0)
          << i << ": " << g << ", " << w;
    }
  };
  std::vector<uint8_t> halves(1);
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    halves.push_back(static_cast<uint8_t>(bits));
    halves.push_back(static_cast<uint8_t>(bits >> 8));
  }
  for (const size_t n : {0, 1, 7, 8, 9, 15, 16, 17, 33, 0x10000}) {
    compare(&Kernels::widen_bf16, halves, n);
    compare(&Kernels::widen_f16, halves, n);
  }
  for (const size_t n : {0, 1, 31, 32, 33, 64, 65, 256}) {
    std::vector<uint8_t> row(1 + n + (n + 31) / 32);
    for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<uint8_t>(i * 83 + 5);
    compare(&Kernels::widen_fp8, row, n);
  }
}

std::vector<const Kernels*> All() {
  size_t count = 0;
  const Kernels* const* all = AllKernels(&count);
  return {all, all + count};
}

INSTANTIATE_TEST_SUITE_P(Sets, KernelsTest, ::testing::ValuesIn(All()),
                         [](const auto& param) { return std::string(param.param->name); });

// The specification itself, on values known from the formats.
TEST(RefTest, StoredFormats) {
  float out[6] = {};
  const uint8_t fp8[] = {0x38, 0xb8, 0x7e, 0x01, 0x08, 0x7f, 128};  // 1, -1, 448, 2^-9, 2^-6, NaN, all times 2
  kKernelsRef.widen_fp8(out, fp8, 6);
  EXPECT_EQ(out[0], 2.0f);
  EXPECT_EQ(out[1], -2.0f);
  EXPECT_EQ(out[2], 896.0f);
  EXPECT_EQ(out[3], 0x1p-8f);
  EXPECT_EQ(out[4], 0x1p-5f);
  EXPECT_TRUE(std::isnan(out[5]));
  const uint16_t f16[] = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00};
  kKernelsRef.widen_f16(out, f16, 5);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  EXPECT_EQ(out[2], 0x1p-24f);
  EXPECT_EQ(out[3], 65504.0f);
  EXPECT_TRUE(std::isinf(out[4]));
  const uint16_t bf16[] = {0x3f80, 0x4049};
  kKernelsRef.widen_bf16(out, bf16, 2);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], 3.140625f);
}

TEST(ChooseTest, NamesAndBest) {
  EXPECT_EQ(ChooseKernels("nonsense"), nullptr);
  EXPECT_EQ(ChooseKernels("ref"), &kKernelsRef);
  const Kernels* best = nullptr;
  for (const Kernels* kernels : All()) {
    if (best == nullptr && kernels->supported()) best = kernels;
  }
  EXPECT_EQ(ChooseKernels(""), best);
}

}  // namespace
}  // namespace backbone_cpu
