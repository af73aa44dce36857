// SPDX-License-Identifier: Apache-2.0
#include "core/prompt_wakeups.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace engram {
namespace {

constexpr uint64_t kSliceNs = 100'000;  // the shortest the kernel takes

// struct sched_attr of linux/sched/types.h, which cannot be included beside sched.h.
struct SchedulingAttributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime_ns;
  uint64_t deadline_ns;
  uint64_t period_ns;
};

}  // namespace

void AskForPromptWakeups() {
  SchedulingAttributes attributes{};
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0 || attributes.policy != SCHED_OTHER)
    return;
  attributes.size = sizeof(attributes);
  attributes.runtime_ns = kSliceNs;
  // Refused, the thread runs as others do.
  static_cast<void>(::syscall(SYS_sched_setattr, 0, &attributes, 0));
}

}  // namespace engram
