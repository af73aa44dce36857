// SPDX-License-Identifier: Apache-2.0
// TableFile: a packed table, open for reading past the page cache. Any thread. Errors are PluginError and name the
// file.
#pragma once

#include <engram/packed_table.h>
#include <engram/tier.h>

#include <cstdint>
#include <string>

namespace engram::tier_file {

class TableFile {
 public:
  // Opens and checks the file's header and size. O_DIRECT where the file system has it.
  explicit TableFile(const std::string& path);
  ~TableFile();
  TableFile(const TableFile&) = delete;
  TableFile& operator=(const TableFile&) = delete;

  // ENGRAM_INVALID_ARGUMENT where the file holds another table than the one wanted.
  void CheckIs(const engram_table_desc& wanted) const;

  int fd() const { return fd_; }
  bool direct() const { return direct_; }
  const std::string& path() const { return path_; }
  const sdk::PackedTableInfo& info() const { return info_; }

 private:
  std::string path_;
  int fd_ = -1;
  bool direct_ = true;
  sdk::PackedTableInfo info_;
};

}  // namespace engram::tier_file
