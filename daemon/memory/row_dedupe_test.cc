// SPDX-License-Identifier: Apache-2.0
#include "memory/row_dedupe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace engram {
namespace {

TEST(RowDedupe, KeepsTheOrderOfFirstAppearance) {
  RowDedupe dedupe;
  const std::vector<uint64_t> ids = {9, 4, 9, 0, UINT64_MAX, 4, 9};
  std::vector<uint64_t> unique(ids.size());
  std::vector<uint32_t> index(ids.size());
  ASSERT_EQ(dedupe.Run(ids, unique.data(), index.data()), 4u);
  unique.resize(4);
  EXPECT_EQ(unique, (std::vector<uint64_t>{9, 4, 0, UINT64_MAX}));
  EXPECT_EQ(index, (std::vector<uint32_t>{0, 1, 0, 2, 3, 1, 0}));
  EXPECT_EQ(dedupe.Run({}, nullptr, nullptr), 0u);
}

TEST(RowDedupe, EveryCallIsOnItsOwn) {
  RowDedupe dedupe;
  std::mt19937_64 random(1);
  for (const size_t size : {1u, 1000u, 3u, 24u, 5000u, 24u}) {
    for (const uint64_t range : {1u, 10u, 100000u}) {
      std::vector<uint64_t> ids(size);
      for (uint64_t& id : ids) id = random() % range;
      std::vector<uint64_t> unique(size);
      std::vector<uint32_t> index(size);
      const uint32_t count = dedupe.Run(ids, unique.data(), index.data());
      std::vector<uint64_t> expected;
      for (size_t i = 0; i < size; ++i) {
        ASSERT_LE(index[i], i);
        ASSERT_LT(index[i], count);
        ASSERT_EQ(unique[index[i]], ids[i]);
        if (std::find(expected.begin(), expected.end(), ids[i]) == expected.end()) expected.push_back(ids[i]);
      }
      ASSERT_EQ(std::vector<uint64_t>(unique.begin(), unique.begin() + count), expected);
    }
  }
}

}  // namespace
}  // namespace engram
