// SPDX-License-Identifier: Apache-2.0
#include "file_table.h"

#include <engram/plugin_error.h>

#include <algorithm>
#include <cstring>

using engram::sdk::PackedTableInfo;
using engram::sdk::PluginError;
using engram::tier_file::Lane;
using engram::tier_file::ReadBuffers;
using engram::tier_file::ReadCounters;
using engram::tier_file::RunFailure;

namespace {

// Neighbouring pages are read together up to this; more would not be faster and makes the buffers larger.
constexpr uint32_t kMaxRunBytes = 64u << 10;

}  // namespace

engram_tier_table::engram_tier_table(const engram_table_desc& desc, engram::tier_file::LanePool& lanes, bool verify)
    : file_(desc.path),
      lanes_(lanes),
      verify_(verify),
      max_run_bytes_(
          std::max(file_.info().page_bytes, kMaxRunBytes / file_.info().page_bytes * file_.info().page_bytes)) {
  file_.CheckIs(desc);
}

void engram_tier_table::Read(const uint64_t* ids, uint32_t num_ids, uint8_t* dst, uint64_t dst_stride, uint8_t* found) {
  const PackedTableInfo& info = file_.info();
  reads_.fetch_add(1, std::memory_order_relaxed);
  rows_.fetch_add(num_ids, std::memory_order_relaxed);
  const auto failure = lanes_.Use([&](Lane& lane) {
    lane.wanted.clear();
    lane.runs.clear();
    lane.first_wanted.clear();
    for (uint32_t i = 0; i < num_ids; ++i) {
      if (ids[i] >= info.num_rows)
        throw PluginError(ENGRAM_INVALID_ARGUMENT, file_.path() + ": row " + std::to_string(ids[i]) +
                                                       " of a table of " + std::to_string(info.num_rows) + " rows");
      lane.wanted.push_back({info.PageOf(ids[i]), i});
    }
    std::sort(lane.wanted.begin(), lane.wanted.end(),
              [](const Lane::Wanted& a, const Lane::Wanted& b) { return a.page < b.page; });
    for (uint32_t i = 0; i < num_ids; ++i) {
      const uint64_t page = lane.wanted[i].page;
      if (i > 0 && page == lane.wanted[i - 1].page) continue;
      const bool follows = i > 0 && page == lane.wanted[i - 1].page + 1;
      if (follows && lane.runs.back().num_bytes + info.page_bytes <= max_run_bytes_) {
        lane.runs.back().num_bytes += info.page_bytes;
      } else {
        lane.runs.push_back({info.PageOffset(page), info.page_bytes});
        lane.first_wanted.push_back(i);
      }
    }
    lane.first_wanted.push_back(num_ids);

    const auto consume = [&](size_t run, const uint8_t* bytes) -> std::optional<uint64_t> {
      const uint32_t num_pages = lane.runs[run].num_bytes / info.page_bytes;
      const uint64_t first_page = lane.wanted[lane.first_wanted[run]].page;
      for (uint32_t p = 0; verify_ && p < num_pages; ++p) {
        if (!engram::sdk::PackedPageIntact(info, first_page + p, bytes + uint64_t{p} * info.page_bytes))
          return info.PageOffset(first_page + p);
      }
      for (uint32_t w = lane.first_wanted[run]; w < lane.first_wanted[run + 1]; ++w) {
        const Lane::Wanted& wanted = lane.wanted[w];
        const uint8_t* page = bytes + (wanted.page - first_page) * info.page_bytes;
        std::memcpy(dst + wanted.index * dst_stride, page + info.OffsetInPage(ids[wanted.index]), info.row_bytes);
      }
      return std::nullopt;
    };
    return ReadRuns(lane.reads(), lane.Buffers(max_run_bytes_), file_.fd(), lane.runs, consume, counters_);
  });
  if (failure) {
    const bool io = failure->kind == RunFailure::Kind::kError;
    throw PluginError(io ? ENGRAM_IO : ENGRAM_DATA_LOSS, Explain(*failure));
  }
  hits_.fetch_add(num_ids, std::memory_order_relaxed);
  std::fill_n(found, num_ids, uint8_t{1});
}

std::string engram_tier_table::Explain(const RunFailure& failure) const {
  const PackedTableInfo& info = file_.info();
  switch (failure.kind) {
    case RunFailure::Kind::kDamaged:
      return engram::sdk::DamagedPageText(info, (failure.offset - info.PageOffset(0)) / info.page_bytes, file_.path());
    case RunFailure::Kind::kEnd:
      return file_.path() + ": layer " + std::to_string(info.layer) + ": the file ends at byte " +
             std::to_string(failure.offset) + ", its table needs " + std::to_string(info.file_bytes()) +
             "; it was truncated after it was opened";
    case RunFailure::Kind::kError:
      break;
  }
  return file_.path() + ": layer " + std::to_string(info.layer) + ": read at byte " + std::to_string(failure.offset) +
         ": " + std::strerror(failure.error);
}

engram_tier_stats engram_tier_table::Stats() const {
  engram_tier_stats stats = {};
  stats.queue_depth = counters_.under_way.load(std::memory_order_relaxed);
  stats.reads = reads_.load(std::memory_order_relaxed);
  stats.hits = hits_.load(std::memory_order_relaxed);
  stats.rows = rows_.load(std::memory_order_relaxed);
  stats.errors = counters_.errors.load(std::memory_order_relaxed);
  stats.bytes_read = counters_.bytes.load(std::memory_order_relaxed);
  stats.retries = counters_.retries.load(std::memory_order_relaxed);
  for (size_t i = 0; i < ENGRAM_LATENCY_BUCKETS; ++i)
    stats.read_latency[i] = counters_.latency[i].load(std::memory_order_relaxed);
  return stats;
}
