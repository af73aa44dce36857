// SPDX-License-Identifier: Apache-2.0
// Measures Tokenizer on one core: text_bench TOKENIZER_JSON TEXT_FILE [REPEATS]. Whole text at once, the same text by
// lines, decoding, and stream decoding take turns; prints the median of each in MB/s of text.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/json_text.h"
#include "text/tokenizer.h"

namespace {

struct Case {
  const char* name;
  std::function<size_t()> run;  // returns something that depends on the work
  std::vector<double> megabytes_per_second = {};
};

int Fail(const std::string& message) {
  std::fprintf(stderr, "text_bench: %s\n", message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) return Fail("usage: text_bench TOKENIZER_JSON TEXT_FILE [REPEATS]");
  int repeats = 9;
  if (argc == 4) {
    const std::string_view text = argv[3];
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), repeats);
    if (parsed.ptr != text.data() + text.size() || repeats < 1 || repeats > 10000) return Fail("REPEATS: 1 to 10000");
  }
  const auto load_start = std::chrono::steady_clock::now();
  auto tokenizer = engram::Tokenizer::Load(argv[1]);
  if (!tokenizer) return Fail(tokenizer.error().message);
  const std::chrono::duration<double> load_time = std::chrono::steady_clock::now() - load_start;
  auto file = engram::ReadFile(argv[2], 128 << 20);
  if (!file) return Fail(file.error().message);
  const std::string text = engram::Utf8Lossy(*file);
  const engram::Tokenizer& t = **tokenizer;
  auto ids = t.Encode(text, false);
  if (!ids) return Fail(ids.error().message);
  if (t.Decode(*ids, false) != text) std::puts("note: decoding does not give the text back (a normalizer?)");

  std::vector<Case> cases;
  cases.push_back({"encode, whole text", [&] { return t.Encode(text, false)->size(); }});
  cases.push_back({"encode, line by line", [&] {
                     size_t total = 0;
                     for (size_t at = 0; at < text.size();) {
                       const size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
                       total += t.Encode(std::string_view(text).substr(at, end - at), false)->size();
                       at = end;
                     }
                     return total;
                   }});
  cases.push_back({"decode, whole text", [&] { return t.Decode(*ids, false).size(); }});
  cases.push_back({"decode, token by token", [&] {
                     engram::StreamDecoder decoder(t, false);
                     size_t total = 0;
                     for (const int32_t id : *ids) total += decoder.Push(id).size();
                     return total + decoder.Finish().size();
                   }});
  size_t checksum = 0;
  for (int i = 0; i < repeats; ++i) {
    for (Case& one : cases) {
      const auto start = std::chrono::steady_clock::now();
      checksum += one.run();
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      one.megabytes_per_second.push_back(static_cast<double>(text.size()) / 1e6 / seconds.count());
    }
  }
  std::printf("text %zu bytes, %zu tokens, %.2f bytes/token, load %.0f ms, %d repeats (checksum %zu)\n", text.size(),
              ids->size(), static_cast<double>(text.size()) / static_cast<double>(ids->size()), load_time.count() * 1e3,
              repeats, checksum);
  for (Case& one : cases) {
    std::vector<double>& speeds = one.megabytes_per_second;
    std::sort(speeds.begin(), speeds.end());
    std::printf("%-24s %8.1f MB/s median (%.1f to %.1f)\n", one.name, speeds[speeds.size() / 2], speeds.front(),
                speeds.back());
  }
  return 0;
}
