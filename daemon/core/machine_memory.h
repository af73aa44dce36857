// SPDX-License-Identifier: Apache-2.0
// How much memory this machine has and has left. Reads /proc and /sys; any thread.
#pragma once

#include <cstdint>

namespace engram {

uint64_t PhysicalMemoryBytes();

// What new allocations may take without swapping: the kernel's MemAvailable, or less where a control group (v2) of this
// process, such as systemd's MemoryMax or a container's limit, leaves less; pages of files count as free in both.
uint64_t AvailableMemoryBytes();

// What of this process is in memory now; 0 where /proc does not say.
uint64_t ResidentBytes();

}  // namespace engram
