// SPDX-License-Identifier: Apache-2.0
// What counting gates takes of a step: GateStatistics::Record() of eight sequences that decode a token each, two Engram
// layers, one stream, default options. With warm caches, and
// without the rows that are looked at: in a served step it takes several times as long (bench/RESULTS.md).
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
#include <random>
#include <vector>

#include "serve/gate_statistics.h"

namespace engram {
namespace {

constexpr uint32_t kSequences = 8;
constexpr int kSteps = 5000;
constexpr int kRounds = 9;

using Context = std::array<int32_t, 3>;

// Median over rounds of the mean time of a step, in microseconds. `at` gives the last tokens of a sequence in a step.
double MicrosPerStep(const std::function<Context(int step, uint32_t sequence)>& at) {
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
  std::printf("new       %.2f us a step\n", MicrosPerStep([&](int, uint32_t) {
                return Context{token(), token(), token()};
              }));
  std::printf("repeated  %.2f us a step\n", MicrosPerStep([&](int step, uint32_t sequence) {
                return text_at(static_cast<size_t>(step) + 37 * sequence);
              }));
  std::printf("alike     %.2f us a step\n",
              MicrosPerStep([&](int step, uint32_t) { return text_at(static_cast<size_t>(step)); }));
  return 0;
}

}  // namespace
}  // namespace engram

int main() {
  return engram::Main();
}
