// SPDX-License-Identifier: Apache-2.0
#include "support/fault_files.h"

#include <fcntl.h>
#include <sys/types.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>

namespace engram::fault_files {
namespace {

std::atomic<int> countdown{0};  // 0: not armed; 1: the next one
std::atomic<int> code{0};
std::atomic<bool> lasting{false};
std::atomic<bool> has_struck{false};

}  // namespace

void Arm(int after, int errno_code, bool all_later) {
  code = errno_code;
  lasting = all_later;
  has_struck = false;
  countdown = after + 1;
}

void Disarm() {
  countdown = 0;
}

bool struck() {
  return has_struck;
}

// True, with errno set, when this call is to fail.
bool Strikes() {
  int left = countdown;
  do {
    if (left == 0) return false;
    if (left == 1) break;
  } while (!countdown.compare_exchange_weak(left, left - 1));
  if (left > 1) return false;
  if (!lasting) countdown = 0;
  has_struck = true;
  errno = code;
  return true;
}

}  // namespace engram::fault_files

using engram::fault_files::Strikes;

// The linker sends the calls of the test's code here (--wrap).
extern "C" {

int __real_open(const char* path, int flags, ...);
ssize_t __real_pwrite(int fd, const void* bytes, size_t num_bytes, off_t offset);
int __real_fallocate(int fd, int mode, off_t offset, off_t num_bytes);
int __real_ftruncate(int fd, off_t size);
int __real_fsync(int fd);
int __real_linkat(int from_dir, const char* from, int to_dir, const char* to, int flags);
int __real_rename(const char* from, const char* to);
ssize_t __real_copy_file_range(int in, off_t* in_offset, int out, off_t* out_offset, size_t num_bytes, unsigned flags);

int __wrap_open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const bool makes = (flags & (O_CREAT | O_TMPFILE)) != 0 && (flags & (O_WRONLY | O_RDWR)) != 0;
  const mode_t mode = makes ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if (makes && Strikes()) return -1;
  return __real_open(path, flags, mode);
}
ssize_t __wrap_pwrite(int fd, const void* bytes, size_t num_bytes, off_t offset) {
  return Strikes() ? -1 : __real_pwrite(fd, bytes, num_bytes, offset);
}
int __wrap_fallocate(int fd, int mode, off_t offset, off_t num_bytes) {
  return Strikes() ? -1 : __real_fallocate(fd, mode, offset, num_bytes);
}
int __wrap_ftruncate(int fd, off_t size) {
  return Strikes() ? -1 : __real_ftruncate(fd, size);
}
int __wrap_fsync(int fd) {
  return Strikes() ? -1 : __real_fsync(fd);
}
int __wrap_linkat(int from_dir, const char* from, int to_dir, const char* to, int flags) {
  return Strikes() ? -1 : __real_linkat(from_dir, from, to_dir, to, flags);
}
int __wrap_rename(const char* from, const char* to) {
  return Strikes() ? -1 : __real_rename(from, to);
}
ssize_t __wrap_copy_file_range(int in, off_t* in_offset, int out, off_t* out_offset, size_t num_bytes, unsigned flags) {
  return Strikes() ? -1 : __real_copy_file_range(in, in_offset, out, out_offset, num_bytes, flags);
}

}  // extern "C"
