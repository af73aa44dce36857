// SPDX-License-Identifier: Apache-2.0
// A chain over fault_tier.so: what a reader gets of each way a tier can go wrong.
#include <engram/synthetic_rows.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "memory/tier_chain.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kRows = uint64_t{384} << 20;
constexpr uint32_t kRowBytes = 264;
constexpr uint64_t kSeed = 3;

std::vector<uint8_t> RowOf(uint64_t id) {
  std::vector<uint8_t> row(kRowBytes);
  sdk::SyntheticRow(kSeed, id, ENGRAM_ROW_FP8_E4M3_UE8M0, 256, row.data());
  return row;
}

class TierFaults : public ::testing::Test {
 protected:
  // `cache`: a tier_dram cache before the failing store.
  void Open(PluginOptions faults, bool cache = false) {
    const auto load = [](const std::string& name) {
      auto library = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/" + name, ENGRAM_PLUGIN_TIER);
      EXPECT_TRUE(library) << library.error().message;
      return *library;
    };
    std::vector<TierSpec> specs;
    if (cache) specs.push_back({"near", load("tier_dram.so"), {{"mode", "cache"}, {"capacity", "4194304"}}});
    faults.insert(faults.end(), {{"rows", "synthetic"}, {"seed", std::to_string(kSeed)}, {"control", control()}});
    specs.push_back({"far", load("test/fault_tier.so"), std::move(faults)});
    auto tiers = OpenTiers(specs);
    ASSERT_TRUE(tiers) << tiers.error().message;
    engram_table_desc desc{};
    desc.layer = 14;
    desc.model = "test";
    desc.num_rows = kRows;
    desc.row_bytes = kRowBytes;
    desc.row_format = ENGRAM_ROW_FP8_E4M3_UE8M0;
    desc.source.read = [](void*, uint64_t, uint64_t, uint8_t*, engram_message*) {
      return engram_status{ENGRAM_INTERNAL};  // no synthetic row comes from here
    };
    auto chain = TableChain::Attach(*tiers, desc);
    ASSERT_TRUE(chain) << chain.error().message;
    chain_ = *std::move(chain);
  }

  std::string control() const { return (dir_.path() / "faults").string(); }
  void Control(const std::string& text) const {
    dir_.Write("faults.new", text);
    std::filesystem::rename(dir_.path() / "faults.new", control());
  }

  Status Read(const std::vector<uint64_t>& ids) {
    rows_.assign(ids.size() * kRowBytes, 0);
    return chain_->Read(ids.data(), static_cast<uint32_t>(ids.size()), rows_.data(), scratch_);
  }
  std::vector<uint8_t> Row(size_t i) const {
    return {rows_.begin() + static_cast<ptrdiff_t>(i * kRowBytes),
            rows_.begin() + static_cast<ptrdiff_t>((i + 1) * kRowBytes)};
  }
  void ExpectRight(const std::vector<uint64_t>& ids) {
    const Status read = Read(ids);
    ASSERT_TRUE(read) << read.error().message;
    for (size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(Row(i), RowOf(ids[i])) << "row " << ids[i];
  }

  TempDir dir_;
  std::unique_ptr<TableChain> chain_;
  ChainScratch scratch_;
  std::vector<uint8_t> rows_;
};

const std::vector<uint64_t> kIds = {7, kRows - 1, 300'000'000, 0, 12'345};

TEST_F(TierFaults, AnErrorNamesTierLayerAndRowAndTheNextReadIsRight) {
  Open({{"error_at", "2"}});
  ExpectRight(kIds);
  const Status failed = Read(kIds);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kDataLoss);
  EXPECT_THAT(failed.error().message, HasSubstr("tier \"far\", layer 14"));
  EXPECT_THAT(failed.error().message, HasSubstr("row 7"));
  ExpectRight(kIds);
  EXPECT_EQ(chain_->stats()[0].counters.errors, 1u);
}

TEST_F(TierFaults, OutOfReachTwiceIsTriedAndThriceIsAnError) {
  Open({});
  Control("unavailable=2\n");
  ExpectRight(kIds);
  EXPECT_EQ(chain_->retries(), 2u);
  Control("unavailable=3\n");
  const Status failed = Read(kIds);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kUnavailable);
  ExpectRight(kIds);
}

TEST_F(TierFaults, AnErrorLeavesTheCacheAsItWas) {
  Open({}, /*cache=*/true);
  ExpectRight(kIds);
  Control("error_at=1\n");
  ExpectRight(kIds);  // all of them in the cache
  const Status failed = Read({7, 8, 0});
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("tier \"far\", layer 14"));
  ExpectRight({7, 8, 0});
}

TEST_F(TierFaults, ASilentFaultSpoilsOneRowOfOneRead) {
  Open({});
  Control("flip_at=1\n");
  ASSERT_TRUE(Read(kIds));
  std::vector<uint8_t> flipped = RowOf(kIds[0]);
  flipped[kRowBytes / 2] ^= 0x10;
  EXPECT_EQ(Row(0), flipped);
  EXPECT_EQ(Row(1), RowOf(kIds[1]));
  Control("torn_at=1\n");
  ASSERT_TRUE(Read(kIds));
  const std::vector<uint8_t> torn = Row(0);
  EXPECT_TRUE(std::equal(torn.begin(), torn.begin() + kRowBytes / 2, RowOf(kIds[0]).begin()));
  EXPECT_NE(torn, RowOf(kIds[0]));
  ExpectRight(kIds);
}

TEST_F(TierFaults, AStalledReadGoesOnWhenReleased) {
  Open({});
  Control("stall_from=1\n");
  Status read;
  std::thread reader([&] { read = Read(kIds); });
  while (chain_->stats()[0].counters.queue_depth == 0) std::this_thread::yield();
  Control("delay_us=1\n");
  reader.join();
  ASSERT_TRUE(read) << read.error().message;
  for (size_t i = 0; i < kIds.size(); ++i) EXPECT_EQ(Row(i), RowOf(kIds[i]));
}

}  // namespace
}  // namespace engram
