// SPDX-License-Identifier: Apache-2.0
// tier_dram in mode cache, through the shared object, as the daemon uses it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "plugin/tier.h"

namespace engram {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kCapacity = 4u << 20;
constexpr uint64_t kManyRows = uint64_t{1} << 40;

Result<std::shared_ptr<Tier>> OpenCache(uint64_t capacity, const PluginOptions& more = {}) {
  auto library = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/tier_dram.so", ENGRAM_PLUGIN_TIER);
  if (!library) return std::move(library).error();
  PluginOptions options = {{"mode", "cache"}, {"capacity", std::to_string(capacity)}};
  options.insert(options.end(), more.begin(), more.end());
  return Tier::Open(*library, options);
}

Result<std::unique_ptr<TierTable>> Attach(const std::shared_ptr<Tier>& tier, uint64_t num_rows, uint32_t row_bytes) {
  engram_table_desc desc{};
  desc.layer = 14;
  desc.model = "test-model";
  desc.num_rows = num_rows;
  desc.row_bytes = row_bytes;
  desc.row_format = ENGRAM_ROW_BF16;
  desc.source.read = [](void*, uint64_t, uint64_t, uint8_t*, engram_message*) {
    return engram_status{ENGRAM_INTERNAL};
  };
  return TierTable::Attach(tier, desc);
}

// A row's bytes: all follow from its table, its id and how often it was changed.
void MakeRow(uint64_t table, uint64_t row, uint64_t version, uint32_t row_bytes, uint8_t* dst) {
  uint64_t state = (table << 56) ^ (row * 0x9e3779b97f4a7c15u) ^ (version << 32);
  for (uint32_t i = 0; i < row_bytes; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    dst[i] = static_cast<uint8_t>(state >> 56);
  }
}

// Reads, fills in what is missing, as the chain does; returns the hits.
uint32_t ReadThrough(const TierTable& table, const std::vector<uint64_t>& ids, uint32_t row_bytes) {
  std::vector<uint8_t> dst(ids.size() * row_bytes);
  std::vector<uint8_t> found(ids.size());
  const auto count = static_cast<uint32_t>(ids.size());
  EXPECT_TRUE(table.Read(ids.data(), count, dst.data(), row_bytes, found.data()));
  std::vector<uint64_t> missing;
  for (size_t i = 0; i < ids.size(); ++i)
    if (found[i] == 0) missing.push_back(ids[i]);
  dst.assign(missing.size() * row_bytes, 1);
  EXPECT_TRUE(table.Write(missing.data(), static_cast<uint32_t>(missing.size()), dst.data(), row_bytes));
  return count - static_cast<uint32_t>(missing.size());
}

// A few rows are asked for far more than others: row k of `order` with weight 1 / (k + 1).
class Zipf {
 public:
  explicit Zipf(uint32_t num_rows) : sums_(num_rows) {
    double sum = 0;
    for (uint32_t i = 0; i < num_rows; ++i) sums_[i] = sum += 1.0 / (i + 1);
  }
  uint64_t Draw(std::mt19937_64& random) const {
    const double at = static_cast<double>(random() >> 11) * 0x1p-53 * sums_.back();
    return static_cast<uint64_t>(std::lower_bound(sums_.begin(), sums_.end(), at) - sums_.begin());
  }

 private:
  std::vector<double> sums_;
};

TEST(TierDramCache, SaysWhatItIs) {
  const auto tier = OpenCache(kCapacity);
  ASSERT_TRUE(tier) << tier.error().message;
  EXPECT_EQ((*tier)->info().flags, static_cast<uint32_t>(ENGRAM_TIER_CACHE | ENGRAM_TIER_WRITABLE));
  EXPECT_EQ((*tier)->info().capacity_bytes, kCapacity);
  const auto table = Attach(*tier, 100, 64);
  ASSERT_TRUE(table);
  EXPECT_EQ((*table)->map(), nullptr);
}

TEST(TierDramCache, RefusesBadOptionsAndTables) {
  const auto open = [](const PluginOptions& options) {
    auto library = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/tier_dram.so", ENGRAM_PLUGIN_TIER);
    return Tier::Open(*library, options).error().message;
  };
  EXPECT_THAT(open({{"mode", "cache"}}), HasSubstr("option capacity is missing"));
  EXPECT_THAT(open({{"capacity", "100000000"}}), HasSubstr("option capacity is for mode cache"));
  EXPECT_THAT(open({{"mode", "lru"}}), HasSubstr("option mode is \"lru\", expected store or cache"));
  for (const char* bad : {"4194303", "2GiB", "-1", "", "99999999999999999999"})
    EXPECT_THAT(open({{"mode", "cache"}, {"capacity", bad}}), HasSubstr("option capacity is")) << bad;
  const auto tier = OpenCache(kCapacity);
  ASSERT_TRUE(tier);
  EXPECT_THAT(Attach(*tier, 10, 1 << 20).error().message, HasSubstr("it needs room for 16"));
  EXPECT_THAT(Attach(*tier, uint64_t{1} << 49, 64).error().message, HasSubstr("cannot be cached"));
  const auto table = Attach(*tier, 10, 64);
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_THAT(Attach(*tier, 10, 66).error().message, HasSubstr("the cache holds rows of 64 bytes"));
  const uint64_t beyond = 10;
  const uint8_t row[64] = {};
  EXPECT_THAT((*table)->Write(&beyond, 1, row, 64).error().message, HasSubstr("row 10 of a table of 10 rows"));
  const auto huge = OpenCache(uint64_t{1} << 46);
  ASSERT_TRUE(huge);
  EXPECT_EQ(Attach(*huge, 10, 64).error().code, ErrorCode::kResourceExhausted);
}

// Against a map of what each row is: two tables, random reads, fills, changes and invalidations, of far more rows than
// fit. What is found is right and was offered since it was last forgotten; counters add up.
TEST(TierDramCache, AgreesWithASimpleMap) {
  for (const uint32_t row_bytes : {1u, 33u, 64u, 264u, 1000u}) {
    const auto tier = OpenCache(kCapacity, {{"huge_pages", "false"}});
    ASSERT_TRUE(tier);
    std::unique_ptr<TierTable> tables[2] = {*Attach(*tier, kManyRows, row_bytes), *Attach(*tier, kManyRows, row_bytes)};
    std::unordered_map<uint64_t, uint64_t> offered[2];  // row -> version; without the row: never offered, or forgotten
    std::mt19937_64 random(row_bytes);
    const uint64_t stride = row_bytes + 3;
    const uint64_t num_rows = row_bytes < 100 ? 400'000 : 30'000;
    uint64_t asked = 0, hits = 0;
    for (int round = 0; round < 4000; ++round) {
      const int t = static_cast<int>(random() % 2);
      std::vector<uint64_t> ids(random() % 100);
      // Spread over 2^40, half of them from a few.
      for (uint64_t& id : ids) id = (random() % (random() % 2 == 0 ? 2000 : num_rows)) * 2'000'003;
      std::vector<uint8_t> rows(ids.size() * stride, 0xa5);
      std::vector<uint8_t> expected(row_bytes);
      const auto count = static_cast<uint32_t>(ids.size());
      const uint64_t action = random() % 100;
      if (action < 50) {
        std::vector<uint8_t> found(ids.size(), 7);
        ASSERT_TRUE(tables[t]->Read(ids.data(), count, rows.data(), stride, found.data()));
        for (size_t i = 0; i < ids.size(); ++i) {
          ASSERT_LE(found[i], 1);
          const uint8_t* row = &rows[i * stride];
          if (found[i] == 1) {
            const auto entry = offered[t].find(ids[i]);
            ASSERT_NE(entry, offered[t].end()) << "row " << ids[i];
            MakeRow(static_cast<uint64_t>(t), ids[i], entry->second, row_bytes, expected.data());
            ASSERT_EQ(std::memcmp(row, expected.data(), row_bytes), 0) << "row " << ids[i];
          } else {
            for (uint32_t b = 0; b < row_bytes; ++b) ASSERT_EQ(row[b], 0xa5) << "an unfound row was written to";
          }
          for (uint64_t b = row_bytes; b < stride; ++b) ASSERT_EQ(row[b], 0xa5);
          hits += found[i];
        }
        asked += ids.size();
      } else if (action < 94) {
        for (size_t i = 0; i < ids.size(); ++i) {
          const auto version = static_cast<uint64_t>(round) << 8;
          MakeRow(static_cast<uint64_t>(t), ids[i], version, row_bytes, &rows[i * stride]);
          offered[t][ids[i]] = version;
        }
        ASSERT_TRUE(tables[t]->Write(ids.data(), count, rows.data(), stride));
      } else if (action < 99 && !ids.empty()) {
        ASSERT_TRUE(tables[t]->Invalidate(ids.data(), count));
        for (const uint64_t id : ids) offered[t].erase(id);
      } else if (action == 99 && round % 4 == 0) {
        ASSERT_TRUE(tables[t]->Invalidate(nullptr, 0));
        offered[t].clear();
        ASSERT_EQ(tables[t]->Stats()->resident_bytes, 0u);
      }
      const uint64_t resident = tables[0]->Stats()->resident_bytes + tables[1]->Stats()->resident_bytes;
      ASSERT_LE(resident, kCapacity);
    }
    EXPECT_GT(hits, asked / 10) << row_bytes;
    const auto a = *tables[0]->Stats(), b = *tables[1]->Stats();
    EXPECT_EQ(a.hits + b.hits, hits);
    EXPECT_EQ(a.rows + b.rows, asked);
    EXPECT_EQ(a.misses + b.misses, asked - hits);
    EXPECT_GT(a.fills, a.evictions);
  }
}

TEST(TierDramCache, FillsItsCapacityAndKeepsIt) {
  constexpr uint64_t kBig = 64u << 20;
  const auto tier = OpenCache(kBig);
  ASSERT_TRUE(tier);
  const auto table = Attach(*tier, kManyRows, 264);
  ASSERT_TRUE(table);
  std::vector<uint64_t> ids(1000);
  uint64_t next = 0;
  for (int round = 0; round < 600; ++round) {  // 158 MB of rows
    for (uint64_t& id : ids) id = next++;
    EXPECT_EQ(ReadThrough(**table, ids, 264), 0u);
  }
  const auto stats = *(*table)->Stats();
  EXPECT_LE(stats.resident_bytes, kBig);
  EXPECT_GT(stats.resident_bytes, kBig * 85 / 100);
  EXPECT_EQ(stats.fills, 600'000u);
  EXPECT_EQ(stats.fills - stats.evictions, stats.resident_bytes / (264 + 16));
}

TEST(TierDramCache, AScanLeavesTheHotRows) {
  const auto tier = OpenCache(32u << 20);
  ASSERT_TRUE(tier);
  const auto table = Attach(*tier, kManyRows, 264);
  ASSERT_TRUE(table);
  const Zipf zipf(400'000);  // a quarter of them fits
  std::mt19937_64 random(1);
  std::vector<uint64_t> ids(500);
  const auto hot_rate = [&](int rounds) {
    uint64_t hits = 0;
    for (int round = 0; round < rounds; ++round) {
      for (uint64_t& id : ids) id = zipf.Draw(random);
      hits += ReadThrough(**table, ids, 264);
    }
    return 100.0 * static_cast<double>(hits) / (rounds * 500.0);
  };
  hot_rate(4000);
  const double before = hot_rate(1000);
  uint64_t next = 1'000'000;
  double during = 0;
  // Five million one-off rows, 40 times what the cache has room for, with some of the usual ones in between.
  for (int part = 0; part < 100; ++part) {
    for (int round = 0; round < 100; ++round) {
      for (uint64_t& id : ids) id = next++;
      ReadThrough(**table, ids, 264);
    }
    during += hot_rate(20) / 100;
  }
  const double after = hot_rate(100);
  EXPECT_GT(before, 70);
  EXPECT_GT(after, before - 2) << "before the scan " << before;
  EXPECT_GT(during, before - 6) << "before the scan " << before;
  RecordProperty("hit_percent_before_during_after",
                 std::to_string(before) + " " + std::to_string(during) + " " + std::to_string(after));
}

TEST(TierDramCache, ListsRowsAskedForAgainTheMostWantedFirst) {
  const auto tier = OpenCache(kCapacity);
  ASSERT_TRUE(tier);
  const auto table = Attach(*tier, kManyRows, 64);
  const auto other = Attach(*tier, kManyRows, 64);
  ASSERT_TRUE(table && other);
  EXPECT_EQ((*table)->HotRows(100)->size(), 0u);
  const std::vector<uint64_t> once = {1, 2}, twice = {3, 4, 5}, often = {6};
  const auto ask = [&](const TierTable& of, const std::vector<uint64_t>& ids, int times) {
    while (times-- > 0) ReadThrough(of, ids, 64);
  };
  ask(**table, once, 1);
  ask(**table, twice, 2);
  ask(**table, often, 3);
  ask(**other, {77}, 2);
  auto hot = *(*table)->HotRows(100);
  ASSERT_EQ(hot.size(), 4u);
  EXPECT_EQ(hot[0], 6u);
  std::sort(hot.begin() + 1, hot.end());
  EXPECT_EQ(hot, (std::vector<uint64_t>{6, 3, 4, 5}));
  EXPECT_EQ(*(*table)->HotRows(1), (std::vector<uint64_t>{6}));
  EXPECT_EQ(*(*other)->HotRows(100), (std::vector<uint64_t>{77}));
  EXPECT_EQ((*table)->HotRows(0)->size(), 0u);
}

TEST(TierDramCache, ADetachedTableLeavesNothingToTheNext) {
  const auto tier = OpenCache(kCapacity);
  ASSERT_TRUE(tier);
  const auto other = Attach(*tier, 1000, 64);
  ASSERT_TRUE(other);
  const std::vector<uint64_t> ids = {1, 2, 3};
  for (int round = 0; round < 300; ++round) {  // more often than there are table numbers
    const auto table = Attach(*tier, 1000, 64);
    ASSERT_TRUE(table) << table.error().message;
    ASSERT_EQ((*table)->Stats()->fills, 0u);
    ASSERT_EQ(ReadThrough(**table, ids, 64), 0u);
    ASSERT_EQ(ReadThrough(**table, ids, 64), 3u);
  }
  EXPECT_EQ(ReadThrough(**other, ids, 64), 0u);
}

TEST(TierDramCache, ManyThreadsReadFillAndForget) {
  constexpr uint32_t kRowBytes = 132;
  const auto tier = OpenCache(kCapacity);
  ASSERT_TRUE(tier);
  const auto table = Attach(*tier, kManyRows, kRowBytes);
  ASSERT_TRUE(table);
  std::atomic<uint64_t> wrong{0}, hits{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      std::vector<uint64_t> ids(64);
      std::vector<uint8_t> rows(64 * kRowBytes), expected(kRowBytes), found(64);
      for (int round = 0; round < 2000; ++round) {
        // Rows of one shard or two, so that threads meet, and at times more than fit.
        for (uint64_t& id : ids) id = random() % (round % 2 == 0 ? 300 : 50'000);
        if (!(*table)->Read(ids.data(), 64, rows.data(), kRowBytes, found.data())) ++wrong;
        for (uint32_t i = 0; i < 64; ++i) {
          MakeRow(0, ids[i], 0, kRowBytes, expected.data());
          if (found[i] == 1) {
            ++hits;
            if (std::memcmp(&rows[i * kRowBytes], expected.data(), kRowBytes) != 0) ++wrong;
          }
          std::memcpy(&rows[i * kRowBytes], expected.data(), kRowBytes);
        }
        if (!(*table)->Write(ids.data(), 64, rows.data(), kRowBytes)) ++wrong;
        if (round % 16 == 0 && !(*table)->Invalidate(ids.data(), 8)) ++wrong;
        if (round % 500 == 499 && !(*table)->Invalidate(nullptr, 0)) ++wrong;
        if (!(*table)->Stats()) ++wrong;
        if (round % 100 != 99) continue;
        const auto hot = (*table)->HotRows(1000);
        if (!hot || std::any_of(hot->begin(), hot->end(), [](uint64_t id) { return id >= 50'000; })) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(hits, 0u);
  const auto stats = *(*table)->Stats();
  EXPECT_EQ(stats.hits, hits);
  EXPECT_EQ(stats.rows, 4u * 2000 * 64);
  EXPECT_LE(stats.resident_bytes, kCapacity);
}

}  // namespace
}  // namespace engram
