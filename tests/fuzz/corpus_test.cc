// SPDX-License-Identifier: Apache-2.0
// Every fuzz target over its seeds, so that what fuzzing found stays found.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/log.h"
#include "fuzz/fuzz_target.h"
#include "fuzz/served_world.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> Seeds(std::string_view target) {
  std::vector<fs::path> seeds;
  for (const auto& entry : fs::directory_iterator(fs::path(ENGRAM_TEST_SOURCE_DIR) / "tests/fuzz/corpus" / target))
    seeds.push_back(entry.path());
  std::sort(seeds.begin(), seeds.end());
  return seeds;
}

class FuzzCorpusTest : public testing::TestWithParam<FuzzTarget> {};

TEST_P(FuzzCorpusTest, EverySeedIsTaken) {
  ASSERT_TRUE(log::Configure("off", log::Format::kText));
  const std::vector<fs::path> seeds = Seeds(GetParam().name);
  ASSERT_GE(seeds.size(), 3u);
  for (const fs::path& seed : seeds) {
    SCOPED_TRACE(seed);
    const auto bytes = ReadFile(seed, 1u << 20);
    ASSERT_TRUE(bytes) << bytes.error().message;
    GetParam().run(*bytes);
    // And cut short: what is read after an early end is seen by the sanitizers.
    GetParam().run(std::string_view(*bytes).substr(0, bytes->size() / 2));
  }
  GetParam().run({});
}

// So that a route that is added gets a seed.
TEST(FuzzRoutesTest, EveryRouteHasASeed) {
  std::string requests;
  for (const fs::path& seed : Seeds("routes")) {
    const auto bytes = ReadFile(seed, 1u << 20);
    ASSERT_TRUE(bytes) << bytes.error().message;
    requests += "\n" + bytes->substr(0, bytes->find('\n')) + "\n";
  }
  ServedWorld world;
  for (const std::string& route : world.router().List()) {
    std::string request = "\n" + route.substr(0, route.rfind(' '));
    const bool any = request.ends_with('*');
    if (any) request.pop_back();
    const bool found =
        any ? requests.find(request) != std::string::npos
            : requests.find(request + "\n") != std::string::npos || requests.find(request + "?") != std::string::npos;
    EXPECT_TRUE(found) << "tests/fuzz/corpus/routes has no seed for " << route;
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzCorpusTest, testing::ValuesIn(FuzzTargets()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace engram
