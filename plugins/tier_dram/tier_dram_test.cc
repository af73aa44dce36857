// SPDX-License-Identifier: Apache-2.0
// Through the shared object, as the daemon uses it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "plugin/tier.h"

namespace engram {
namespace {

using ::testing::HasSubstr;

uint8_t ByteOf(uint64_t row, uint64_t i) {
  return static_cast<uint8_t>((row * 131 + i * 7) >> 1);
}

struct Source {
  uint32_t row_bytes = 0;
  uint64_t fail_at_row = UINT64_MAX;
  std::atomic<uint64_t> rows_read{0};

  static engram_status Read(void* context, uint64_t first, uint64_t count, uint8_t* dst, engram_message* message) {
    auto* source = static_cast<Source*>(context);
    if (source->fail_at_row >= first && source->fail_at_row - first < count) {
      std::snprintf(message->text, message->capacity, "disk on fire");
      return ENGRAM_IO;
    }
    for (uint64_t r = 0; r < count; ++r)
      for (uint64_t i = 0; i < source->row_bytes; ++i) *dst++ = ByteOf(first + r, i);
    source->rows_read += count;
    return ENGRAM_OK;
  }
};

Result<std::shared_ptr<Tier>> OpenDram(const PluginOptions& options) {
  auto library = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/tier_dram.so", ENGRAM_PLUGIN_TIER);
  if (!library) return std::move(library).error();
  return Tier::Open(*library, options);
}

Result<std::unique_ptr<TierTable>> AttachTo(Source& source, uint64_t num_rows, uint32_t row_bytes,
                                            const PluginOptions& options = {}) {
  auto tier = OpenDram(options);
  if (!tier) return std::move(tier).error();
  source.row_bytes = row_bytes;
  engram_table_desc desc{};
  desc.layer = 14;
  desc.model = "test-model";
  desc.num_rows = num_rows;
  desc.row_bytes = row_bytes;
  desc.row_format = ENGRAM_ROW_BF16;
  desc.source = {&source, &Source::Read};
  return TierTable::Attach(*tier, desc);
}

TEST(TierDram, IsAStoreThatNeverBlocks) {
  const auto tier = OpenDram({{"huge_pages", "false"}, {"load_threads", "3"}});
  ASSERT_TRUE(tier) << tier.error().message;
  EXPECT_EQ((*tier)->info().flags, static_cast<uint32_t>(ENGRAM_TIER_STORE));
  EXPECT_EQ((*tier)->info().medium, "dram");
}

TEST(TierDram, RefusesBadOptions) {
  const auto why = [](const char* key, const char* value) { return OpenDram({{key, value}}).error().message; };
  EXPECT_THAT(why("huge_page", "true"), HasSubstr("unknown option \"huge_page\"; known: huge_pages, load_threads"));
  EXPECT_THAT(why("numa", "both"), HasSubstr("numa is \"both\", expected local or interleave"));
  EXPECT_THAT(why("huge_pages", "yes"), HasSubstr("huge_pages is \"yes\", expected true or false"));
  for (const char* bad : {"0", "65", "-1", "2x", "", "99999999999"})
    EXPECT_THAT(why("load_threads", bad), HasSubstr("expected a number from 1 to 64")) << bad;
  EXPECT_EQ(OpenDram({{"mode", "x"}}).error().code, ErrorCode::kInvalidArgument);
}

// Every row size from 1 to 600 bytes: whole rows, nothing beside them, in odd places and strides.
TEST(TierDram, GathersEveryRowSize) {
  constexpr uint64_t kRows = 97;
  constexpr uint8_t kCanary = 0xa5;
  std::mt19937_64 random(7);
  for (uint32_t row_bytes = 1; row_bytes <= 600; ++row_bytes) {
    Source source;
    const auto table = AttachTo(
        source, kRows, row_bytes,
        {{"huge_pages", row_bytes % 2 == 0 ? "true" : "false"}, {"numa", row_bytes % 3 == 0 ? "interleave" : "local"}});
    ASSERT_TRUE(table) << table.error().message;
    const uint32_t num_ids = row_bytes % 12;  // also fewer than are prefetched ahead
    const uint64_t stride = row_bytes + row_bytes % 3;
    const size_t offset = 1 + row_bytes % 7;
    // Ids at an odd multiple of their own size from the buffer's start, with neighbours that must not be read as ids.
    std::vector<uint64_t> ids(num_ids + 2, UINT64_MAX);
    for (uint32_t i = 0; i < num_ids; ++i) ids[i + 1] = i == 0 ? kRows - 1 : random() % kRows;
    std::vector<uint8_t> dst(offset + stride * (num_ids + 1), kCanary);
    std::vector<uint8_t> found(num_ids + 2, 0);
    const Status read = (*table)->Read(ids.data() + 1, num_ids, dst.data() + offset, stride, found.data() + 1);
    ASSERT_TRUE(read) << read.error().message;
    for (size_t at = 0; at < dst.size(); ++at) {
      const size_t row = (at - offset) / stride;
      const size_t byte = (at - offset) % stride;
      const bool written = at >= offset && row < num_ids && byte < row_bytes;
      ASSERT_EQ(dst[at], written ? ByteOf(ids[row + 1], byte) : kCanary) << row_bytes << " bytes, at " << at;
    }
    ASSERT_EQ(std::count(found.begin() + 1, found.end() - 1, 1), num_ids);
    ASSERT_EQ(found.front() + found.back(), 0);
  }
}

TEST(TierDram, MapsTheWholeTable) {
  Source source;
  constexpr uint64_t kRows = 100'000;  // 26 MB: several chunks, more than one thread
  const auto table = AttachTo(source, kRows, 264, {{"load_threads", "4"}});
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(source.rows_read, kRows);
  ASSERT_NE((*table)->map(), nullptr);
  for (uint64_t row = 0; row < kRows; ++row)
    for (const uint64_t i : {0u, 100u, 263u}) ASSERT_EQ((*table)->map()[row * 264 + i], ByteOf(row, i)) << row;
  EXPECT_EQ((*table)->Stats()->resident_bytes, kRows * 264);
}

TEST(TierDram, ManyThreadsReadAtOnce) {
  constexpr uint64_t kRows = 5000;
  constexpr uint32_t kPerRead = 64;
  constexpr int kReads = 200;
  Source source;
  const auto table = AttachTo(source, kRows, 66);
  ASSERT_TRUE(table) << table.error().message;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      std::vector<uint64_t> ids(kPerRead);
      std::vector<uint8_t> dst(kPerRead * 66);
      std::vector<uint8_t> found(kPerRead);
      for (int n = 0; n < kReads; ++n) {
        for (uint64_t& id : ids) id = random() % kRows;
        if (!(*table)->Read(ids.data(), kPerRead, dst.data(), 66, found.data())) ++wrong;
        for (uint32_t i = 0; i < kPerRead; ++i)
          if (dst[i * 66 + 65] != ByteOf(ids[i], 65) || dst[i * 66] != ByteOf(ids[i], 0)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  const auto stats = (*table)->Stats();
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->reads, 4u * kReads);
  EXPECT_EQ(stats->rows, 4u * kReads * kPerRead);
  EXPECT_EQ(stats->hits, stats->rows);
  EXPECT_EQ(stats->misses, 0u);
  EXPECT_EQ(stats->bytes_read, stats->rows * 66);
}

TEST(TierDram, RefusesARowBeyondTheTable) {
  Source source;
  const auto table = AttachTo(source, 10, 8);
  ASSERT_TRUE(table);
  std::vector<uint8_t> dst(8 * 8);
  std::vector<uint8_t> found(8);
  for (uint32_t bad_at = 0; bad_at < 8; ++bad_at) {
    std::vector<uint64_t> ids(8, 9);
    ids[bad_at] = bad_at % 2 == 0 ? 10 : UINT64_MAX;
    const Status read = (*table)->Read(ids.data(), 8, dst.data(), 8, found.data());
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(read.error().message, HasSubstr("of a table of 10 rows"));
  }
  EXPECT_EQ((*table)->Stats()->errors, 8u);
}

TEST(TierDram, AFailingSourceFailsTheAttach) {
  Source source;
  source.fail_at_row = 70'000;
  const auto table = AttachTo(source, 100'000, 264);
  ASSERT_FALSE(table);
  EXPECT_EQ(table.error().code, ErrorCode::kIo);
  EXPECT_THAT(table.error().message, HasSubstr("layer 14 of test-model: reading rows from "));
  EXPECT_THAT(table.error().message, HasSubstr("disk on fire"));
}

TEST(TierDram, ATableTooLargeIsRefusedWithTheSizes) {
  Source source;
  const auto table = AttachTo(source, uint64_t{1} << 40, 264);
  ASSERT_FALSE(table);
  EXPECT_EQ(table.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(table.error().message, HasSubstr("cannot allocate 290271069732864 bytes: only "));
  const auto overflow = AttachTo(source, UINT64_MAX / 2, 264);
  ASSERT_FALSE(overflow);
  EXPECT_EQ(overflow.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(AttachTo(source, 0, 264).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(AttachTo(source, 5, 0).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace engram
