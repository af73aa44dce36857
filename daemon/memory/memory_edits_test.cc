// SPDX-License-Identifier: Apache-2.0
#include "memory/memory_edits.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <utility>
#include <vector>

namespace engram {
namespace {

constexpr uint32_t kRowBytes = 12;
using Model = std::map<uint64_t, std::pair<uint64_t, std::vector<uint8_t>>>;

std::vector<uint8_t> Bytes(uint64_t row, uint64_t version) {
  std::vector<uint8_t> bytes(kRowBytes);
  for (uint32_t i = 0; i < kRowBytes; ++i) bytes[i] = static_cast<uint8_t>(row * 7 + version * 13 + i);
  return bytes;
}

void ExpectSame(const RowMap& map, const Model& model) {
  ASSERT_EQ(map.size(), model.size());
  ASSERT_EQ(map.empty(), model.empty());
  for (const auto& [row, entry] : model) {
    const RowMap::Entry found = map.Find(row);
    ASSERT_NE(found.bytes, nullptr) << row;
    ASSERT_EQ(found.version, entry.first) << row;
    ASSERT_EQ(std::memcmp(found.bytes, entry.second.data(), kRowBytes), 0) << row;
  }
  // All at once, with rows that are not there between.
  std::vector<uint64_t> rows;
  for (const auto& [row, entry] : model) rows.insert(rows.end(), {row, row + 1});
  for (size_t first = 0; first < rows.size(); first += RowMap::kFindRows) {
    const size_t count = std::min(RowMap::kFindRows, rows.size() - first);
    std::vector<RowMap::Entry> found(count);
    map.FindEach({&rows[first], count}, found.data());
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(found[i].bytes, map.Find(rows[first + i]).bytes) << rows[first + i];
  }
  Model visited;
  map.ForEach([&](uint64_t row, const RowMap::Entry& entry) {
    visited[row] = {entry.version, std::vector<uint8_t>(entry.bytes, entry.bytes + kRowBytes)};
  });
  ASSERT_EQ(visited, model);
}

// Many versions live at once, each made from any of them and dropped in any order; all stay what they were.
TEST(RowMap, EqualsAMapWhateverHappensToOthers) {
  std::mt19937_64 random(11);
  for (const uint64_t range : {uint64_t{3}, uint64_t{40}, uint64_t{2000}, ~uint64_t{0}}) {
    std::vector<std::pair<RowMap, Model>> versions(1);
    for (int step = 0; step < 300; ++step) {
      auto [map, model] = versions[random() % versions.size()];
      const int changes = static_cast<int>(random() % 40);
      for (int i = 0; i < changes; ++i) {
        // Half of them rows that are there already.
        uint64_t row = range == ~uint64_t{0} ? random() : random() % range;
        if (!model.empty() && random() % 2 == 0) {
          const auto at = model.lower_bound(row);
          row = at == model.end() ? model.begin()->first : at->first;
        }
        if (random() % 3 == 0) {
          map.Erase(row);
          model.erase(row);
        } else {
          const uint64_t version = random() % 1000;
          const std::vector<uint8_t> bytes = Bytes(row, version);
          map.Set(row, version, bytes);
          model[row] = {version, bytes};
        }
      }
      ASSERT_EQ(map.Find(range == ~uint64_t{0} ? 12345 : range + 1).bytes, nullptr);
      if (versions.size() > 12) versions.erase(versions.begin() + static_cast<long>(random() % versions.size()));
      versions.emplace_back(std::move(map), std::move(model));
      if (step % 10 != 0) continue;
      for (const auto& [kept, expected] : versions) ASSERT_NO_FATAL_FAILURE(ExpectSame(kept, expected));
    }
    for (const auto& [kept, expected] : versions) ASSERT_NO_FATAL_FAILURE(ExpectSame(kept, expected));
  }
}

TEST(RowMap, CountsItsBytes) {
  RowMap map;
  EXPECT_EQ(map.resident_bytes(), 0u);
  for (uint64_t row = 0; row < 5000; ++row) map.Set(row, 1, Bytes(row, 1));
  // Rows and their heads, and not many times that for nodes.
  EXPECT_GT(map.resident_bytes(), 5000u * (kRowBytes + 16));
  EXPECT_LT(map.resident_bytes(), 5000u * (kRowBytes + 100));
  const RowMap before = map;
  const uint64_t bytes = map.resident_bytes();
  map.Set(77, 2, Bytes(77, 2));  // another row of the same size, on nodes of its own
  EXPECT_LE(map.resident_bytes(), bytes);
  for (uint64_t row = 0; row < 5000; ++row) map.Erase(row);
  EXPECT_EQ(map.resident_bytes(), 0u);
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(before.resident_bytes(), bytes);
  EXPECT_EQ(before.size(), 5000u);
}

TEST(RowMap, ValuesAreCopiedMovedAndAssigned) {
  RowMap map;
  map.Set(1, 1, Bytes(1, 1));
  RowMap copy = map;
  map.Set(2, 2, Bytes(2, 2));
  EXPECT_EQ(copy.size(), 1u);
  RowMap moved = std::move(map);
  EXPECT_EQ(moved.size(), 2u);
  copy = moved;
  EXPECT_EQ(copy.Find(2).version, 2u);
  copy = RowMap();
  EXPECT_TRUE(copy.empty());
  EXPECT_EQ(copy.Find(1).bytes, nullptr);
  copy.Erase(1);
  EXPECT_EQ(moved.size(), 2u);
}

// Readers hold versions that a writer goes on from, and drop the last reference to some.
TEST(RowMap, VersionsAreReadWhileOthersAreMade) {
  std::vector<RowMap> versions(20);
  for (uint64_t row = 0; row < 3000; ++row) versions[0].Set(row, 0, Bytes(row, 0));
  for (size_t v = 1; v < versions.size(); ++v) versions[v] = versions[0];
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t v = t; v < versions.size(); v += 4) {
        RowMap next = versions[v];
        versions[v] = RowMap();
        for (uint64_t row = t; row < 3000; row += 5) next.Set(row, v, Bytes(row, v));
        for (uint64_t row = t + 1; row < 3000; row += 5) next.Erase(row);
        for (uint64_t row = 0; row < 3000; ++row) {
          const RowMap::Entry entry = next.Find(row);
          const bool erased = row % 5 == (t + 1) % 5 && row >= t + 1;
          ASSERT_EQ(entry.bytes == nullptr, erased) << row;
          if (!erased) {
            ASSERT_EQ(entry.bytes[0], Bytes(row, entry.version)[0]);
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace engram
