// SPDX-License-Identifier: Apache-2.0
// What counting gates takes of a step: GateStatistics::Record() of eight sequences that decode a token each, two Engram
// layers, one stream, default options; without the rows that are looked at. Between two steps a backbone's weights go
// through the caches, so each text is measured both with nothing between and with 6 MB read.
//
//   build/release/bin/gate_statistics_bench
//
//   new       n-grams that were never seen, so that every one takes another's place: the worst case
//   repeated  all sequences walk through a text of 500 tokens, each from elsewhere
//   alike     all sequences say the same
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "serve/gate_statistics.h"

namespace engram {
namespace {

constexpr uint32_t kSequences = 8;
constexpr int kSteps = 2000;
constexpr int kRounds = 9;
constexpr size_t kWeightBytes = 6 << 20;

using Context = std::array<int32_t, 3>;

// Reads `weights`, as a step does.
void ReadAll(const std::vector<float>& weights) {
  [[maybe_unused]] static volatile float sink;
  sink = std::accumulate(weights.begin(), weights.end(), 0.0f);
}

using Text = std::function<Context(int step, uint32_t sequence)>;

// Median over rounds of the mean time of a step, in microseconds. `at` gives the last tokens of a sequence in a step.
double MicrosPerStep(const Text& at, const std::vector<float>& weights) {
  GateStatistics statistics({}, {1, 2}, 1, 3);
  const std::vector<float> gates(size_t{2} * kSequences, 0.5f);
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; ++round) {
    std::chrono::steady_clock::duration spent{};
    for (int step = 0; step < kSteps; ++step) {
      std::array<Context, kSequences> contexts;
      std::vector<GateSlice> slices(kSequences);
      for (uint32_t i = 0; i < kSequences; ++i) {
        contexts[i] = at(round * kSteps + step, i);
        slices[i].context = contexts[i];
        slices[i].num_tokens = 1;
        slices[i].first_token = i;
      }
      ReadAll(weights);
      const auto begin = std::chrono::steady_clock::now();
      statistics.Record(slices, gates.data(), kSequences);
      spent += std::chrono::steady_clock::now() - begin;
    }
    rounds.push_back(std::chrono::duration<double, std::micro>(spent).count() / kSteps);
  }
  std::sort(rounds.begin(), rounds.end());
  return rounds[rounds.size() / 2];
}

int Main() {
  std::mt19937 random(1);
  const auto token = [&] { return static_cast<int32_t>(random() % 4096); };
  std::vector<int32_t> text(500);
  std::generate(text.begin(), text.end(), token);
  const auto text_at = [&](size_t place) {
    place %= text.size() - 2;
    return Context{text[place], text[place + 1], text[place + 2]};
  };
  const std::array<std::pair<const char*, Text>, 3> texts = {{
      {"new",
       [&](int, uint32_t) {
         return Context{token(), token(), token()};
       }},
      {"repeated", [&](int step, uint32_t sequence) { return text_at(static_cast<size_t>(step) + 37 * sequence); }},
      {"alike", [&](int step, uint32_t) { return text_at(static_cast<size_t>(step)); }},
  }};
  const std::vector<float> weights(kWeightBytes / sizeof(float));
  for (const auto& [name, text] : texts) {
    std::printf("%-9s %.2f us a step, %.2f us with %zu MB read between steps\n", name, MicrosPerStep(text, {}),
                MicrosPerStep(text, weights), kWeightBytes >> 20);
  }
  return 0;
}

}  // namespace
}  // namespace engram

int main() {
  return engram::Main();
}
