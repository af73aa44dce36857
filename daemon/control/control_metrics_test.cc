// SPDX-License-Identifier: Apache-2.0
#include "control/control_metrics.h"

#include <gmock/gmock.h>

#include "control/test_live_memory.h"

namespace engram {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST_F(LiveMemoryTest, MetricsCountOperationsAndChanges) {
  MetricRegistry registry;
  Operations operations;
  LiveMemoryDirectory memories;
  ControlMetrics metrics(registry, operations);
  const auto journal = CollectJournal(registry, memories);
  EXPECT_EQ(registry.Text(), "");

  const uint64_t swap = operations.Add("model.swap", "m", "");
  ASSERT_TRUE(operations.Start(swap));
  EXPECT_THAT(registry.Text(), Not(HasSubstr("engramd_operations_total")));
  operations.Finish(swap, {});
  const uint64_t load = operations.Add("model.load", "m", "");
  ASSERT_TRUE(operations.Cancel(load));
  EXPECT_THAT(registry.Text(), HasSubstr("engramd_operations_total{kind=\"model.swap\",state=\"succeeded\"} 1\n"));
  EXPECT_THAT(registry.Text(), HasSubstr("engramd_operations_total{kind=\"model.load\",state=\"cancelled\"} 1\n"));
  EXPECT_THAT(registry.Text(), HasSubstr("engramd_operation_duration_seconds_count{kind=\"model.swap\"} 1\n"));
  EXPECT_THAT(registry.Text(), Not(HasSubstr("engramd_operation_duration_seconds_count{kind=\"model.load\"}")));

  LiveMemoryOptions options = Options();
  options.on_event = [&](const MemoryEvent& event) { metrics.OnMemoryEvent(event); };
  TestLive live(std::move(options));
  ASSERT_TRUE(live.Commit({Edit(live, 3, 1.0f), Edit(live, 4, 1.0f)}));
  ASSERT_TRUE(live.Rollback(0));
  live.live->Stop();  // events come after the answer
  memories.Publish(std::move(live.live));
  EXPECT_THAT(registry.Text(), HasSubstr("engramd_memory_changes_total{model=\"test\",kind=\"commit\"} 1\n"));
  EXPECT_THAT(registry.Text(), HasSubstr("engramd_memory_changes_total{model=\"test\",kind=\"rollback\"} 1\n"));
  EXPECT_THAT(registry.Text(), HasSubstr("engramd_memory_changed_rows_total{model=\"test\",kind=\"commit\"} 2\n"));
  EXPECT_THAT(registry.Text(), HasSubstr("engramd_journal_queue_depth{model=\"test\"} 0\n"));
  EXPECT_THAT(registry.Text(), HasSubstr("engramd_journal_queue_capacity{model=\"test\"} 256\n"));
}

}  // namespace
}  // namespace engram
