// SPDX-License-Identifier: Apache-2.0
#include "thread_pool.h"

#include <gtest/gtest.h>

#include <vector>

namespace backbone_cpu {
namespace {

TEST(ThreadPoolTest, EveryItemRunsOnceInEveryCall) {
  for (const size_t threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (size_t round = 0; round < 2000; ++round) {
      const size_t num_items = round % 23;
      std::vector<int> counts(num_items, 0);  // not atomic: each item has one owner, and the call orders all
      std::vector<size_t> owners(num_items, 99);
      pool.ParallelFor(num_items, round % 7 == 0, [&](size_t item, size_t thread) {
        ++counts[item];
        owners[item] = thread;
      });
      for (size_t i = 0; i < num_items; ++i) {
        ASSERT_EQ(counts[i], 1);
        ASSERT_LT(owners[i], threads);
        ASSERT_TRUE(round % 7 != 0 || owners[i] == 0) << "small work stays on the calling thread";
      }
    }
  }
}

TEST(ThreadPoolTest, StartsAndStopsWithoutWork) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

}  // namespace
}  // namespace backbone_cpu
