// SPDX-License-Identifier: Apache-2.0
// A hot set file: the rows of one table that a cache held and that were worth holding. docs/formats.md describes it
// byte by byte. Blocking; any thread.
#pragma once

#include <engram/packed_table.h>

#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/result.h"

namespace engram {

// The most ids of one file: 64 MiB of them.
inline constexpr uint64_t kMaxHotRows = uint64_t{8} << 20;

struct HotSet {
  uint32_t layer = 0;
  uint64_t num_rows = 0;         // of the table
  sdk::PackedDigest identity{};  // HashConstantsDigest() of the table: what its row numbers mean
  std::vector<uint64_t> ids;     // the most wanted first; each below num_rows, at most kMaxHotRows
};

// Replaces the file as a whole: readers see the old one or the new one, also after a power cut. kIo, kNotFound (no such
// directory).
Status WriteHotSet(const std::filesystem::path& path, const HotSet& set);

// kNotFound for no file, kDataLoss for a damaged one, kInvalidArgument for what is no hot set, kIo.
Result<HotSet> ReadHotSet(const std::filesystem::path& path);

}  // namespace engram
