// SPDX-License-Identifier: Apache-2.0
#include "serve/sampler.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

#include "serve/sampling_math.h"

namespace engram {
namespace {

// Up to here a heap over one scan beats a selection over a copy of the vocabulary: its branch is almost never taken.
constexpr size_t kHeapSelection = 1024;

// In place of the logits of tokens that are not allowed. Finite, as everything below needs, and out of reach of all
// others, which are cut off at a tenth of it.
constexpr float kForbidden = -1e30f;
constexpr float kLeastAllowed = -1e29f;

void Forbid(std::span<float> logits, std::span<const uint64_t> allowed) {
  for (size_t begin = 0; begin < logits.size(); begin += 64) {
    const uint64_t bits = allowed[begin / 64];
    const std::span<float> block = logits.subspan(begin, std::min<size_t>(64, logits.size() - begin));
    if (bits == 0) {
      std::fill(block.begin(), block.end(), kForbidden);
      continue;
    }
    if (bits == ~uint64_t{0}) {
      for (float& logit : block) logit = std::max(logit, kLeastAllowed);
      continue;
    }
    // Without a branch, which bits of a mixed word would mislead half the time.
    for (size_t i = 0; i < block.size(); ++i) {
      const uint32_t keep = 0u - static_cast<uint32_t>(bits >> i & 1);
      block[i] = std::bit_cast<float>((std::bit_cast<uint32_t>(std::max(block[i], kLeastAllowed)) & keep) |
                                      (std::bit_cast<uint32_t>(kForbidden) & ~keep));
    }
  }
}

uint64_t Mix(uint64_t x) {  // SplitMix64's output function
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

bool CountsTokens(const SamplingParams& p) {
  return p.repetition_penalty != 1.0f || p.presence_penalty != 0.0f || p.frequency_penalty != 0.0f;
}

}  // namespace

Status CheckLogits(std::span<const float> logits) {
  if (AllFinite(logits)) return {};
  const auto bad = std::find_if(logits.begin(), logits.end(), [](float l) { return !std::isfinite(l); });
  return DataLoss("the backbone's logit of token " + std::to_string(bad - logits.begin()) + " is " +
                  (std::isnan(*bad) ? "NaN" : "infinite"));
}

Xoshiro256::Xoshiro256(uint64_t seed, uint32_t choice) {
  uint64_t x = Mix(seed ^ Mix(uint64_t{choice} + 1));
  for (uint64_t& word : state_) word = Mix(x += 0x9e3779b97f4a7c15u);
}

uint64_t Xoshiro256::Next() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

TokenCounts::TokenCounts(size_t max_distinct) {
  if (max_distinct == 0) return;
  entries_.reserve(max_distinct);
  slots_.resize(std::bit_ceil(2 * max_distinct));
}

TokenCounts::Entry& TokenCounts::Find(int32_t token) {
  const size_t mask = slots_.size() - 1;
  size_t at = Mix(static_cast<uint32_t>(token)) & mask;
  for (; slots_[at] != 0; at = (at + 1) & mask)
    if (entries_[slots_[at] - 1].token == token) return entries_[slots_[at] - 1];
  assert(entries_.size() < entries_.capacity());
  entries_.push_back({token, 0});
  slots_[at] = static_cast<uint32_t>(entries_.size());
  return entries_.back();
}

SamplerScratch::SamplerScratch(uint32_t vocab_size)
    : logits_(vocab_size), weights_(vocab_size), block_sums_((vocab_size + kWeightBlock - 1) / kWeightBlock) {
  candidates_.reserve(vocab_size);
}

void SamplerScratch::SelectTop(std::span<const float> logits, size_t k) {
  k = std::min(k, logits.size());
  candidates_.clear();
  if (k == 0) return;
  if (k <= kHeapSelection) {
    // A heap whose top is the last of the kept. Ids ascend, so an equal value never displaces an earlier one.
    for (size_t i = 0; i < k; ++i) candidates_.push_back({logits[i], static_cast<int32_t>(i)});
    std::make_heap(candidates_.begin(), candidates_.end(), Before);
    float bar = candidates_.front().value;
    for (size_t i = k; i < logits.size(); ++i) {
      if (logits[i] <= bar) continue;
      std::pop_heap(candidates_.begin(), candidates_.end(), Before);
      candidates_.back() = {logits[i], static_cast<int32_t>(i)};
      std::push_heap(candidates_.begin(), candidates_.end(), Before);
      bar = candidates_.front().value;
    }
  } else {
    for (size_t i = 0; i < logits.size(); ++i) candidates_.push_back({logits[i], static_cast<int32_t>(i)});
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(k - 1), candidates_.end(),
                     Before);
    candidates_.resize(k);
  }
  std::sort(candidates_.begin(), candidates_.end(), Before);
}

Sampler::Sampler(const SamplingParams& params, uint64_t seed, uint32_t choice, std::span<const int32_t> prompt,
                 uint32_t max_tokens, uint32_t vocab_size)
    : params_(&params),
      random_(seed, choice),
      counts_tokens_(CountsTokens(params)),
      counts_(counts_tokens_ ? std::min<size_t>(prompt.size() + max_tokens, vocab_size) : 0) {
  if (!counts_tokens_) return;
  for (const int32_t token : prompt) counts_.AddPrompt(token);
}

Result<int32_t> Sampler::Sample(std::span<const float> logits, SamplerScratch& scratch,
                                std::span<const uint64_t> allowed) {
  assert(logits.size() == scratch.weights_.size());
  ENGRAM_CHECK_OK(CheckLogits(logits));
  if (counts_tokens_ || !params_->logit_bias.empty() || !allowed.empty()) {
    std::copy(logits.begin(), logits.end(), scratch.logits_.begin());
    ApplyChanges(scratch.logits_);
    // Last, so that no change brings a forbidden token back.
    if (!allowed.empty()) Forbid(scratch.logits_, allowed);
    logits = scratch.logits_;
  }
  const int32_t token = Choose(logits, scratch);
  if (counts_tokens_) counts_.AddGenerated(token);
  return token;
}

void Sampler::ApplyChanges(std::span<float> logits) const {
  for (const auto& [token, bias] : params_->logit_bias) logits[static_cast<size_t>(token)] += bias;
  const float repetition = params_->repetition_penalty;
  for (const TokenCounts::Entry& entry : counts_.entries()) {
    float& l = logits[static_cast<size_t>(entry.token)];
    l = l > 0 ? l / repetition : l * repetition;
    if (entry.generated > 0)
      l -= params_->frequency_penalty * static_cast<float>(entry.generated) + params_->presence_penalty;
    // A logit near the end of float's range may overflow here; what follows needs finite values.
    l = std::clamp(l, -3e38f, 3e38f);
  }
}

int32_t Sampler::Choose(std::span<const float> logits, SamplerScratch& scratch) {
  if (params_->temperature < kGreedyTemperature) return static_cast<int32_t>(FirstEqual(logits, MaxValue(logits)));
  if (params_->top_k > 0 && static_cast<size_t>(params_->top_k) < logits.size()) return DrawTopK(logits, scratch);
  return DrawAll(logits, scratch);
}

int32_t Sampler::DrawTopK(std::span<const float> logits, SamplerScratch& scratch) {
  scratch.SelectTop(logits, static_cast<size_t>(params_->top_k));
  // Sorted: forbidden ones are at the end.
  while (scratch.candidates_.back().value == kForbidden) scratch.candidates_.pop_back();
  const double max = static_cast<double>(scratch.candidates_.front().value);
  double total = 0;
  for (SamplerScratch::Candidate& c : scratch.candidates_) {
    const double weight = std::exp((static_cast<double>(c.value) - max) / static_cast<double>(params_->temperature));
    c.value = static_cast<float>(weight);
    total += static_cast<double>(c.value);
  }
  return DrawSorted(scratch.candidates_, static_cast<double>(params_->top_p) * total);
}

int32_t Sampler::DrawAll(std::span<const float> logits, SamplerScratch& scratch) {
  std::span<float> weights = scratch.weights_;
  double total = ExpWeights(logits, MaxValue(logits), 1.0f / params_->temperature, weights, scratch.block_sums_);
  if (params_->top_p < 1.0f) return DrawTopP(total, scratch);
  if (params_->min_p > 0.0f) {
    // The largest weight is 1.
    total = 0;
    for (size_t b = 0; b < scratch.block_sums_.size(); ++b) {
      double sum = 0;
      const size_t end = std::min(weights.size(), (b + 1) * kWeightBlock);
      for (size_t i = b * kWeightBlock; i < end; ++i) {
        if (weights[i] < params_->min_p) weights[i] = 0;
        sum += static_cast<double>(weights[i]);
      }
      total += scratch.block_sums_[b] = sum;
    }
  }
  double target = random_.NextUniform() * total;
  size_t block = 0;
  for (; block + 1 < scratch.block_sums_.size() && target >= scratch.block_sums_[block]; ++block)
    target -= scratch.block_sums_[block];
  // Rounding may leave the target past the last weight of the block, or at a block of zeros at the end: then the
  // nearest token before that has a weight.
  size_t last = weights.size();
  for (size_t i = block * kWeightBlock; i < std::min(weights.size(), (block + 1) * kWeightBlock); ++i) {
    if (weights[i] <= 0) continue;
    last = i;
    target -= static_cast<double>(weights[i]);
    if (target < 0) break;
  }
  if (last == weights.size())
    for (last = block * kWeightBlock; last > 0 && weights[last] <= 0;) --last;
  return static_cast<int32_t>(last);
}

int32_t Sampler::DrawTopP(double total, SamplerScratch& scratch) {
  // All tokens below (1 - p) * total / V together hold less than (1 - p) * total: none of them is needed to reach p.
  const double target = static_cast<double>(params_->top_p) * total;
  const double floor = (total - target) / static_cast<double>(scratch.weights_.size());
  std::vector<SamplerScratch::Candidate>& candidates = scratch.candidates_;
  candidates.clear();
  for (size_t i = 0; i < scratch.weights_.size(); ++i)
    if (static_cast<double>(scratch.weights_[i]) >= floor)
      candidates.push_back({scratch.weights_[i], static_cast<int32_t>(i)});
  // Halving the range that holds the border keeps this linear, also for a flat distribution where a sort would be slow.
  const auto at = [&](size_t i) { return candidates.begin() + static_cast<ptrdiff_t>(i); };
  size_t begin = 0;
  size_t end = candidates.size();
  double before = 0;  // weight of those in front of `begin`, all of which are kept
  while (end - begin > 32) {
    const size_t middle = begin + (end - begin) / 2;
    std::nth_element(at(begin), at(middle), at(end), SamplerScratch::Before);
    double half = 0;
    for (size_t i = begin; i < middle; ++i) half += static_cast<double>(candidates[i].value);
    if (before + half >= target) {
      end = middle;
    } else {
      before += half;
      begin = middle;
    }
  }
  std::sort(at(begin), at(end), SamplerScratch::Before);
  for (; begin < end && before < target; ++begin) before += static_cast<double>(candidates[begin].value);
  candidates.resize(begin);

  // The largest weight is 1.
  if (params_->min_p > 0)
    std::erase_if(candidates, [this](const SamplerScratch::Candidate& c) { return c.value < params_->min_p; });
  double sum = 0;
  for (const SamplerScratch::Candidate& c : candidates) sum += static_cast<double>(c.value);
  return DrawWeighted(candidates, sum);
}

int32_t Sampler::DrawSorted(std::span<const SamplerScratch::Candidate> weighted, double top_p_mass) {
  const float min_weight = params_->min_p * weighted.front().value;
  size_t kept = 0;
  double sum = 0;
  for (const SamplerScratch::Candidate& c : weighted) {
    if (kept > 0 && (c.value < min_weight || (params_->top_p < 1.0f && sum >= top_p_mass))) break;
    sum += static_cast<double>(c.value);
    ++kept;
  }
  return DrawWeighted(weighted.first(kept), sum);
}

int32_t Sampler::DrawWeighted(std::span<const SamplerScratch::Candidate> weighted, double sum) {
  double target = random_.NextUniform() * sum;
  for (const SamplerScratch::Candidate& c : weighted.first(weighted.size() - 1)) {
    target -= static_cast<double>(c.value);
    if (target < 0) return c.id;
  }
  return weighted.back().id;
}

TokenLogprob LogprobOf(std::span<const float> logits, int32_t token, uint32_t num_top, SamplerScratch& scratch) {
  const float max = MaxValue(logits);
  const double log_sum = static_cast<double>(max) + std::log(SumExp(logits, max));
  const auto logprob = [&](float logit) { return static_cast<float>(static_cast<double>(logit) - log_sum); };
  TokenLogprob result{token, logprob(logits[static_cast<size_t>(token)]), {}};
  scratch.SelectTop(logits, num_top);
  result.top.reserve(scratch.candidates_.size());
  for (const SamplerScratch::Candidate& c : scratch.candidates_) result.top.emplace_back(c.id, logprob(c.value));
  return result;
}

}  // namespace engram
