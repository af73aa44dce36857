// SPDX-License-Identifier: Apache-2.0
#include "run_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <vector>

namespace engram::tier_file {
namespace {

constexpr uint32_t kBlock = 4096;

// A file whose byte at offset o is o / 4,096 + 1, and a script of results: what the n-th read of an offset gives
// instead of its bytes. Finishes the newest read first.
class ScriptedReads final : public AsyncReads {
 public:
  explicit ScriptedReads(uint32_t depth) : depth_(depth) {}
  void Start(uint32_t slot, int, uint8_t* to, uint32_t num_bytes, uint64_t offset) override {
    int64_t result = num_bytes;
    if (auto script = scripts.find(offset); script != scripts.end() && !script->second.empty()) {
      result = script->second.front();
      script->second.pop_front();
    }
    for (int64_t i = 0; i < result; ++i) to[i] = static_cast<uint8_t>((offset + static_cast<uint64_t>(i)) / kBlock + 1);
    waiting_.push_back({slot, result});
    ++started;
    EXPECT_LE(waiting_.size(), depth_);
    deepest = std::max(deepest, waiting_.size());
  }
  uint32_t Wait(Done* done) override {
    EXPECT_FALSE(waiting_.empty());
    *done = waiting_.back();
    waiting_.pop_back();
    return 1;
  }
  bool idle() const { return waiting_.empty(); }

  std::map<uint64_t, std::deque<int64_t>> scripts;
  size_t started = 0;
  size_t deepest = 0;

 private:
  const uint32_t depth_;
  std::vector<Done> waiting_;
};

struct Reading {
  explicit Reading(uint32_t depth = 4) : reads(depth), buffer(size_t{depth} * 4 * kBlock), depth(depth) {}
  std::optional<RunFailure> Run() {
    const ReadBuffers buffers = {buffer.data(), depth, 4 * kBlock};
    const auto consume = [&](size_t run, const uint8_t* bytes) -> std::optional<uint64_t> {
      if (damaged_times > 0 && runs[run].offset == damaged) {
        --damaged_times;
        return damaged;
      }
      ++taken[run];
      for (uint32_t i = 0; i < runs[run].num_bytes; ++i)
        if (bytes[i] != static_cast<uint8_t>((runs[run].offset + i) / kBlock + 1)) ++wrong;
      return std::nullopt;
    };
    auto failure = ReadRuns(reads, buffers, 0, runs, consume, counters);
    EXPECT_TRUE(reads.idle()) << "a read is left under way";
    EXPECT_EQ(counters.under_way, 0u);
    EXPECT_EQ(wrong, 0);
    return failure;
  }
  ScriptedReads reads;
  std::vector<uint8_t> buffer;
  uint32_t depth;
  std::vector<tier_file::Run> runs;
  std::map<size_t, int> taken;
  uint64_t damaged = 0;
  int damaged_times = 0;
  int wrong = 0;
  ReadCounters counters;
};

TEST(ReadRuns, GivesEveryRunOnceAndKeepsTheDepth) {
  for (const uint32_t depth : {1u, 3u, 32u}) {
    Reading reading(depth);
    for (uint64_t i = 0; i < 20; ++i)
      reading.runs.push_back({i * 8 * kBlock, static_cast<uint32_t>(1 + i % 4) * kBlock});
    EXPECT_FALSE(reading.Run());
    EXPECT_EQ(reading.taken.size(), 20u);
    for (const auto& [run, times] : reading.taken) EXPECT_EQ(times, 1) << run;
    EXPECT_EQ(reading.reads.deepest, std::min<size_t>(depth, 20));
    EXPECT_EQ(reading.counters.errors, 0u);
  }
  Reading nothing;
  EXPECT_FALSE(nothing.Run());
}

TEST(ReadRuns, GoesOnAfterShortReads) {
  Reading reading;
  reading.runs = {{0, 4 * kBlock}};
  reading.reads.scripts[0] = {kBlock + 512};  // one block counts
  reading.reads.scripts[kBlock] = {2 * kBlock};
  reading.reads.scripts[3 * kBlock] = {100};  // nothing new: a failed try
  EXPECT_FALSE(reading.Run());
  EXPECT_EQ(reading.taken[0], 1);
  EXPECT_EQ(reading.reads.started, 4u);
  EXPECT_EQ(reading.counters.retries, 1u);
}

TEST(ReadRuns, TriesPassingErrorsThreeTimes) {
  for (const int error : {EIO, EAGAIN, EINTR, ENOMEM}) {
    Reading passing;
    passing.runs = {{0, kBlock}, {kBlock * 9, kBlock}};
    passing.reads.scripts[0] = {-error, -error};
    EXPECT_FALSE(passing.Run());
    EXPECT_EQ(passing.counters.errors, 2u);
    EXPECT_EQ(passing.counters.retries, 2u);
    Reading lasting;
    lasting.runs = passing.runs;
    lasting.reads.scripts[kBlock * 9] = {-error, -error, -error};
    const auto failure = lasting.Run();
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->kind, RunFailure::Kind::kError);
    EXPECT_EQ(failure->error, error);
    EXPECT_EQ(failure->offset, kBlock * 9u);
    EXPECT_EQ(lasting.counters.errors, 3u);
  }
}

TEST(ReadRuns, OtherErrorsFailAtOnceAndStopTheRest) {
  Reading reading(2);
  for (uint64_t i = 0; i < 100; ++i) reading.runs.push_back({i * 8 * kBlock, kBlock});
  reading.reads.scripts[8 * kBlock] = {-EBADF};
  const auto failure = reading.Run();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->error, EBADF);
  EXPECT_LE(reading.reads.started, 3u);
}

TEST(ReadRuns, TheEndOfTheFileIsAFailure) {
  Reading reading;
  reading.runs = {{0, 4 * kBlock}};
  reading.reads.scripts[0] = {kBlock + 7};
  reading.reads.scripts[kBlock] = {7, 7, 7};
  const auto failure = reading.Run();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->kind, RunFailure::Kind::kEnd);
  EXPECT_EQ(failure->offset, kBlock + 7u);
  EXPECT_TRUE(reading.taken.empty());
}

TEST(ReadRuns, ADamagedPageIsReadAgain) {
  Reading once;
  once.runs = {{0, kBlock}, {8 * kBlock, kBlock}};
  once.damaged = 8 * kBlock;
  once.damaged_times = 2;
  EXPECT_FALSE(once.Run());
  EXPECT_EQ(once.taken[1], 1);
  Reading always;
  always.runs = once.runs;
  always.damaged = 8 * kBlock;
  always.damaged_times = 100;
  const auto failure = always.Run();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->kind, RunFailure::Kind::kDamaged);
  EXPECT_EQ(failure->offset, 8 * kBlock);
  EXPECT_EQ(always.damaged_times, 100 - static_cast<int>(kReadAttempts));
}

TEST(LatencyBucket, FollowsTheHeadersBounds) {
  EXPECT_EQ(LatencyBucket(0), 0u);
  for (uint32_t b = 0; b + 1 < ENGRAM_LATENCY_BUCKETS; ++b) {
    const uint64_t bound = (uint64_t{1} << b / 4) * (1000 + b % 4 * 250);
    EXPECT_EQ(LatencyBucket(bound), b);
    EXPECT_EQ(LatencyBucket(bound - 1), b == 0 ? 0 : b - 1);
  }
  EXPECT_EQ(LatencyBucket(UINT64_MAX), ENGRAM_LATENCY_BUCKETS - 1u);
}

}  // namespace
}  // namespace engram::tier_file
