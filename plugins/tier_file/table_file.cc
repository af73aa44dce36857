// SPDX-License-Identifier: Apache-2.0
#include "table_file.h"

#include <engram/plugin_error.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace engram::tier_file {

using sdk::PluginError;

TableFile::TableFile(const std::string& path) : path_(path) {
  const auto failed = [&](const char* call) {
    const engram_status status = errno == ENOENT ? ENGRAM_NOT_FOUND : ENGRAM_IO;
    return PluginError(status, path_ + ": " + call + ": " + std::strerror(errno));
  };
  // Not to wait for the writer of a pipe.
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  fd_ = ::open(path.c_str(), kFlags | O_DIRECT);
  if (fd_ < 0 && errno == EINVAL) {  // tmpfs and others have no direct reads
    direct_ = false;
    fd_ = ::open(path.c_str(), kFlags);
  }
  if (fd_ < 0) throw failed("open");
  try {
    struct stat status = {};
    if (::fstat(fd_, &status) != 0) throw failed("fstat");
    if (!S_ISREG(status.st_mode)) throw PluginError(ENGRAM_INVALID_ARGUMENT, path_ + ": not a regular file");
    alignas(sdk::kPackedHeaderBytes) uint8_t header[sdk::kPackedHeaderBytes];
    ssize_t num_read;
    do {
      num_read = ::pread(fd_, header, sizeof(header), 0);
    } while (num_read < 0 && errno == EINTR);
    if (num_read < 0) throw failed("read at 0");
    if (num_read < static_cast<ssize_t>(sizeof(header)))
      throw PluginError(ENGRAM_DATA_LOSS,
                        path_ + ": " + std::to_string(num_read) + " bytes, too short for the header of a packed table");
    info_ = sdk::DecodePackedHeader(header, static_cast<uint64_t>(status.st_size), path_);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

TableFile::~TableFile() {
  ::close(fd_);
}

void TableFile::CheckIs(const engram_table_desc& wanted) const {
  const auto check = [&](const char* what, uint64_t here, uint64_t expected) {
    if (here != expected)
      throw PluginError(ENGRAM_INVALID_ARGUMENT, path_ + ": holds a table with " + what + " " + std::to_string(here) +
                                                     ", the model needs " + std::to_string(expected));
  };
  check("layer", info_.layer, wanted.layer);
  check("num_rows", info_.num_rows, wanted.num_rows);
  check("row_bytes", info_.row_bytes, wanted.row_bytes);
  check("row_format", info_.row_format, wanted.row_format);
}

}  // namespace engram::tier_file
