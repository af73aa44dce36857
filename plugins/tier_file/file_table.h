// SPDX-License-Identifier: Apache-2.0
// A table attached to tier_file: rows read from its packed table, page by page.
#pragma once

#include <engram/tier.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "lanes.h"
#include "run_reader.h"
#include "table_file.h"

struct engram_tier_table {
 public:
  // `lanes` outlives this. PluginError where the file is not the table that `desc` describes.
  engram_tier_table(const engram_table_desc& desc, engram::tier_file::LanePool& lanes, bool verify);

  // As engram_tier_functions.read, with errors as PluginError; any threads.
  void Read(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride, uint8_t* found);
  engram_tier_stats Stats() const;
  const engram::tier_file::TableFile& file() const { return file_; }

 private:
  std::string Explain(const engram::tier_file::RunFailure& failure) const;

  const engram::tier_file::TableFile file_;
  engram::tier_file::LanePool& lanes_;
  const bool verify_;
  const uint32_t max_run_bytes_;
  std::atomic<uint64_t> reads_{0};
  std::atomic<uint64_t> rows_{0};
  std::atomic<uint64_t> hits_{0};
  engram::tier_file::ReadCounters counters_;
};
