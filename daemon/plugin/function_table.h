// SPDX-License-Identifier: Apache-2.0
// How a struct that only grows at its end is read: the part both sides know is copied, the rest is zero. So a function
// that an older plugin's table lacks is NULL, like an optional one it leaves out. Pure functions.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace engram {

// The host's edition of a struct at `source`, which starts with its uint32 struct_size. struct_size of the copy is what
// the plugin stated. `source` must hold min(struct_size, sizeof(T)) bytes.
template <typename T>
T CopyGrowing(const void* source) {
  static_assert(std::is_trivially_copyable_v<T> && offsetof(T, struct_size) == 0);
  uint32_t size = 0;
  std::memcpy(&size, source, sizeof(size));
  T copy{};
  std::memcpy(&copy, source, size < sizeof(T) ? size : sizeof(T));
  return copy;
}

// Bytes of T up to and including `last_member`: the size of the edition that ended with it.
#define ENGRAM_SIZE_THROUGH(T, last_member) (offsetof(T, last_member) + sizeof(T::last_member))

}  // namespace engram
