// SPDX-License-Identifier: Apache-2.0
#include "http/deferred_reply.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace engram {
namespace {

Response Body(std::string text) {
  Response response;
  response.body = std::move(text);
  return response;
}

TEST(DeferredReply, AnswersLaterOnce) {
  DeferredReply reply = MakeDeferredReply();
  int woken = 0;
  reply.source->Start([&] { ++woken; });
  EXPECT_FALSE(reply.source->Poll().done);
  reply.send(Body("first"));
  reply.send(Body("second"));
  EXPECT_EQ(woken, 1);
  const ReplySource::Step step = reply.source->Poll();
  ASSERT_TRUE(step.done && step.head);
  EXPECT_FALSE(step.streamed);
  EXPECT_EQ(step.head->body, "first");
}

TEST(DeferredReply, MayBeAnsweredBeforeItStarts) {
  DeferredReply reply = MakeDeferredReply();
  reply.send(Body("early"));
  reply.source->Start([] {});
  const ReplySource::Step step = reply.source->Poll();
  ASSERT_TRUE(step.done && step.head);
  EXPECT_EQ(step.head->body, "early");
}

TEST(DeferredReply, DroppedUnansweredIsAnInternalError) {
  DeferredReply reply = MakeDeferredReply();
  auto copy = reply.send;
  reply.send = nullptr;
  reply.source->Start([] {});
  EXPECT_FALSE(reply.source->Poll().done);
  copy = nullptr;
  const ReplySource::Step step = reply.source->Poll();
  ASSERT_TRUE(step.done && step.head);
  EXPECT_EQ(step.head->status, 500);
}

TEST(DeferredReply, NothingWakesAClientThatHasGone) {
  for (int round = 0; round < 200; ++round) {
    DeferredReply reply = MakeDeferredReply();
    std::atomic<bool> gone = false;
    reply.source->Start([&] { EXPECT_FALSE(gone); });
    std::vector<std::thread> senders;
    for (int i = 0; i < 2; ++i) senders.emplace_back([send = reply.send] { send(Body("late")); });
    reply.source.reset();
    gone = true;
    for (std::thread& sender : senders) sender.join();
  }
}

}  // namespace
}  // namespace engram
