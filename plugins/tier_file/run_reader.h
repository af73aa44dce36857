// SPDX-License-Identifier: Apache-2.0
// ReadRuns: reads stretches of one file, as many at once as allowed, with bounded retries.
#pragma once

#include <engram/tier.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "async_reads.h"

namespace engram::tier_file {

// A stretch of whole pages; offset and num_bytes are multiples of 4,096.
struct Run {
  uint64_t offset;
  uint32_t num_bytes;
};

// Of all reads of a table; any thread.
struct ReadCounters {
  std::atomic<uint64_t> bytes{0};
  std::atomic<uint64_t> errors{0};   // reads that failed, came short or were damaged, retried or not
  std::atomic<uint64_t> retries{0};  // of those, the ones that were tried again
  std::atomic<uint32_t> under_way{0};
  std::array<std::atomic<uint64_t>, ENGRAM_LATENCY_BUCKETS> latency{};  // as engram_tier_stats.read_latency
};

// The bucket of engram_tier_stats.read_latency.
uint32_t LatencyBucket(uint64_t nanoseconds);

struct RunFailure {
  enum class Kind { kError, kEnd, kDamaged };
  Kind kind;
  uint64_t offset;  // in the file: of the read that failed, or of the damaged page
  int error;        // errno; of kError
};

// Reads are tried this often before they fail.
inline constexpr uint32_t kReadAttempts = 3;

// Buffers uint8 [depth][slot_bytes], aligned to 4,096; no run is longer than slot_bytes.
struct ReadBuffers {
  uint8_t* data;
  uint32_t depth;
  uint32_t slot_bytes;
};

// Reads all runs of `fd` and gives each to `consume`, once, in no order. `consume(run index, bytes)` returns the offset
// in the file of a page that is damaged, and has then taken nothing of it; the run is read again. Returns the first
// failure; nothing is under way when this returns. PluginError as AsyncReads.
std::optional<RunFailure> ReadRuns(AsyncReads& reads, const ReadBuffers& buffers, int fd, std::span<const Run> runs,
                                   const std::function<std::optional<uint64_t>(size_t, const uint8_t*)>& consume,
                                   ReadCounters& counters);

}  // namespace engram::tier_file
