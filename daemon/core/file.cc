// SPDX-License-Identifier: Apache-2.0
#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace engram {
namespace {

Error ErrnoError(const std::filesystem::path& path, const char* what) {
  const int code = errno;
  std::string message = path.string() + ": " + what + ": " + std::generic_category().message(code);
  if (code == ENOENT || code == ENOTDIR) return NotFound(std::move(message));
  return IoError(std::move(message));
}

}  // namespace

UniqueFd::~UniqueFd() {
  if (fd_ >= 0) ::close(fd_);
}

Result<ReadOnlyFile> ReadOnlyFile::Open(const std::filesystem::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // O_NONBLOCK: a FIFO must not hang us
  if (!fd) return ErrnoError(path, "cannot open");
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoError(path, "cannot stat");
  if (!S_ISREG(info.st_mode)) return InvalidArgument(path.string() + ": not a regular file");
  return ReadOnlyFile(std::move(fd), path, static_cast<uint64_t>(info.st_size));
}

Status ReadOnlyFile::ReadAt(uint64_t offset, void* dst, size_t num_bytes) const {
  auto* out = static_cast<char*>(dst);
  while (num_bytes > 0) {
    const ssize_t n = ::pread(fd_.get(), out, num_bytes, static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(path_, "cannot read");
    }
    if (n == 0) return DataLoss(path_.string() + ": ends before offset " + std::to_string(offset + num_bytes));
    out += n;
    offset += static_cast<uint64_t>(n);
    num_bytes -= static_cast<size_t>(n);
  }
  return {};
}

Result<std::string> ReadFile(const std::filesystem::path& path, uint64_t max_bytes) {
  ENGRAM_TRY(ReadOnlyFile file, ReadOnlyFile::Open(path));
  if (file.size_bytes() > max_bytes)
    return InvalidArgument(path.string() + ": is " + std::to_string(file.size_bytes()) + " bytes, more than the " +
                           std::to_string(max_bytes) + " allowed");
  std::string text(file.size_bytes(), '\0');
  ENGRAM_CHECK_OK(file.ReadAt(0, text.data(), text.size()));
  return text;
}

}  // namespace engram
