// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "kernels/kernels.h"

namespace backbone_cpu {

namespace {
constexpr const Kernels* kAll[] = {
#if defined(__x86_64__)
    &kKernelsAvx512, &kKernelsAvx2,
#endif
    &kKernelsRef};
}  // namespace

const Kernels* const* AllKernels(size_t* count) {
  *count = sizeof(kAll) / sizeof(kAll[0]);
  return kAll;
}

const Kernels* ChooseKernels(const char* name) {
  for (const Kernels* kernels : kAll) {
    if ((name[0] == '\0' || std::strcmp(name, kernels->name) == 0) && kernels->supported()) return kernels;
  }
  return nullptr;
}

}  // namespace backbone_cpu
