// SPDX-License-Identifier: Apache-2.0
#include "memory/store_watch.h"

#include <gtest/gtest.h>

#include <thread>

namespace engram {
namespace {

TEST(StoreWatch, AsksOnlyAfterAFailureAndUntilAllAnswer) {
  std::atomic<int> probes{0};
  std::atomic<bool> answers{true};
  auto watch = StoreWatch::Create([&]() -> Status {
    ++probes;
    if (answers) return {};
    return Unavailable("no");
  });
  ASSERT_TRUE(watch) << watch.error().message;
  EXPECT_FALSE((*watch)->failing());
  EXPECT_EQ(probes, 0);
  answers = false;
  (*watch)->Report();
  EXPECT_TRUE((*watch)->failing());
  while (probes < 2) std::this_thread::yield();
  EXPECT_TRUE((*watch)->failing());
  answers = true;
  while ((*watch)->failing()) std::this_thread::yield();
  const int before = probes;
  (*watch)->Report();
  while ((*watch)->failing()) std::this_thread::yield();
  EXPECT_EQ(probes, before + 1);
}

}  // namespace
}  // namespace engram
