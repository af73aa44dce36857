// SPDX-License-Identifier: Apache-2.0
// Measures token masks on one core: constrain_bench TOKENIZER_JSON [REPEATS]. For several grammars: the first mask of a
// state, which walks the vocabulary, and one that is known; then a draw from random logits with a mask against one
// without, in turns. Medians.
#include <time.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "constrain/constraint_compiler.h"
#include "constrain/gbnf.h"
#include "serve/sampler.h"
#include "text/tokenizer.h"

namespace {

// CPU time of this thread, so that what else runs on the machine does not count.
double Microseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

int Fail(const std::string& message) {
  std::fprintf(stderr, "constrain_bench: %s\n", message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) return Fail("usage: constrain_bench TOKENIZER_JSON [REPEATS]");
  int repeats = 51;
  if (argc == 3) {
    const std::string_view text = argv[2];
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), repeats);
    if (parsed.ptr != text.data() + text.size() || repeats < 1 || repeats > 10000) return Fail("REPEATS: 1 to 10000");
  }
  auto tokenizer = engram::Tokenizer::Load(argv[1]);
  if (!tokenizer) return Fail(tokenizer.error().message);
  const auto vocab_size = static_cast<uint32_t>((*tokenizer)->vocab_size());

  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(vocab_size);
  for (float& logit : logits) logit = normal(random);
  engram::SamplerScratch scratch(vocab_size);
  const engram::SamplingParams params;

  engram::ConstraintCompiler compiler(*tokenizer, vocab_size, {});
  // The first grammar makes the trie.
  if (auto first = compiler.Get("", [] { return engram::ParseGbnf("root ::= \"x\""); }); !first)
    return Fail(first.error().message);
  std::printf("%u tokens; microseconds: mask of a new state, of a known one; draw without and with it, ratio\n",
              vocab_size);
  const std::pair<const char*, const char*> grammars[] = {
      {"any text", "root ::= .*"},
      {"counted characters", "root ::= .{100000}"},
      {"JSON string", "root ::= \"\\\"\" ([^\"\\\\\\x00-\\x1f] | \"\\\\\" [\"\\\\/bfnrt])* \"\\\"\""},
      {"digits", "root ::= [0-9]{1,100000}"},
      {"words", "root ::= (\" \" [a-z]+){100000}"},
  };
  for (const auto& [name, grammar] : grammars) {
    const std::string text = grammar;
    std::vector<double> fresh;
    std::vector<double> known;
    std::vector<double> free_draw;
    std::vector<double> masked_draw;
    for (int i = 0; i < repeats; ++i) {
      auto start = Microseconds();
      auto constraint = compiler.Get(text + " #" + std::to_string(i), [&] { return engram::ParseGbnf(text); });
      fresh.push_back(Microseconds() - start);
      if (!constraint) return Fail(constraint.error().message);
      engram::ConstraintMatcher matcher(*constraint);
      start = Microseconds();
      const auto mask = matcher.Mask();
      known.push_back(Microseconds() - start);
      if (!mask) return Fail(mask.error().message);
      engram::Sampler free_sampler(params, 1, 0, {}, 1, vocab_size);
      engram::Sampler masked_sampler(params, 1, 0, {}, 1, vocab_size);
      start = Microseconds();
      if (const auto drawn = free_sampler.Sample(logits, scratch); !drawn) return Fail(drawn.error().message);
      free_draw.push_back(Microseconds() - start);
      start = Microseconds();
      if (const auto drawn = masked_sampler.Sample(logits, scratch, mask->allowed); !drawn)
        return Fail(drawn.error().message);
      masked_draw.push_back(Microseconds() - start);
    }
    std::printf("%-20s %9.1f %7.2f %9.1f %9.1f %7.3f\n", name, Median(fresh), Median(known), Median(free_draw),
                Median(masked_draw), Median(masked_draw) / Median(free_draw));
  }
  return 0;
}
