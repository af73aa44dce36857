// SPDX-License-Identifier: Apache-2.0
#include "core/prompt_wakeups.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <thread>

namespace engram {
namespace {

// struct sched_attr as far as it is looked at.
struct Attributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime_ns;
  uint64_t rest[2];
};

Attributes OfThisThread() {
  Attributes attributes{};
  EXPECT_EQ(::syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0), 0);
  return attributes;
}

TEST(PromptWakeups, AskForShortSlicesAndNothingElse) {
  std::thread([] {
    const Attributes before = OfThisThread();
    AskForPromptWakeups();
    const Attributes after = OfThisThread();
    EXPECT_EQ(after.policy, before.policy);
    EXPECT_EQ(after.nice, before.nice);
    EXPECT_EQ(after.flags, before.flags);
    // Kernels that have no slices for single threads leave it as it was.
    EXPECT_TRUE(after.runtime_ns == 100'000 || after.runtime_ns == before.runtime_ns) << after.runtime_ns;
  }).join();
}

TEST(PromptWakeups, LeaveAThreadAloneThatHasAPolicy) {
  std::thread([] {
    const sched_param none{};
    ASSERT_EQ(pthread_setschedparam(pthread_self(), SCHED_IDLE, &none), 0);
    AskForPromptWakeups();
    EXPECT_EQ(OfThisThread().policy, static_cast<uint32_t>(SCHED_IDLE));
  }).join();
}

}  // namespace
}  // namespace engram
