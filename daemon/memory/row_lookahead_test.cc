// SPDX-License-Identifier: Apache-2.0
#include "memory/row_lookahead.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "tests/plugins/test_tier.h"

namespace engram {
namespace {

constexpr uint32_t kColumns = 2;
constexpr uint64_t kRows = 100'000;
constexpr uint32_t kRowBytes = 4;

class RowLookaheadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto library = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/test/test_tier.so", ENGRAM_PLUGIN_TIER);
    ASSERT_TRUE(library) << library.error().message;
    cache_.flags = ENGRAM_TIER_CACHE | ENGRAM_TIER_WRITABLE;
    store_.flags = ENGRAM_TIER_STORE | ENGRAM_TIER_MAY_BLOCK;
    const auto spec = [&](const char* name, TestTierControl& control) {
      return TierSpec{name, *library, {{"control", std::to_string(reinterpret_cast<uintptr_t>(&control))}}};
    };
    auto tiers = OpenTiers({spec("near", cache_), spec("far", store_)});
    ASSERT_TRUE(tiers) << tiers.error().message;
    std::vector<std::unique_ptr<TableChain>> chains;
    for (const uint32_t layer : {1u, 14u}) {
      engram_table_desc desc{};
      desc.layer = layer;
      desc.model = "test";
      desc.num_rows = kRows;
      desc.row_bytes = kRowBytes;
      desc.row_format = ENGRAM_ROW_BF16;
      desc.source.read = [](void*, uint64_t, uint64_t, uint8_t*, engram_message*) { return engram_status{ENGRAM_OK}; };
      auto chain = TableChain::Attach(*tiers, desc);
      ASSERT_TRUE(chain) << chain.error().message;
      EXPECT_TRUE((*chain)->gains_from_lookahead());
      chains.push_back(*std::move(chain));
    }
    base_ = std::make_shared<BaseTables>(std::move(chains));
    auto lookahead = RowLookahead::Create({{1, 1}, {14, 0}}, kColumns);
    ASSERT_TRUE(lookahead) << lookahead.error().message;
    lookahead_ = *std::move(lookahead);
  }
  void TearDown() override { store_.Release(); }

  // Row ids 0, 1, 2, ... so that a token's are those from token * 4 on: layer 14's, then layer 1's.
  static std::vector<uint64_t> Ids(uint32_t num_tokens) {
    std::vector<uint64_t> ids(size_t{num_tokens} * 2 * kColumns);
    std::iota(ids.begin(), ids.end(), uint64_t{0});
    return ids;
  }
  std::vector<uint64_t> Asked() {
    const std::lock_guard lock(store_.mutex);
    std::vector<uint64_t> asked = store_.asked;
    std::sort(asked.begin(), asked.end());
    return asked;
  }

  TestTierControl cache_, store_;
  std::shared_ptr<BaseTables> base_;
  std::shared_ptr<RowLookahead> lookahead_;
};

TEST_F(RowLookaheadTest, ReadsEveryRowOfEveryLayerOnce) {
  const auto progress = std::make_shared<PromptProgress>(0);
  const auto ids = Ids(100);
  lookahead_->Request(base_, progress, 0, ids);
  while (lookahead_->rows_read() < ids.size()) std::this_thread::yield();
  EXPECT_EQ(Asked(), ids);
  lookahead_->Request(base_, progress, 0, ids);
  while (lookahead_->rows_read() < 2 * ids.size()) std::this_thread::yield();
  EXPECT_EQ(Asked(), ids) << "the cache has them";
}

TEST_F(RowLookaheadTest, PassesOverWhatABatchHasAskedFor) {
  const auto progress = std::make_shared<PromptProgress>(0);
  {
    const std::lock_guard lock(store_.mutex);
    store_.hold_reads = true;
  }
  const auto ids = Ids(128);
  lookahead_->Request(base_, progress, 0, ids);
  store_.WaitForReads(1);  // of the first of four pieces
  *progress = 100;         // in the fourth
  store_.Release();
  while (lookahead_->rows_read() < (32 + 28) * 4) std::this_thread::yield();
  lookahead_.reset();
  std::vector<uint64_t> expected(ids.begin(), ids.begin() + 32 * 4);
  expected.insert(expected.end(), ids.begin() + 100 * 4, ids.end());
  EXPECT_EQ(Asked(), expected);
}

TEST_F(RowLookaheadTest, DropsWhatDoesNotFitTheQueue) {
  {
    const std::lock_guard lock(store_.mutex);
    store_.hold_reads = true;
  }
  const auto progress = std::make_shared<PromptProgress>(0);
  const std::vector<uint64_t> ids(RowLookahead::kMaxWaitingIds + 1000, 1);
  lookahead_->Request(base_, progress, 0, std::span(ids).first(128));
  store_.WaitForReads(1);
  lookahead_->Request(base_, progress, 0, ids);
  EXPECT_EQ(lookahead_->ids_dropped(), 1000u);
  *progress = UINT32_MAX;
  store_.Release();
}

TEST_F(RowLookaheadTest, ATierThatFailsIsLeftToTheBatch) {
  store_.fail_at_read = 1;
  const auto progress = std::make_shared<PromptProgress>(0);
  const auto ids = Ids(64);
  lookahead_->Request(base_, progress, 0, ids);
  while (lookahead_->rows_read() < 128) std::this_thread::yield();  // the second piece
  EXPECT_EQ(lookahead_->rows_read(), 128u);
}

}  // namespace
}  // namespace engram
