// SPDX-License-Identifier: Apache-2.0
#include "run_reader.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <vector>

namespace engram::tier_file {
namespace {

// O_DIRECT reads begin at multiples of the device's block, at most this.
constexpr uint32_t kBlockBytes = 4096;

uint64_t Now() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

struct Flight {
  size_t run;
  uint32_t num_read;  // bytes of the run that are there; a multiple of kBlockBytes
  uint32_t attempts;  // failed ones
  uint64_t started;   // nanoseconds
};

}  // namespace

uint32_t LatencyBucket(uint64_t nanoseconds) {
  const uint64_t quarters = nanoseconds / 250;  // of a microsecond
  if (quarters < 4) return 0;
  const auto octave = static_cast<uint32_t>(std::bit_width(quarters)) - 3;
  return std::min<uint32_t>(octave * 4 + static_cast<uint32_t>(quarters >> octave) % 4, ENGRAM_LATENCY_BUCKETS - 1);
}

std::optional<RunFailure> ReadRuns(AsyncReads& reads, const ReadBuffers& buffers, int fd, std::span<const Run> runs,
                                   const std::function<std::optional<uint64_t>(size_t, const uint8_t*)>& consume,
                                   ReadCounters& counters) {
  std::vector<Flight> flights(buffers.depth);
  std::vector<AsyncReads::Done> done(buffers.depth);
  std::vector<uint32_t> free_slots(buffers.depth);
  for (uint32_t i = 0; i < buffers.depth; ++i) free_slots[i] = buffers.depth - 1 - i;
  std::optional<RunFailure> failure;
  size_t next = 0;
  const auto under_way = [&] { return buffers.depth - static_cast<uint32_t>(free_slots.size()); };
  const auto start = [&](uint32_t slot) {
    Flight& flight = flights[slot];
    const Run& run = runs[flight.run];
    flight.started = Now();
    reads.Start(slot, fd, buffers.data + uint64_t{slot} * buffers.slot_bytes + flight.num_read,
                run.num_bytes - flight.num_read, run.offset + flight.num_read);
  };
  // True when the slot's run is over, well or not.
  const auto arrive = [&](uint32_t slot, int64_t result) {
    Flight& flight = flights[slot];
    const Run& run = runs[flight.run];
    counters.latency[LatencyBucket(Now() - flight.started)].fetch_add(1, std::memory_order_relaxed);
    if (failure) return true;
    RunFailure reason{RunFailure::Kind::kError, run.offset + flight.num_read, 0};
    bool permanent = false;
    if (result < 0) {
      reason.error = static_cast<int>(-result);
      permanent = result != -EIO && result != -EAGAIN && result != -EINTR && result != -ENOMEM;
    } else {
      counters.bytes.fetch_add(static_cast<uint64_t>(result), std::memory_order_relaxed);
      const uint64_t num_read = flight.num_read + static_cast<uint64_t>(result);
      if (num_read >= run.num_bytes) {
        const auto damaged = consume(flight.run, buffers.data + uint64_t{slot} * buffers.slot_bytes);
        if (!damaged) return true;
        reason = {RunFailure::Kind::kDamaged, *damaged, 0};
        flight.num_read = 0;
      } else {
        reason = {RunFailure::Kind::kEnd, run.offset + num_read, 0};
        const auto whole_blocks = static_cast<uint32_t>(num_read / kBlockBytes * kBlockBytes);
        if (whole_blocks > flight.num_read) {  // short, which is no failure, and gets on
          flight.num_read = whole_blocks;
          start(slot);
          return false;
        }
      }
    }
    counters.errors.fetch_add(1, std::memory_order_relaxed);
    if (permanent || ++flight.attempts == kReadAttempts) {
      failure = reason;
      return true;
    }
    counters.retries.fetch_add(1, std::memory_order_relaxed);
    start(slot);
    return false;
  };

  uint32_t counted = 0;  // what of under_way() is in the gauge
  try {
    for (;;) {
      while (!failure && next < runs.size() && !free_slots.empty()) {
        const uint32_t slot = free_slots.back();
        free_slots.pop_back();
        flights[slot] = {next++, 0, 0, 0};
        start(slot);
      }
      counters.under_way.fetch_add(under_way() - counted, std::memory_order_relaxed);
      counted = under_way();
      if (counted == 0) return failure;
      const uint32_t num_done = reads.Wait(done.data());
      for (uint32_t i = 0; i < num_done; ++i)
        if (arrive(done[i].slot, done[i].result)) free_slots.push_back(done[i].slot);
    }
  } catch (...) {
    counters.under_way.fetch_sub(counted, std::memory_order_relaxed);
    throw;
  }
}

}  // namespace engram::tier_file
