// SPDX-License-Identifier: Apache-2.0
#include "memory/hot_sets.h"

#include <engram/synthetic_rows.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "core/file.h"
#include "memory/hot_set_file.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr uint64_t kRows = 1'000'000;
constexpr uint32_t kRowBytes = 264;
constexpr sdk::PackedDigest kIdentity = {1, 2, 3};

// A cache of 4 MiB before a store of computed rows.
std::unique_ptr<TableChain> OpenChain(uint32_t layer = 1) {
  std::vector<TierSpec> specs;
  const auto load = [](const std::string& name) {
    auto library = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/" + name, ENGRAM_PLUGIN_TIER);
    EXPECT_TRUE(library) << library.error().message;
    return *library;
  };
  specs.push_back({"near/1", load("tier_dram.so"), {{"mode", "cache"}, {"capacity", "4194304"}}});
  specs.push_back({"far", load("test/fault_tier.so"), {{"rows", "synthetic"}}});
  auto tiers = OpenTiers(specs);
  EXPECT_TRUE(tiers) << tiers.error().message;
  engram_table_desc desc{};
  desc.layer = layer;
  desc.model = "test";
  desc.num_rows = kRows;
  desc.row_bytes = kRowBytes;
  desc.row_format = ENGRAM_ROW_FP8_E4M3_UE8M0;
  desc.source.read = [](void*, uint64_t, uint64_t, uint8_t*, engram_message*) {
    return engram_status{ENGRAM_INTERNAL};
  };
  auto chain = TableChain::Attach(*tiers, desc);
  EXPECT_TRUE(chain) << chain.error().message;
  return *std::move(chain);
}

std::vector<uint64_t> Ids(uint64_t first, size_t count) {
  std::vector<uint64_t> ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

void Read(TableChain& chain, const std::vector<uint64_t>& ids) {
  ChainScratch scratch;
  std::vector<uint8_t> rows(ids.size() * kRowBytes);
  const Status read = chain.Read(ids.data(), static_cast<uint32_t>(ids.size()), rows.data(), scratch);
  ASSERT_TRUE(read) << read.error().message;
  std::vector<uint8_t> expected(kRowBytes);
  for (size_t i = 0; i < ids.size(); ++i) {
    sdk::SyntheticRow(0, ids[i], ENGRAM_ROW_FP8_E4M3_UE8M0, 256, expected.data());
    ASSERT_TRUE(std::equal(expected.begin(), expected.end(), rows.begin() + static_cast<ptrdiff_t>(i * kRowBytes)));
  }
}

class HotSetsTest : public ::testing::Test {
 protected:
  std::shared_ptr<HotSets> Start(TableChain& chain, uint32_t rows_per_second = 0,
                                 std::chrono::milliseconds save_every = std::chrono::hours(1)) {
    auto sets = HotSets::Start({directory_, save_every, rows_per_second}, "a model", {{&chain, kIdentity}}, nullptr);
    EXPECT_TRUE(sets) << sets.error().message;
    return *std::move(sets);
  }
  // A file with 2,000 hot rows, of which all but the first few hundred were asked for twice and no more.
  void SaveSome() {
    auto chain = OpenChain();
    auto sets = Start(*chain);
    Read(*chain, Ids(0, 2000));
    Read(*chain, Ids(500'000, 1000));  // asked for once: not hot
    Read(*chain, Ids(0, 2000));
    Read(*chain, Ids(100, 300));
    while (!sets->progress().warm) std::this_thread::yield();
  }
  std::string Bytes() const { return *ReadFile(path_, 1 << 20); }

  TempDir temp_dir_;
  const fs::path directory_ = temp_dir_.path() / "state" / "hot";
  const fs::path path_ = directory_ / "a%20model-1-near%2f1.ids";
};

TEST_F(HotSetsTest, TheNextRunReadsHotRowsOnceFromTheStore) {
  SaveSome();
  const auto set = ReadHotSet(path_);
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_EQ(set->layer, 1u);
  EXPECT_EQ(set->num_rows, kRows);
  EXPECT_EQ(set->identity, kIdentity);
  auto first = set->ids;
  ASSERT_EQ(first.size(), 2000u);
  std::sort(first.begin(), first.begin() + 300);
  EXPECT_TRUE(std::equal(first.begin(), first.begin() + 300, Ids(100, 300).begin())) << "the most wanted come first";
  std::sort(first.begin(), first.end());
  EXPECT_EQ(first, Ids(0, 2000));

  auto chain = OpenChain();
  const auto sets = Start(*chain);
  while (!sets->progress().warm) std::this_thread::yield();
  EXPECT_EQ(sets->progress().rows_done, 2000u);
  EXPECT_EQ(sets->progress().rows_total, 2000u);
  EXPECT_EQ(chain->stats()[1].counters.rows, 2000u);
  Read(*chain, Ids(0, 2000));
  EXPECT_EQ(chain->stats()[1].counters.rows, 2000u);
  EXPECT_EQ(chain->stats()[0].counters.hits, 4000u);
}

TEST_F(HotSetsTest, SavesWhileItRuns) {
  auto chain = OpenChain();
  const auto sets = Start(*chain, 0, std::chrono::milliseconds(1));
  Read(*chain, Ids(7, 20));
  Read(*chain, Ids(7, 20));
  const uint64_t saves = sets->progress().saves;
  while (sets->progress().saves < saves + 2) std::this_thread::yield();  // one that began after the reads
  EXPECT_EQ(ReadHotSet(path_)->ids.size(), 20u);
}

TEST_F(HotSetsTest, AWarmUpThatIsStoppedKeepsTheOldFile) {
  SaveSome();
  const std::string before = Bytes();
  {
    auto chain = OpenChain();
    const auto sets = Start(*chain, /*rows_per_second=*/1);
    while (sets->progress().rows_done == 0) std::this_thread::yield();
    EXPECT_FALSE(sets->progress().warm);
  }
  EXPECT_EQ(Bytes(), before);
}

TEST_F(HotSetsTest, WhatIsNoHotSetOfTheTableIsLeftAside) {
  SaveSome();
  const std::string good = Bytes();
  const auto expect_cold = [&](uint32_t layer, const sdk::PackedDigest& identity) {
    auto chain = OpenChain(layer);
    auto sets = HotSets::Start({directory_, std::chrono::hours(1), 0}, "a model", {{chain.get(), identity}}, nullptr);
    ASSERT_TRUE(sets) << sets.error().message;
    EXPECT_EQ((*sets)->progress().rows_total, 0u);
  };
  expect_cold(1, {9});
  for (const size_t place : {size_t{0}, size_t{8}, size_t{17}, size_t{25}, size_t{40}, size_t{64}, good.size() - 1}) {
    std::string damaged = good;
    damaged[place] = static_cast<char>(damaged[place] ^ 1);
    std::ofstream(path_, std::ios::binary) << damaged;
    EXPECT_FALSE(ReadHotSet(path_)) << place;
    expect_cold(1, kIdentity);
  }
  for (const size_t length : {size_t{0}, size_t{63}, size_t{68}, good.size() - 8, good.size() - 1}) {
    std::ofstream(path_, std::ios::binary) << good.substr(0, length);
    EXPECT_FALSE(ReadHotSet(path_)) << length;
    expect_cold(1, kIdentity);
  }
  // Rows beyond the table, with everything else in order.
  ASSERT_TRUE(WriteHotSet(path_, {1, 10, kIdentity, {3, 10}}));
  EXPECT_THAT(ReadHotSet(path_).error().message, HasSubstr("row 10 of a table of 10 rows"));
  // Another layer's file under this one's name.
  ASSERT_TRUE(WriteHotSet(path_, {2, kRows, kIdentity, {3}}));
  expect_cold(1, kIdentity);
}

TEST_F(HotSetsTest, WithoutACacheThereIsNothingToDo) {
  const auto sets = HotSets::Start({directory_, std::chrono::hours(1), 0}, "m", {}, nullptr);
  ASSERT_TRUE(sets) << sets.error().message;
  EXPECT_TRUE((*sets)->progress().warm);
}

TEST_F(HotSetsTest, ADirectoryThatCannotBeMadeIsAnError) {
  temp_dir_.Write("state", "a file");
  auto chain = OpenChain();
  const auto sets = HotSets::Start({directory_, std::chrono::hours(1), 0}, "m", {{chain.get(), kIdentity}}, nullptr);
  ASSERT_FALSE(sets);
  EXPECT_THAT(sets.error().message, HasSubstr(directory_.string()));
}

}  // namespace
}  // namespace engram
