// SPDX-License-Identifier: Apache-2.0
//
// The packed table: all rows of one Engram layer in one file, laid out so that a row costs one aligned read. This is
// the format alone (docs/formats.md describes it byte by byte); files are opened and read by whoever includes it.
//
//   header (4,096 bytes) | page 0 | page 1 | ...     page = rows_per_page rows, zeros, CRC32C in its last 4 bytes
//
// Rows never straddle pages. A page's checksum also covers its number and the table's id, so a page written to a wrong
// place or table is found as well as a damaged one. All functions are pure; any thread.
#ifndef ENGRAM_CPP_PACKED_TABLE_H_
#define ENGRAM_CPP_PACKED_TABLE_H_

#include <array>
#include <cstdint>
#include <cstring>
#include <string>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#include "engram/host.h"
#include "engram/plugin_error.h"

namespace engram::sdk {

inline constexpr uint32_t kPackedVersion = 1;
inline constexpr uint32_t kPackedHeaderBytes = 4096;
inline constexpr uint32_t kPackedPageUnit = 4096;  // page_bytes is a multiple of it
inline constexpr uint32_t kPackedMaxPageBytes = 1u << 20;
inline constexpr uint32_t kPackedMaxRowBytes = 1u << 17;
inline constexpr uint64_t kPackedMaxRows = uint64_t{1} << 42;
inline constexpr uint32_t kPackedChecksumBytes = 4;  // at the end of the header and of every page
inline constexpr char kPackedMagic[8] = {'E', 'N', 'G', 'R', 'M', 'T', 'B', 'L'};

// PackedTableInfo.flags
enum : uint32_t {
  // A page of zero bytes, checksum included, is intact and holds zero rows: a hole of a sparse file. Without this flag
  // such a page is damaged (a write that never reached the disk).
  kPackedHoles = 1u << 0,
};

using PackedDigest = std::array<uint8_t, 32>;  // SHA-256; all zero: not stated

struct PackedTableInfo {
  uint32_t flags = 0;
  uint32_t layer = 0;  // model layer number
  uint64_t num_rows = 0;
  uint32_t row_bytes = 0;  // follows from row_format and head_dim
  engram_row_format row_format = 0;
  uint32_t head_dim = 0;
  uint32_t rows_per_page = 0;
  uint32_t page_bytes = 0;
  uint64_t num_pages = 0;
  uint64_t table_id = 0;          // chosen by the writer; part of every page's checksum
  PackedDigest content_digest{};  // of all rows, dense, in order
  PackedDigest hash_digest{};     // of the constants that address them; docs/formats.md

  bool operator==(const PackedTableInfo&) const = default;

  uint64_t file_bytes() const { return kPackedHeaderBytes + num_pages * page_bytes; }
  uint64_t PageOf(uint64_t row) const { return row / rows_per_page; }
  // In the file.
  uint64_t PageOffset(uint64_t page) const { return kPackedHeaderBytes + page * page_bytes; }
  // Within its page.
  uint32_t OffsetInPage(uint64_t row) const { return static_cast<uint32_t>(row % rows_per_page) * row_bytes; }
  // Rows of `page`: rows_per_page but in the last one.
  uint32_t RowsIn(uint64_t page) const {
    const uint64_t left = num_rows - page * rows_per_page;
    return left < rows_per_page ? static_cast<uint32_t>(left) : rows_per_page;
  }
};

namespace internal {

inline constexpr std::array<std::array<uint32_t, 256>, 8> MakeCrcTables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    tables[0][i] = crc;
  }
  for (uint32_t i = 0; i < 256; ++i)
    for (size_t t = 1; t < 8; ++t) tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xff];
  return tables;
}
inline constexpr auto kCrcTables = MakeCrcTables();

// Eight bytes a turn through eight tables. `crc` is the register, not inverted.
inline uint32_t CrcPortable(uint32_t crc, const uint8_t* data, size_t num_bytes) {
  for (; num_bytes >= 8; data += 8, num_bytes -= 8) {
    const uint32_t low =
        crc ^ (uint32_t{data[0]} | uint32_t{data[1]} << 8 | uint32_t{data[2]} << 16 | uint32_t{data[3]} << 24);
    crc = kCrcTables[7][low & 0xff] ^ kCrcTables[6][low >> 8 & 0xff] ^ kCrcTables[5][low >> 16 & 0xff] ^
          kCrcTables[4][low >> 24] ^ kCrcTables[3][data[4]] ^ kCrcTables[2][data[5]] ^ kCrcTables[1][data[6]] ^
          kCrcTables[0][data[7]];
  }
  for (; num_bytes > 0; ++data, --num_bytes) crc = (crc >> 8) ^ kCrcTables[0][(crc ^ *data) & 0xff];
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) inline uint32_t CrcSse42(uint32_t crc, const uint8_t* data, size_t num_bytes) {
  uint64_t state = crc;
  for (; num_bytes >= 8; data += 8, num_bytes -= 8) {
    uint64_t word;
    std::memcpy(&word, data, sizeof(word));
    state = _mm_crc32_u64(state, word);
  }
  crc = static_cast<uint32_t>(state);
  for (; num_bytes > 0; ++data, --num_bytes) crc = _mm_crc32_u8(crc, *data);
  return crc;
}
#endif

inline void PutLittle(uint8_t* at, uint64_t value, size_t num_bytes) {
  for (size_t i = 0; i < num_bytes; ++i) at[i] = static_cast<uint8_t>(value >> (8 * i));
}
inline uint64_t GetLittle(const uint8_t* at, size_t num_bytes) {
  uint64_t value = 0;
  for (size_t i = num_bytes; i-- > 0;) value = value << 8 | at[i];
  return value;
}

}  // namespace internal

// CRC32C (Castagnoli, as in iSCSI) of the bytes; `crc` is that of the bytes before them, 0 at the start.
inline uint32_t Crc32c(const void* data, size_t num_bytes, uint32_t crc = 0) {
  const auto* bytes = static_cast<const uint8_t*>(data);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return ~internal::CrcSse42(~crc, bytes, num_bytes);
#endif
  return ~internal::CrcPortable(~crc, bytes, num_bytes);
}

// Bytes of one row as engram/host.h gives them; 0 for an unknown format or a head_dim of 0 or above 2^15.
inline uint32_t PackedRowBytes(engram_row_format format, uint32_t head_dim) {
  if (head_dim == 0 || head_dim > (1u << 15)) return 0;
  switch (format) {
    case ENGRAM_ROW_BF16:
    case ENGRAM_ROW_F16:
      return 2 * head_dim;
    case ENGRAM_ROW_F32:
      return 4 * head_dim;
    case ENGRAM_ROW_FP8_E4M3_UE8M0:
      return head_dim + (head_dim + 31) / 32;
    default:
      return 0;
  }
}

inline const char* PackedFormatName(engram_row_format format) {
  switch (format) {
    case ENGRAM_ROW_BF16:
      return "bf16";
    case ENGRAM_ROW_F16:
      return "f16";
    case ENGRAM_ROW_F32:
      return "f32";
    case ENGRAM_ROW_FP8_E4M3_UE8M0:
      return "fp8_e4m3_ue8m0";
    default:
      return "unknown";
  }
}

// Lays a table out: row_bytes, page_bytes, rows_per_page and num_pages. The page is the smallest multiple of 4 KiB that
// rows fill to three quarters at least (4 KiB for rows of 1 KiB or less), so that checksums never double the file.
// Throws ENGRAM_INVALID_ARGUMENT for a geometry the format cannot hold.
inline PackedTableInfo LayOutPackedTable(uint32_t layer, uint64_t num_rows, engram_row_format format,
                                         uint32_t head_dim) {
  PackedTableInfo info;
  info.layer = layer;
  info.num_rows = num_rows;
  info.row_format = format;
  info.head_dim = head_dim;
  info.row_bytes = PackedRowBytes(format, head_dim);
  if (info.row_bytes == 0)
    throw PluginError(ENGRAM_INVALID_ARGUMENT, "a packed table cannot hold rows of " + std::to_string(head_dim) +
                                                   " values in row format " + std::to_string(format));
  if (num_rows == 0 || num_rows > kPackedMaxRows)
    throw PluginError(ENGRAM_INVALID_ARGUMENT, "a packed table has 1 to " + std::to_string(kPackedMaxRows) +
                                                   " rows, not " + std::to_string(num_rows));
  do {
    info.page_bytes += kPackedPageUnit;
    info.rows_per_page = (info.page_bytes - kPackedChecksumBytes) / info.row_bytes;
  } while (info.rows_per_page * info.row_bytes < info.page_bytes / 4 * 3);
  info.num_pages = (num_rows + info.rows_per_page - 1) / info.rows_per_page;
  return info;
}

// Writes the header's 4,096 bytes.
inline void EncodePackedHeader(const PackedTableInfo& info, uint8_t* header) {
  using internal::PutLittle;
  std::memset(header, 0, kPackedHeaderBytes);
  std::memcpy(header, kPackedMagic, sizeof(kPackedMagic));
  PutLittle(header + 8, kPackedVersion, 4);
  PutLittle(header + 12, kPackedHeaderBytes, 4);
  PutLittle(header + 16, info.flags, 4);
  PutLittle(header + 20, info.layer, 4);
  PutLittle(header + 24, info.num_rows, 8);
  PutLittle(header + 32, info.row_bytes, 4);
  PutLittle(header + 36, info.row_format, 4);
  PutLittle(header + 40, info.head_dim, 4);
  PutLittle(header + 44, info.rows_per_page, 4);
  PutLittle(header + 48, info.page_bytes, 4);
  PutLittle(header + 56, info.num_pages, 8);
  PutLittle(header + 64, info.table_id, 8);
  std::memcpy(header + 72, info.content_digest.data(), info.content_digest.size());
  std::memcpy(header + 104, info.hash_digest.data(), info.hash_digest.size());
  PutLittle(header + kPackedHeaderBytes - 4, Crc32c(header, kPackedHeaderBytes - 4), 4);
}

// Reads and checks a header of 4,096 bytes; `file_bytes` is the file's size. Whatever the bytes are, the result is safe
// to compute with: no offset of it overflows, and every page lies in the file. Throws ENGRAM_INVALID_ARGUMENT for a
// file that is no packed table or of a newer version, ENGRAM_DATA_LOSS for a damaged or truncated one; messages begin
// with `path` and name the field and its offset.
inline PackedTableInfo DecodePackedHeader(const uint8_t* header, uint64_t file_bytes, const std::string& path) {
  using internal::GetLittle;
  const auto fail = [&](engram_status status, const std::string& what) {
    return PluginError(status, path + ": " + what);
  };
  const auto field = [&](const char* name, size_t offset, uint64_t value, const std::string& expected) {
    return fail(ENGRAM_DATA_LOSS, std::string("packed table header, ") + name + " at byte " + std::to_string(offset) +
                                      " is " + std::to_string(value) + ", expected " + expected);
  };
  if (std::memcmp(header, kPackedMagic, sizeof(kPackedMagic)) != 0)
    throw fail(ENGRAM_INVALID_ARGUMENT, "not a packed table: the file does not begin with \"ENGRMTBL\"");
  if (const uint64_t version = GetLittle(header + 8, 4); version != kPackedVersion)
    throw fail(ENGRAM_INVALID_ARGUMENT, "packed table of version " + std::to_string(version) +
                                            "; this program reads version " + std::to_string(kPackedVersion));
  const auto stated = static_cast<uint32_t>(GetLittle(header + kPackedHeaderBytes - 4, 4));
  if (const uint32_t computed = Crc32c(header, kPackedHeaderBytes - 4); stated != computed)
    throw fail(ENGRAM_DATA_LOSS, "packed table header is damaged: the checksum at byte 4092 is " +
                                     std::to_string(stated) + ", its bytes give " + std::to_string(computed));
  if (const uint64_t bytes = GetLittle(header + 12, 4); bytes != kPackedHeaderBytes)
    throw field("header_bytes", 12, bytes, std::to_string(kPackedHeaderBytes));
  PackedTableInfo info;
  info.flags = static_cast<uint32_t>(GetLittle(header + 16, 4));
  if ((info.flags & ~kPackedHoles) != 0) throw field("flags", 16, info.flags, "no bits but 0");
  info.layer = static_cast<uint32_t>(GetLittle(header + 20, 4));
  info.num_rows = GetLittle(header + 24, 8);
  if (info.num_rows == 0 || info.num_rows > kPackedMaxRows)
    throw field("num_rows", 24, info.num_rows, "1 to " + std::to_string(kPackedMaxRows));
  info.row_bytes = static_cast<uint32_t>(GetLittle(header + 32, 4));
  info.row_format = static_cast<engram_row_format>(GetLittle(header + 36, 4));
  info.head_dim = static_cast<uint32_t>(GetLittle(header + 40, 4));
  const uint32_t row_bytes = PackedRowBytes(info.row_format, info.head_dim);
  if (row_bytes == 0)
    throw fail(ENGRAM_DATA_LOSS, "packed table header, row_format at byte 36 and head_dim at byte 40 are " +
                                     std::to_string(info.row_format) + " and " + std::to_string(info.head_dim) +
                                     ": no such row");
  if (info.row_bytes != row_bytes) throw field("row_bytes", 32, info.row_bytes, std::to_string(row_bytes));
  info.page_bytes = static_cast<uint32_t>(GetLittle(header + 48, 4));
  if (info.page_bytes == 0 || info.page_bytes % kPackedPageUnit != 0 || info.page_bytes > kPackedMaxPageBytes)
    throw field("page_bytes", 48, info.page_bytes, "a multiple of 4096 up to " + std::to_string(kPackedMaxPageBytes));
  info.rows_per_page = static_cast<uint32_t>(GetLittle(header + 44, 4));
  const uint32_t rows_per_page = (info.page_bytes - kPackedChecksumBytes) / row_bytes;
  if (rows_per_page == 0 || info.rows_per_page != rows_per_page)
    throw field("rows_per_page", 44, info.rows_per_page,
                std::to_string(rows_per_page) + ", at least 1, for " + std::to_string(row_bytes) + " bytes a row");
  info.num_pages = GetLittle(header + 56, 8);
  if (const uint64_t pages = (info.num_rows + rows_per_page - 1) / rows_per_page; info.num_pages != pages)
    throw field("num_pages", 56, info.num_pages, std::to_string(pages));
  info.table_id = GetLittle(header + 64, 8);
  std::memcpy(info.content_digest.data(), header + 72, info.content_digest.size());
  std::memcpy(info.hash_digest.data(), header + 104, info.hash_digest.size());
  for (size_t i = 52; i < kPackedHeaderBytes - 4; ++i) {
    if (i == 56) i = 136;  // between the two reserved spaces
    if (header[i] != 0) throw field("reserved space", i, header[i], "0");
  }
  if (file_bytes != info.file_bytes())
    throw fail(ENGRAM_DATA_LOSS, (file_bytes < info.file_bytes() ? "truncated: " : "longer than its table: ") +
                                     std::to_string(file_bytes) + " bytes, a packed table of " +
                                     std::to_string(info.num_rows) + " rows of " + std::to_string(row_bytes) +
                                     " bytes has " + std::to_string(info.file_bytes()));
  return info;
}

// The checksum that belongs into the last 4 bytes of `page`.
inline uint32_t PackedPageChecksum(const PackedTableInfo& info, uint64_t page, const uint8_t* bytes) {
  uint8_t place[16];
  internal::PutLittle(place, info.table_id, 8);
  internal::PutLittle(place + 8, page, 8);
  return Crc32c(bytes, info.page_bytes - kPackedChecksumBytes, Crc32c(place, sizeof(place)));
}

// Writes the checksum into a page of page_bytes whose rows are in place and whose rest is zero.
inline void SealPackedPage(const PackedTableInfo& info, uint64_t page, uint8_t* bytes) {
  internal::PutLittle(bytes + info.page_bytes - kPackedChecksumBytes, PackedPageChecksum(info, page, bytes), 4);
}

// Whether a page of page_bytes, as read, is the one that was written there.
inline bool PackedPageIntact(const PackedTableInfo& info, uint64_t page, const uint8_t* bytes) {
  const uint32_t stated = static_cast<uint32_t>(internal::GetLittle(bytes + info.page_bytes - kPackedChecksumBytes, 4));
  if (stated == PackedPageChecksum(info, page, bytes)) return true;
  if ((info.flags & kPackedHoles) == 0 || stated != 0 || bytes[0] != 0) return false;
  return std::memcmp(bytes, bytes + 1, info.page_bytes - 1) == 0;
}

// "PATH: layer L, page P at byte B (rows A to Z) is damaged: ..."
inline std::string DamagedPageText(const PackedTableInfo& info, uint64_t page, const std::string& path) {
  const uint64_t first = page * info.rows_per_page;
  return path + ": layer " + std::to_string(info.layer) + ", page " + std::to_string(page) + " at byte " +
         std::to_string(info.PageOffset(page)) + " (rows " + std::to_string(first) + " to " +
         std::to_string(first + info.RowsIn(page) - 1) + ") is damaged: its checksum does not match";
}

}  // namespace engram::sdk

#endif  // ENGRAM_CPP_PACKED_TABLE_H_
