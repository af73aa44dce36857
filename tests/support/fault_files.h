// SPDX-License-Identifier: Apache-2.0
// FaultFiles: lets a chosen call fail that makes, writes, flushes or renames a file, as on a full or broken disk. Works
// on the calls of the code that is linked into the test (not of shared libraries: SQLite has FaultVfs), which needs
// fault_files.cc and --wrap for each of them: engram_wrap_file_calls() of cmake/EngramTargets.cmake.
#pragma once

namespace engram::fault_files {

// The call that is `after` calls from now, and with `lasting` all later ones, fail with this errno. Any thread's calls.
void Arm(int after, int code, bool lasting);
void Disarm();
// Whether a fault has struck since Arm().
bool struck();

}  // namespace engram::fault_files
