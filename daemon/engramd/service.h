// SPDX-License-Identifier: Apache-2.0
// The daemon's life: listen, load, serve, drain, stop; signals and systemd's notifications.
//
// The calling thread waits for signals; the model loads on the model manager's thread, and to stop there is a thread
// "drain", so that a second signal is heard at any time.
#pragma once

#include "settings/settings.h"

namespace engram {

// Blocks the signals RunService() waits for, in this thread and all it starts. Call before any thread exists.
void BlockSignals();

// Serves until told to stop; returns the exit status (0 after a drain, 1 after an error, which is on stderr). A second
// SIGTERM or SIGINT, or one while the model loads, ends the process here.
int RunService(const Settings& settings);

}  // namespace engram
