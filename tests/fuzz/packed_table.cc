// SPDX-License-Identifier: Apache-2.0
// A packed table's file. Choice: 0 the file as it is; else the fields of its header, from byte 12 on, and pages, whose
// checksums are 1 right in the header, 2 right in both.
#include "memory/packed_table.h"

#include <cstring>
#include <optional>
#include <string>

#include "fuzz/fuzz_target.h"
#include "fuzz/scratch_file.h"

namespace engram {
namespace {

constexpr size_t kFieldBytes = 136 - 12;
constexpr uint64_t kMaxFileBytes = 256u << 10;

std::string MakeFile(FuzzInput input) {
  const uint32_t kind = input.Choice(3);
  if (kind == 0) return std::string(input.Rest());
  std::string file(sdk::kPackedHeaderBytes, '\0');
  auto* header = reinterpret_cast<uint8_t*>(file.data());
  std::memcpy(header, sdk::kPackedMagic, sizeof(sdk::kPackedMagic));
  header[8] = sdk::kPackedVersion;
  const std::string_view fields = input.Take(kFieldBytes);
  std::memcpy(header + 12, fields.data(), fields.size());
  const uint32_t checksum = sdk::Crc32c(header, sdk::kPackedHeaderBytes - sdk::kPackedChecksumBytes);
  for (size_t i = 0; i < 4; ++i) header[sdk::kPackedHeaderBytes - 4 + i] = static_cast<uint8_t>(checksum >> (8 * i));
  file += input.Rest();
  header = reinterpret_cast<uint8_t*>(file.data());
  if (kind == 1) return file;
  // With the size and the page checksums that the header asks for, if that is not too much.
  std::optional<sdk::PackedTableInfo> info;
  uint64_t wanted = sdk::kPackedHeaderBytes;
  for (int i = 0; i < 8; ++i) wanted += uint64_t{header[56 + i]} * (uint64_t{header[49]} << 8) << (8 * i);
  if (wanted > kMaxFileBytes) return file;
  file.resize(wanted);
  try {
    info = sdk::DecodePackedHeader(reinterpret_cast<const uint8_t*>(file.data()), wanted, "table");
  } catch (const sdk::PluginError&) {
    return file;
  }
  for (uint64_t page = 0; page < info->num_pages; ++page)
    sdk::SealPackedPage(*info, page, reinterpret_cast<uint8_t*>(file.data()) + info->PageOffset(page));
  return file;
}

}  // namespace

ENGRAM_FUZZ_TARGET(packed_table, bytes) {
  static const ScratchFile scratch("table.ngt");
  const std::string file = MakeFile(FuzzInput(bytes));
  scratch.Write(file);
  const auto table = PackedTable::Open(scratch.path());
  if (!table) {
    FUZZ_CHECK(!table.error().message.empty());
    return;
  }
  const sdk::PackedTableInfo& info = (*table)->info();
  FUZZ_CHECK(info.file_bytes() == file.size());
  std::vector<uint8_t> row(info.row_bytes);
  for (const uint64_t id : {uint64_t{0}, info.num_rows / 2, info.num_rows - 1}) {
    const Status read = (*table)->Read(id, 1, row.data());
    if (!read) FUZZ_CHECK(!read.error().message.empty());
  }
  FUZZ_CHECK(!(*table)->Read(info.num_rows, 1, row.data()));
  uint64_t damaged = 0;
  const auto findings = (*table)->Verify([&](const std::string&) { ++damaged; }, [](uint64_t) -> Status { return {}; });
  if (findings) FUZZ_CHECK(findings->damaged_pages == damaged);
}

}  // namespace engram
