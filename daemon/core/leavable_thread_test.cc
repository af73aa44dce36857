// SPDX-License-Identifier: Apache-2.0
#include "core/leavable_thread.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>

namespace engram {
namespace {

using std::chrono::milliseconds;

TEST(LeavableThread, OneThatReturnsIsJoinedAndLetsGoOfWhatItHeld) {
  auto held = std::make_shared<int>(7);
  auto thread = LeavableThread::Start("test", [held] { EXPECT_EQ(*held, 7); });
  ASSERT_TRUE(thread) << thread.error().message;
  EXPECT_TRUE(thread->End(std::chrono::hours(1)));
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_EQ(LeavableThread::num_left_behind(), 0u);
}

TEST(LeavableThread, OneThatIsStuckIsLeftWithWhatItHolds) {
  std::promise<void> answer;
  auto held = std::make_shared<int>(7);
  auto thread = LeavableThread::Start("test", [held, answered = answer.get_future().share()] { answered.wait(); });
  ASSERT_TRUE(thread) << thread.error().message;
  EXPECT_FALSE(thread->End(milliseconds(1)));
  EXPECT_EQ(LeavableThread::num_left_behind(), 1u);
  EXPECT_EQ(held.use_count(), 2);
  answer.set_value();
  while (LeavableThread::num_left_behind() > 0) std::this_thread::yield();
  EXPECT_EQ(held.use_count(), 1);
}

TEST(LeavableThread, NoneIsNothingToWaitFor) {
  LeavableThread none;
  EXPECT_TRUE(none.End(milliseconds(0)));
}

TEST(StopWhenDropped, StopsOnceWithTheLastReferenceWhileTheThreadKeepsItsOwn) {
  struct Worker {
    int stops = 0;
    void Stop() { ++stops; }
  };
  auto of_thread = std::make_shared<Worker>();
  auto first = StopWhenDropped(of_thread);
  auto second = first;
  first.reset();
  EXPECT_EQ(of_thread->stops, 0);
  second.reset();
  EXPECT_EQ(of_thread->stops, 1);
  EXPECT_EQ(of_thread.use_count(), 1);
}

}  // namespace
}  // namespace engram
