// SPDX-License-Identifier: Apache-2.0
#include "http/event_queue.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

GenerationEvent Token(int32_t token) {
  GenerationEvent event;
  event.kind = GenerationEvent::Kind::kToken;
  event.token = token;
  return event;
}

GenerationEvent ChoiceDone() {
  GenerationEvent event;
  event.kind = GenerationEvent::Kind::kChoiceDone;
  return event;
}

TEST(EventQueue, CancelsWhoTakesNothing) {
  EventQueue queue(3, milliseconds(0));
  for (int32_t token = 0; token < 3; ++token) EXPECT_TRUE(queue.Push(0, Token(token)));
  EXPECT_FALSE(queue.Push(0, Token(3)));
  EXPECT_FALSE(queue.Push(0, ChoiceDone()));  // kept all the same
  bool overflowed = false;
  const std::vector<EventQueue::Item> items = queue.TakeAll(overflowed);
  EXPECT_TRUE(overflowed);
  ASSERT_EQ(items.size(), 4u);
  EXPECT_EQ(items[2].event.token, 2);
  EXPECT_EQ(items[3].event.kind, GenerationEvent::Kind::kChoiceDone);
  EXPECT_FALSE(queue.Push(0, Token(4))) << "what was cancelled stays so";
}

TEST(EventQueue, CountsAnewOnceAllIsTaken) {
  EventQueue queue(3, milliseconds(0));
  bool overflowed = false;
  for (int32_t token = 0; token < 30; ++token) {
    EXPECT_TRUE(queue.Push(0, Token(token)));
    if (token % 3 == 2) {
      EXPECT_EQ(queue.TakeAll(overflowed).size(), 3u);
    }
    EXPECT_FALSE(overflowed);
  }
}

TEST(EventQueue, HasPatienceWithABurst) {
  EventQueue queue(3, hours(1));
  for (int32_t token = 0; token < 1000; ++token) EXPECT_TRUE(queue.Push(0, Token(token)));
  bool overflowed = false;
  const std::vector<EventQueue::Item> items = queue.TakeAll(overflowed);
  EXPECT_FALSE(overflowed);
  ASSERT_EQ(items.size(), 1000u);
  for (int32_t token = 0; token < 1000; ++token) EXPECT_EQ(items[static_cast<size_t>(token)].event.token, token);
}

TEST(EventQueue, WakesOncePerTake) {
  EventQueue queue(3, hours(1));
  int woken = 0;
  queue.SetWake([&] { ++woken; });
  EXPECT_TRUE(queue.Push(0, Token(0)));
  EXPECT_TRUE(queue.Push(0, Token(1)));
  EXPECT_EQ(woken, 1);
  bool overflowed = false;
  EXPECT_EQ(queue.TakeAll(overflowed).size(), 2u);
  EXPECT_TRUE(queue.Push(0, Token(2)));
  EXPECT_EQ(woken, 2);
  queue.Detach();
  EXPECT_FALSE(queue.Push(0, Token(3)));
  EXPECT_EQ(woken, 2);
  EXPECT_TRUE(queue.TakeAll(overflowed).empty());
}

}  // namespace
}  // namespace engram
