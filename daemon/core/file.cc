// SPDX-License-Identifier: Apache-2.0
#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <system_error>

namespace engram {
namespace {

Error ErrnoError(const std::filesystem::path& path, const std::string& what) {
  const int code = errno;
  std::string message = path.string() + ": " + what + ": " + std::generic_category().message(code);
  if (code == ENOENT || code == ENOTDIR) return NotFound(std::move(message));
  if (code == ENOSPC || code == EDQUOT) return OutOfSpace(std::move(message));
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

Result<ReadOnlyFile::Extent> ReadOnlyFile::NextData(uint64_t offset) const {
  const off_t begin = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
  if (begin < 0) {
    if (errno == ENXIO) {
      struct stat now = {};
      if (::fstat(fd_.get(), &now) != 0) return ErrnoError(path_, "cannot find its size");
      if (static_cast<uint64_t>(now.st_size) < size_bytes_)
        return DataLoss(path_.string() + ": has shrunk to " + std::to_string(now.st_size) + " bytes");
      return Extent{size_bytes_, size_bytes_};
    }
    if (errno == EINVAL || errno == EOPNOTSUPP) return Extent{offset, size_bytes_};
    return ErrnoError(path_, "cannot find data from byte " + std::to_string(offset) + " on");
  }
  const off_t end = ::lseek(fd_.get(), begin, SEEK_HOLE);
  if (end < 0) return ErrnoError(path_, "cannot find a hole from byte " + std::to_string(begin) + " on");
  return Extent{static_cast<uint64_t>(begin), std::min(static_cast<uint64_t>(end), size_bytes_)};
}

Status ReadOnlyFile::ReadAt(uint64_t offset, void* dst, size_t num_bytes) const {
  auto* out = static_cast<char*>(dst);
  while (num_bytes > 0) {
    const ssize_t n = ::pread(fd_.get(), out, num_bytes, static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(path_, "cannot read at byte " + std::to_string(offset));
    }
    if (n == 0) return DataLoss(path_.string() + ": ends before offset " + std::to_string(offset + num_bytes));
    out += n;
    offset += static_cast<uint64_t>(n);
    num_bytes -= static_cast<size_t>(n);
  }
  return {};
}

namespace {

// Calls make(name) with names beside `path` until one is free; returns it, or an empty one with errno set. A killed
// process of the same number may have left a file behind.
std::filesystem::path FreeName(const std::filesystem::path& path,
                               const std::function<bool(const std::filesystem::path&)>& make) {
  constexpr int kAttempts = 100;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::filesystem::path name = path;
    name += ".partial-" + std::to_string(::getpid()) + "-" + std::to_string(attempt);
    if (make(name)) return name;
    if (errno != EEXIST) break;
  }
  return {};
}

std::filesystem::path DirectoryOf(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

}  // namespace

Result<FileReplacement> FileReplacement::Create(const std::filesystem::path& path) {
  UniqueFd fd(::open(DirectoryOf(path).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666));
  if (fd) return FileReplacement(std::move(fd), path, {});
  std::filesystem::path temporary = FreeName(path, [&](const std::filesystem::path& name) {
    fd = UniqueFd(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    return bool(fd);
  });
  if (!fd) return ErrnoError(path, "cannot create a file beside it");
  return FileReplacement(std::move(fd), path, std::move(temporary));
}

FileReplacement::~FileReplacement() {
  if (fd_ && !temporary_.empty()) ::unlink(temporary_.c_str());
}

Status FileReplacement::Reserve(uint64_t size_bytes) {
  if (::fallocate(fd_.get(), 0, 0, static_cast<off_t>(size_bytes)) == 0 || errno == EOPNOTSUPP || errno == ENOSYS)
    return {};
  return ErrnoError(path_, "cannot take " + std::to_string(size_bytes) + " bytes of disk space");
}

Status FileReplacement::WriteAt(uint64_t offset, const void* src, size_t num_bytes) {
  const auto* from = static_cast<const char*>(src);
  while (num_bytes > 0) {
    const ssize_t n = ::pwrite(fd_.get(), from, num_bytes, static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(path_, "cannot write at byte " + std::to_string(offset));
    }
    from += n;
    offset += static_cast<uint64_t>(n);
    num_bytes -= static_cast<size_t>(n);
  }
  return {};
}

Status FileReplacement::Commit(uint64_t size_bytes) {
  if (::ftruncate(fd_.get(), static_cast<off_t>(size_bytes)) != 0) return ErrnoError(path_, "cannot set its size");
  if (::fsync(fd_.get()) != 0) return ErrnoError(path_, "cannot flush");
  if (temporary_.empty()) {
    // A file without a name gets one for a moment: linkat() cannot replace, rename() can.
    const std::string self = "/proc/self/fd/" + std::to_string(fd_.get());
    temporary_ = FreeName(path_, [&](const std::filesystem::path& name) {
      return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
    });
    if (temporary_.empty()) return ErrnoError(path_, "cannot name the file");
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return ErrnoError(path_, "cannot rename to");
  temporary_.clear();
  // The rename itself is durable only once the directory is.
  const std::filesystem::path directory = DirectoryOf(path_);
  const UniqueFd opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened || ::fsync(opened.get()) != 0) return ErrnoError(directory, "cannot flush the directory");
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
