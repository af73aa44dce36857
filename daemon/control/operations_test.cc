// SPDX-License-Identifier: Apache-2.0
#include "control/operations.h"

#include <gtest/gtest.h>

#include <thread>

namespace engram {
namespace {

TEST(Operations, GoThroughTheirStates) {
  Operations operations;
  const uint64_t id = operations.Add("model.swap", "m", "/models/m");
  Operation now = operations.Get(id).value();
  EXPECT_EQ(now.state, OperationState::kQueued);
  EXPECT_EQ(now.kind, "model.swap");
  EXPECT_EQ(now.target, "m");
  EXPECT_EQ(now.path, "/models/m");
  EXPECT_GT(now.created_unix_ms, 0);
  operations.Report(id, "too early", 0.5);
  EXPECT_EQ(operations.Get(id).value().progress, 0);
  ASSERT_TRUE(operations.Start(id));
  operations.Report(id, "loading", 0.5);
  operations.Report(id, "still loading", 0.25);
  now = operations.Get(id).value();
  EXPECT_EQ(now.state, OperationState::kRunning);
  EXPECT_EQ(now.stage, "still loading");
  EXPECT_EQ(now.progress, 0.5);
  operations.Finish(id, Status());
  operations.Finish(id, Internal("too late"));
  now = operations.Get(id).value();
  EXPECT_EQ(now.state, OperationState::kSucceeded);
  EXPECT_EQ(now.progress, 1);
  EXPECT_FALSE(now.error);
  EXPECT_GE(now.finished_unix_ms, now.started_unix_ms);
  EXPECT_EQ(operations.Get(id + 1).error().code, ErrorCode::kNotFound);
}

TEST(Operations, KeepTheErrorOfAFailure) {
  Operations operations;
  const uint64_t id = operations.Add("model.load", "m", "");
  ASSERT_TRUE(operations.Start(id));
  operations.Finish(id, DataLoss("m: bad"));
  const Operation now = operations.Get(id).value();
  EXPECT_EQ(now.state, OperationState::kFailed);
  ASSERT_TRUE(now.error);
  EXPECT_EQ(now.error->message, "m: bad");
}

TEST(Operations, QueuedOnesAreCancelledAndRunningOnesAskedToEnd) {
  Operations operations;
  const uint64_t waiting = operations.Add("k", "a", "");
  const uint64_t running = operations.Add("k", "b", "");
  ASSERT_TRUE(operations.Start(running));
  EXPECT_TRUE(operations.Cancel(waiting));
  EXPECT_FALSE(operations.Start(waiting));
  EXPECT_EQ(operations.Cancel(waiting).error().code, ErrorCode::kFailedPrecondition);
  EXPECT_TRUE(operations.CheckCancelled(running));
  EXPECT_TRUE(operations.Cancel(running));
  EXPECT_EQ(operations.Get(running).value().state, OperationState::kRunning);
  EXPECT_TRUE(operations.Get(running).value().cancelling);
  EXPECT_EQ(operations.PassLastChance(running).error().code, ErrorCode::kCancelled);
  operations.Finish(running, operations.CheckCancelled(running));
  EXPECT_EQ(operations.Get(running).value().state, OperationState::kCancelled);
  EXPECT_FALSE(operations.Get(running).value().error);
  const uint64_t late = operations.Add("k", "c", "");
  ASSERT_TRUE(operations.Start(late));
  ASSERT_TRUE(operations.PassLastChance(late));
  EXPECT_EQ(operations.Cancel(late).error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(operations.Cancel(99).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(operations.Get(waiting).value().state, OperationState::kCancelled);
}

TEST(Operations, HistoryIsBoundedAndNeverLosesWhatIsNotOver) {
  Operations operations(3);
  const uint64_t open = operations.Add("k", "open", "");
  for (int i = 0; i < 10; ++i) {
    const uint64_t id = operations.Add("k", std::to_string(i), "");
    ASSERT_TRUE(operations.Start(id));
    operations.Finish(id, Status());
  }
  operations.Add("k", "last", "");
  const std::vector<Operation> list = operations.List();
  ASSERT_EQ(list.size(), 5u);
  EXPECT_EQ(list.front().target, "last");
  EXPECT_EQ(list[1].target, "9");
  EXPECT_EQ(list.back().id, open);
}

TEST(Operations, ListenersHearEveryChange) {
  Operations operations;
  std::vector<Operation> heard;
  auto handle = operations.Listen([&](const Operation& operation) {
    heard.push_back(operation);
    EXPECT_EQ(operations.Get(operation.id).value().revision, operation.revision);  // no lock is held
  });
  const uint64_t id = operations.Add("k", "t", "");
  ASSERT_TRUE(operations.Start(id));
  operations.Report(id, "half", 0.5);
  operations.Finish(id, Status());
  handle.reset();
  operations.Add("k", "unheard", "");
  ASSERT_EQ(heard.size(), 4u);
  EXPECT_EQ(heard[0].state, OperationState::kQueued);
  EXPECT_EQ(heard[2].stage, "half");
  EXPECT_EQ(heard[3].state, OperationState::kSucceeded);
  for (size_t i = 1; i < heard.size(); ++i) EXPECT_GT(heard[i].revision, heard[i - 1].revision);
}

TEST(Operations, FromManyThreads) {
  Operations operations(8);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        const uint64_t id = operations.Add("k", "t", "");
        if (operations.Start(id)) operations.Finish(id, Status());
        (void)operations.List();
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(operations.List().size(), 9u);
}

}  // namespace
}  // namespace engram
