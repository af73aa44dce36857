// SPDX-License-Identifier: Apache-2.0
// A hot set's file. Choice: 0 the file as it is; 1 what stands behind the magic, with the right number of rows and the
// right checksum.
#include <engram/packed_table.h>

#include "fuzz/fuzz_target.h"
#include "fuzz/scratch_file.h"
#include "memory/hot_set_file.h"

namespace engram {
namespace {

std::string MakeFile(FuzzInput input) {
  if (input.Choice(2) == 0) return std::string(input.Rest());
  std::string file = "ENGRMHOT" + std::string(input.Rest());
  file.resize(std::max<size_t>(64, file.size() / 8 * 8));
  auto* bytes = reinterpret_cast<uint8_t*>(file.data());
  sdk::internal::PutLittle(bytes + 24, (file.size() - 64) / 8, 8);
  const uint32_t checksum = sdk::Crc32c(bytes, file.size());
  for (int i = 0; i < 4; ++i) file += static_cast<char>(static_cast<uint8_t>(checksum >> (8 * i)));
  return file;
}

}  // namespace

ENGRAM_FUZZ_TARGET(hot_set, bytes) {
  static const ScratchFile scratch("rows.hot");
  static const ScratchFile again("again.hot");
  scratch.Write(MakeFile(FuzzInput(bytes)));
  const auto set = ReadHotSet(scratch.path());
  if (!set) {
    FUZZ_CHECK(set.error().message.starts_with(scratch.path().string()));
    return;
  }
  FUZZ_CHECK(set->ids.size() <= kMaxHotRows);
  for (const uint64_t id : set->ids) FUZZ_CHECK(id < set->num_rows);
  // Written, it is read again as the same.
  FUZZ_CHECK(WriteHotSet(again.path(), *set));
  const auto read = ReadHotSet(again.path());
  FUZZ_CHECK(read && read->layer == set->layer && read->num_rows == set->num_rows && read->identity == set->identity &&
             read->ids == set->ids);
}

}  // namespace engram
