// SPDX-License-Identifier: Apache-2.0
// table unpack: a packed table as safetensors again.
#include <engram/safetensors.h>

#include <algorithm>
#include <cstring>

#include "core/file.h"
#include "engramctl/table_commands.h"
#include "memory/packed_table.h"

namespace engram {
namespace {

// One tensor of the file: columns [first, first + num_bytes) of every row.
struct Part {
  const char* name;
  sdk::TensorType type;
  uint32_t first = 0;
  uint32_t num_bytes = 0;
  uint64_t offset = 0;  // in the file
};

std::vector<Part> PartsOf(const sdk::PackedTableInfo& info) {
  switch (info.row_format) {
    case ENGRAM_ROW_FP8_E4M3_UE8M0:
      return {{"weight", sdk::TensorType::kF8E4M3, 0, info.head_dim},
              {"scale", sdk::TensorType::kF8E8M0, info.head_dim, info.row_bytes - info.head_dim}};
    case ENGRAM_ROW_F32:
      return {{"weight", sdk::TensorType::kF32, 0, info.row_bytes}};
    case ENGRAM_ROW_F16:
      return {{"weight", sdk::TensorType::kF16, 0, info.row_bytes}};
    default:
      return {{"weight", sdk::TensorType::kBF16, 0, info.row_bytes}};
  }
}

Status Unpack(const PackedTable& table, const std::string& out) {
  const sdk::PackedTableInfo& info = table.info();
  std::vector<Part> parts = PartsOf(info);
  std::string header = "{";
  uint64_t at = 0;
  for (const Part& part : parts) {
    const uint64_t end = at + info.num_rows * part.num_bytes;
    header += (at > 0 ? ",\"model.layers." : "\"model.layers.") + std::to_string(info.layer) + ".engram.embed." +
              part.name + "\":{\"dtype\":\"" + sdk::Name(part.type) +
              "\",\"shape\":" + sdk::ShapeText({info.num_rows, part.num_bytes / sdk::NumBytes(part.type)}) +
              ",\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(end) + "]}";
    at = end;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');  // values begin aligned
  uint8_t header_bytes[8];
  sdk::internal::PutLittle(header_bytes, header.size(), sizeof(header_bytes));
  uint64_t file_bytes = sizeof(header_bytes) + header.size();
  for (Part& part : parts) {
    part.offset = file_bytes;
    file_bytes += info.num_rows * part.num_bytes;
  }

  ENGRAM_TRY(FileReplacement file, FileReplacement::Create(out));
  ENGRAM_CHECK_OK(file.Reserve(file_bytes));
  ENGRAM_CHECK_OK(file.WriteAt(0, header_bytes, sizeof(header_bytes)));
  ENGRAM_CHECK_OK(file.WriteAt(sizeof(header_bytes), header.data(), header.size()));
  Progress progress("unpacking", file_bytes);
  const uint64_t at_once = std::clamp<uint64_t>((1u << 20) / info.row_bytes, 1, info.num_rows);
  std::vector<uint8_t> rows(at_once * info.row_bytes), column(at_once * info.row_bytes);
  for (uint64_t row = 0; row < info.num_rows; row += at_once) {
    const uint64_t count = std::min(at_once, info.num_rows - row);
    ENGRAM_CHECK_OK(table.Read(row, count, rows.data()));
    for (const Part& part : parts) {
      for (uint64_t i = 0; i < count; ++i)
        std::memcpy(&column[i * part.num_bytes], &rows[i * info.row_bytes + part.first], part.num_bytes);
      ENGRAM_CHECK_OK(file.WriteAt(part.offset + row * part.num_bytes, column.data(), count * part.num_bytes));
    }
    progress.Show((row + count) * info.row_bytes);
  }
  return file.Commit(file_bytes);
}

}  // namespace

int TableUnpack(const Arguments& arguments, const std::string& file) {
  const auto table = PackedTable::Open(file);
  if (!table) return Report(table.error());
  const Status unpacked = Unpack(**table, *arguments.Value("out"));
  return unpacked ? kDone : Report(unpacked.error());
}

}  // namespace engram
