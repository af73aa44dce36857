// SPDX-License-Identifier: Apache-2.0
// Where libFuzzer enters the one target that is linked with this file.
#include "core/log.h"
#include "fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerInitialize(int*, char***);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int LLVMFuzzerInitialize(int*, char***) {
  return engram::log::Configure("off", engram::log::Format::kText) ? 0 : 1;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  engram::FuzzTargets().front().run({reinterpret_cast<const char*>(data), size});
  return 0;
}
