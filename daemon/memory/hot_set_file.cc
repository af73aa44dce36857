// SPDX-License-Identifier: Apache-2.0
#include "memory/hot_set_file.h"

#include <cstring>
#include <string>

#include "core/file.h"

namespace engram {
namespace {

constexpr char kMagic[8] = {'E', 'N', 'G', 'R', 'M', 'H', 'O', 'T'};
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 64;
constexpr size_t kChecksumBytes = 4;

uint64_t Little(const char* bytes, uint32_t num_bytes) {
  return sdk::internal::GetLittle(reinterpret_cast<const uint8_t*>(bytes), num_bytes);
}

}  // namespace

Status WriteHotSet(const std::filesystem::path& path, const HotSet& set) {
  std::vector<uint8_t> bytes(kHeaderBytes + set.ids.size() * 8 + kChecksumBytes);
  std::memcpy(bytes.data(), kMagic, sizeof(kMagic));
  sdk::internal::PutLittle(&bytes[8], kVersion, 4);
  sdk::internal::PutLittle(&bytes[12], set.layer, 4);
  sdk::internal::PutLittle(&bytes[16], set.num_rows, 8);
  sdk::internal::PutLittle(&bytes[24], set.ids.size(), 8);
  std::memcpy(&bytes[32], set.identity.data(), set.identity.size());
  for (size_t i = 0; i < set.ids.size(); ++i) sdk::internal::PutLittle(&bytes[kHeaderBytes + i * 8], set.ids[i], 8);
  const size_t checked = bytes.size() - kChecksumBytes;
  sdk::internal::PutLittle(&bytes[checked], sdk::Crc32c(bytes.data(), checked), 4);
  ENGRAM_TRY(auto file, FileReplacement::Create(path));
  ENGRAM_CHECK_OK(file.WriteAt(0, bytes.data(), bytes.size()));
  return file.Commit(bytes.size());
}

Result<HotSet> ReadHotSet(const std::filesystem::path& path) {
  ENGRAM_TRY(const std::string bytes, ReadFile(path, kHeaderBytes + kMaxHotRows * 8 + kChecksumBytes));
  const auto refused = [&](ErrorCode code, const std::string& why) {
    return Error{code, path.string() + ": " + why, {}};
  };
  if (bytes.size() < kHeaderBytes + kChecksumBytes || std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) != 0)
    return refused(ErrorCode::kInvalidArgument, "not a hot set");
  if (const uint64_t version = Little(&bytes[8], 4); version != kVersion)
    return refused(ErrorCode::kInvalidArgument,
                   "hot set of version " + std::to_string(version) + ", expected " + std::to_string(kVersion));
  HotSet set;
  set.layer = static_cast<uint32_t>(Little(&bytes[12], 4));
  set.num_rows = Little(&bytes[16], 8);
  const uint64_t count = Little(&bytes[24], 8);
  std::memcpy(set.identity.data(), &bytes[32], set.identity.size());
  const size_t checked = bytes.size() - kChecksumBytes;
  if (count > kMaxHotRows || checked != kHeaderBytes + count * 8)
    return refused(ErrorCode::kDataLoss, std::to_string(bytes.size()) + " bytes, which is not the length of " +
                                             std::to_string(count) + " rows");
  if (sdk::Crc32c(bytes.data(), checked) != Little(&bytes[checked], 4))
    return refused(ErrorCode::kDataLoss, "its checksum is wrong");
  set.ids.resize(count);
  for (uint64_t i = 0; i < count; ++i) {
    set.ids[i] = Little(&bytes[kHeaderBytes + i * 8], 8);
    if (set.ids[i] >= set.num_rows)
      return refused(ErrorCode::kDataLoss,
                     "row " + std::to_string(set.ids[i]) + " of a table of " + std::to_string(set.num_rows) + " rows");
  }
  return set;
}

}  // namespace engram
