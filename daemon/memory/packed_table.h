// SPDX-License-Identifier: Apache-2.0
// Packed tables (engram/packed_table.h, docs/formats.md): one Engram layer's rows in one file with checksummed pages.
#pragma once

#include <engram/host.h>
#include <engram/packed_table.h>
#include <engram/tier.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/result.h"
#include "ngram/geometry.h"

namespace engram {

// SHA-256 of what addresses a layer's rows, as packed tables state it: two tables with different digests have the same
// rows at most by chance.
sdk::PackedDigest HashConstantsDigest(const Geometry& geometry, const LayerGeometry& layer);

// All zero: the file does not say.
bool IsStated(const sdk::PackedDigest& digest);
// 64 hex digits.
std::string HexText(const sdk::PackedDigest& digest);

// A packed table open for reading. Immutable; any threads at once; blocks on the disk. A file that shrinks or changes
// underneath is an error of the read that meets it.
class PackedTable {
 public:
  // Checks the header and the file's size. kInvalidArgument for what is no packed table, kDataLoss for a damaged or
  // truncated one.
  static Result<std::unique_ptr<PackedTable>> Open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const sdk::PackedTableInfo& info() const { return info_; }

  // Rows [first_row, first_row + num_rows) to dst, dense. kDataLoss names the first damaged page with its offset.
  Status Read(uint64_t first_row, uint64_t num_rows, uint8_t* dst) const;
  // The same as the ABI's callback; valid as long as this object.
  engram_row_source source() const;

  struct Findings {
    uint64_t damaged_pages = 0;
    bool content_checked = false;  // the file states a digest, and no page was damaged
    bool content_matches = false;
  };
  // Reads every page. `report` is called with one sentence per damaged page, `progress` with the pages done; its error
  // ends it.
  Result<Findings> Verify(const std::function<void(const std::string&)>& report,
                          const std::function<Status(uint64_t)>& progress) const;

 private:
  PackedTable(ReadOnlyFile file, const sdk::PackedTableInfo& info) : file_(std::move(file)), info_(info) {}
  // Calls visit(page, bytes) for pages [first, end) in order, unverified, reading about a MiB at once.
  Status ForEachPage(uint64_t first, uint64_t end,
                     const std::function<Status(uint64_t page, const uint8_t* bytes)>& visit) const;
  ReadOnlyFile file_;
  sdk::PackedTableInfo info_;
};

// Writes a packed table in row order under a temporary name; Finish() puts it in place. Memory: about a MiB. One
// thread.
class PackedTableWriter {
 public:
  // `info` comes from sdk::LayOutPackedTable(), with flags and hash_digest filled in. Takes the disk space at once
  // unless the table may have holes.
  static Result<std::unique_ptr<PackedTableWriter>> Create(const std::filesystem::path& path,
                                                           const sdk::PackedTableInfo& info);
  ~PackedTableWriter();

  // The next rows, dense. kInvalidArgument for more rows than the table has.
  Status Append(const uint8_t* rows, uint64_t num_rows);
  // Leaves the next pages as holes; only for tables with kPackedHoles, at the start of a page, and not the last page.
  Status SkipPages(uint64_t num_pages);
  uint64_t rows_written() const { return rows_; }
  // Writes the header, flushes and renames. All rows must have come. Returns what the header says: the content digest
  // is stated unless the table may have holes.
  Result<sdk::PackedTableInfo> Finish();

 private:
  struct Digest;
  PackedTableWriter(FileReplacement file, const sdk::PackedTableInfo& info);
  Status Flush();
  FileReplacement file_;
  sdk::PackedTableInfo info_;
  std::unique_ptr<Digest> digest_;
  std::vector<uint8_t> pages_;  // whole pages not yet written, and the one being filled
  uint64_t first_page_ = 0;     // of pages_
  uint64_t rows_ = 0;           // appended or skipped
};

}  // namespace engram
