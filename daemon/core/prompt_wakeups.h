// SPDX-License-Identifier: Apache-2.0
// A thread that mostly waits for a device, and then has a little to do that others wait for.
#pragma once

namespace engram {

// Has the calling thread run soon after it wakes up, also where every core computes: it asks the scheduler for short
// time slices (sched_attr::sched_runtime of SCHED_OTHER, Linux 6.12), which changes nothing of its share and needs no
// privilege. Without it a thread whose read is done may wait for the rest of a computing thread's slice, milliseconds.
// Older kernels let threads that have slept go first anyway; there, and where a policy was set from outside, nothing
// changes.
void AskForPromptWakeups();

}  // namespace engram
