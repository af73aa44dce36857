// SPDX-License-Identifier: Apache-2.0
// FuzzTarget: an entry point that takes any bytes. libFuzzer drives it (scripts/fuzz), and fuzz_corpus_test runs it
// over the seeds in corpus/NAME. What must hold whatever the bytes are is FUZZ_CHECKed, and aborts. One thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace engram {

struct FuzzTarget {
  std::string_view name;
  void (*run)(std::string_view bytes);
};

// Those linked into this program.
inline std::vector<FuzzTarget>& FuzzTargets() {
  static std::vector<FuzzTarget> targets;
  return targets;
}

inline bool AddFuzzTarget(FuzzTarget target) {
  FuzzTargets().push_back(target);
  return true;
}

// What an input is made of: choices first, each a byte of which '0' is the first, so that seeds can be read; then text.
class FuzzInput {
 public:
  explicit FuzzInput(std::string_view bytes) : rest_(bytes) {}
  uint32_t Choice(uint32_t num_choices) {
    if (rest_.empty()) return 0;
    const auto byte = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return (byte + 256u - '0') % 256u % num_choices;
  }
  // Up to the next line's end, which goes too.
  std::string_view Line() {
    const std::string_view line = rest_.substr(0, rest_.find('\n'));
    rest_.remove_prefix(std::min(rest_.size(), line.size() + 1));
    return line;
  }
  std::string_view Take(size_t num_bytes) {
    const std::string_view taken = rest_.substr(0, num_bytes);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view Rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace engram

#define FUZZ_CHECK(condition)                                                                 \
  do {                                                                                        \
    if (!(condition)) {                                                                       \
      std::fprintf(stderr, "%s:%d: FUZZ_CHECK(%s) failed\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                           \
    }                                                                                         \
  } while (false)

// Defines and registers the target: ENGRAM_FUZZ_TARGET(name, bytes) { .. }
#define ENGRAM_FUZZ_TARGET(target, bytes)                                                                         \
  static void FuzzRun_##target(std::string_view bytes);                                                           \
  [[maybe_unused]] static const bool kFuzzAdded_##target = ::engram::AddFuzzTarget({#target, &FuzzRun_##target}); \
  static void FuzzRun_##target(std::string_view bytes)
