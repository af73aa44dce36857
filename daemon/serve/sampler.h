// SPDX-License-Identifier: Apache-2.0
// Sampler: turns one choice's logits into its next token.
//
// Order of operations, each on what the one before left:
//   0. mask            only tokens that it allows are left
//   1. logit_bias      l[t] += bias[t]
//   2. penalties       repetition, over the distinct tokens of prompt and generated text: l > 0 ? l / r : l * r (Keskar
//                      et al., arXiv 1909.05858, as Hugging Face and vLLM do it); then, over generated tokens only,
//                      l -= frequency * count + presence * (count > 0) (OpenAI)
//   3. temperature     l /= temperature. Below kGreedyTemperature: the largest l wins, lowest id on ties, and 4-7 are
//   off
//   4. top_k           the k largest l, lower ids first on ties
//   5. top_p           the fewest most likely tokens that hold at least top_p of what is left (at least one)
//   6. min_p           tokens with p >= min_p * p_max
//   7. draw            one uniform number per token from the choice's own generator
// Log-probabilities are those of the untouched logits.
//
// Random numbers: xoshiro256** 1.0 (Blackman and Vigna), its state filled by SplitMix64 from
// Mix(seed ^ Mix(choice + 1)). Draws depend on seed, choice and the logits alone, never on what else is in the batch.
//
// One thread at a time. After construction Sample() allocates nothing.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/result.h"
#include "serve/generation.h"

namespace engram {

inline constexpr float kGreedyTemperature = 1e-5f;

// kDataLoss naming the token if a logit is NaN or infinite.
Status CheckLogits(std::span<const float> logits);

class Xoshiro256 {
 public:
  Xoshiro256(uint64_t seed, uint32_t choice);
  uint64_t Next();
  double NextUniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }  // [0, 1)

 private:
  std::array<uint64_t, 4> state_;
};

// How often each token occurred in a text. Sized once; never grows.
class TokenCounts {
 public:
  struct Entry {
    int32_t token = -1;
    uint32_t generated = 0;  // times it was generated; 0: only in the prompt
  };
  // Room for `max_distinct` tokens.
  explicit TokenCounts(size_t max_distinct);
  void AddPrompt(int32_t token) { Find(token); }
  void AddGenerated(int32_t token) { ++Find(token).generated; }
  std::span<const Entry> entries() const { return entries_; }

 private:
  Entry& Find(int32_t token);  // adds it if new
  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  // [power of two >= 2 * max_distinct] index into entries_ + 1; 0: free
};

// Working memory for all samplers of one thread.
class SamplerScratch {
 public:
  explicit SamplerScratch(uint32_t vocab_size);

 private:
  friend class Sampler;
  friend TokenLogprob LogprobOf(std::span<const float>, int32_t, uint32_t, SamplerScratch&);
  struct Candidate {
    float value;  // a logit or a weight
    int32_t id;
  };
  // Larger value first, then lower id: a total order, so selections are unique.
  static bool Before(const Candidate& a, const Candidate& b) {
    return a.value != b.value ? a.value > b.value : a.id < b.id;
  }
  // The k first candidates of `logits` in the order above, sorted, in candidates_.
  void SelectTop(std::span<const float> logits, size_t k);

  std::vector<float> logits_;          // [vocab_size]
  std::vector<float> weights_;         // [vocab_size]
  std::vector<double> block_sums_;     // [vocab_size / kWeightBlock, rounded up]
  std::vector<Candidate> candidates_;  // capacity vocab_size
};

class Sampler {
 public:
  // `params` has been checked (CheckRequest) and must outlive the sampler. `prompt` is not kept.
  Sampler(const SamplingParams& params, uint64_t seed, uint32_t choice, std::span<const int32_t> prompt,
          uint32_t max_tokens, uint32_t vocab_size);

  // The next token; it counts as generated from now on. kDataLoss if a logit is NaN or infinite. `logits` is
  // [vocab_size]. Where `allowed` is not empty, only tokens whose bits are set in it are chosen, at least one:
  // [vocab_size / 64, rounded up], lowest bit first.
  Result<int32_t> Sample(std::span<const float> logits, SamplerScratch& scratch,
                         std::span<const uint64_t> allowed = {});

 private:
  int32_t Choose(std::span<const float> logits, SamplerScratch& scratch);
  void ApplyChanges(std::span<float> logits) const;
  int32_t DrawAll(std::span<const float> logits, SamplerScratch& scratch);
  int32_t DrawTopP(double total, SamplerScratch& scratch);
  int32_t DrawTopK(std::span<const float> logits, SamplerScratch& scratch);
  int32_t DrawSorted(std::span<const SamplerScratch::Candidate> weighted, double top_p_mass);
  int32_t DrawWeighted(std::span<const SamplerScratch::Candidate> weighted, double sum);

  const SamplingParams* params_;
  Xoshiro256 random_;
  bool counts_tokens_;
  TokenCounts counts_;
};

// Natural-log probability of `token` under softmax(logits), and of the `num_top` most likely tokens, most likely first
// (lower ids first on ties); float64 inside. `logits` must be finite.
TokenLogprob LogprobOf(std::span<const float> logits, int32_t token, uint32_t num_top, SamplerScratch& scratch);

}  // namespace engram
