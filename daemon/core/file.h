// SPDX-License-Identifier: Apache-2.0
// Whole-file reads and owned file descriptors. Blocking; any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include "core/result.h"

namespace engram {

// The whole of a regular file. kNotFound, kIo or, above `max_bytes`, kInvalidArgument; messages name the path.
Result<std::string> ReadFile(const std::filesystem::path& path, uint64_t max_bytes);

// Owns one file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd();
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// An open read-only file of known size, for positioned reads.
class ReadOnlyFile {
 public:
  static Result<ReadOnlyFile> Open(const std::filesystem::path& path);
  uint64_t size_bytes() const { return size_bytes_; }
  const std::filesystem::path& path() const { return path_; }
  // Fills dst from `offset`. kDataLoss if the file ends before, kIo otherwise; messages name path and offset.
  Status ReadAt(uint64_t offset, void* dst, size_t num_bytes) const;
  // The next bytes from `offset` on that are not a hole, as the file system tells; those of a file system that knows no
  // holes are all of them. Empty at the file's end when only a hole follows. kIo.
  struct Extent {
    uint64_t begin = 0;
    uint64_t end = 0;
  };
  Result<Extent> NextData(uint64_t offset) const;

 private:
  ReadOnlyFile(UniqueFd fd, std::filesystem::path path, uint64_t size_bytes)
      : fd_(std::move(fd)), path_(std::move(path)), size_bytes_(size_bytes) {}
  UniqueFd fd_;
  std::filesystem::path path_;
  uint64_t size_bytes_;
};

// A file written under a temporary name beside `path` that takes its place when it is complete: readers see the old
// file or the new one, also after a power cut. Destroyed without Commit(), it leaves nothing behind. One thread. Errors
// are kIo, or kOutOfSpace for a full disk, and name the path.
class FileReplacement {
 public:
  // kNotFound when the directory does not exist.
  static Result<FileReplacement> Create(const std::filesystem::path& path);
  FileReplacement(FileReplacement&& other) noexcept = default;
  FileReplacement& operator=(FileReplacement&&) = delete;
  ~FileReplacement();

  const std::filesystem::path& path() const { return path_; }
  // Takes disk space for `size_bytes` now, so that a full disk is no surprise later; nothing where the file system
  // cannot do that.
  Status Reserve(uint64_t size_bytes);
  // The error also names the offset.
  Status WriteAt(uint64_t offset, const void* src, size_t num_bytes);
  // Makes it `size_bytes` long (holes read as zeros), flushes it to the disk and renames it. Call once.
  Status Commit(uint64_t size_bytes);

 private:
  FileReplacement(UniqueFd fd, std::filesystem::path path, std::filesystem::path temporary)
      : fd_(std::move(fd)), path_(std::move(path)), temporary_(std::move(temporary)) {}
  UniqueFd fd_;
  std::filesystem::path path_;
  std::filesystem::path temporary_;  // its name until renamed; empty: it has none
};

}  // namespace engram
