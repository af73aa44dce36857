// SPDX-License-Identifier: Apache-2.0
#include "memory/token_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "memory/row_gather.h"
#include "tests/plugins/test_tier.h"

namespace engram {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::HasSubstr;

constexpr uint32_t kColumns = 3;
constexpr uint32_t kRowBytes = 8;
constexpr uint64_t kRows = 100'000;
// Layers 1 and 14, whose ids come in the order 14, 1.
const std::vector<GatherLayer> kLayers = {{1, 1}, {14, 0}};

uint8_t ByteOf(uint32_t layer, uint64_t row, uint32_t i) {
  return static_cast<uint8_t>((row * 131 + i * 7 + layer * 29) >> 1);
}

// A token's ids; no two tokens have one in common.
std::vector<uint64_t> IdsOf(uint64_t token) {
  std::vector<uint64_t> ids(2 * kColumns);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = token * ids.size() + i;
  return ids;
}

class TokenRowsTest : public ::testing::Test {
 protected:
  // With a cache before the store, unless `alone`.
  void Open(bool alone = false) {
    auto library = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/test/test_tier.so", ENGRAM_PLUGIN_TIER);
    ASSERT_TRUE(library) << library.error().message;
    cache_.flags = ENGRAM_TIER_CACHE | ENGRAM_TIER_WRITABLE;
    store_.flags = ENGRAM_TIER_STORE | ENGRAM_TIER_MAY_BLOCK;
    const auto spec = [&](const char* name, TestTierControl& control) {
      return TierSpec{name, *library, {{"control", std::to_string(reinterpret_cast<uintptr_t>(&control))}}};
    };
    std::vector<TierSpec> specs;
    if (!alone) specs.push_back(spec("near", cache_));
    specs.push_back(spec("far", store_));
    auto tiers = OpenTiers(specs);
    ASSERT_TRUE(tiers) << tiers.error().message;
    std::vector<std::unique_ptr<TableChain>> chains;
    for (const GatherLayer& layer : kLayers) {
      engram_table_desc desc{};
      desc.layer = layer.layer;
      desc.model = "test";
      desc.num_rows = kRows;
      desc.row_bytes = kRowBytes;
      desc.row_format = ENGRAM_ROW_BF16;
      desc.source.context = reinterpret_cast<void*>(uintptr_t{layer.layer});
      desc.source.read = [](void* context, uint64_t first, uint64_t count, uint8_t* dst, engram_message*) {
        for (uint64_t row = first; row < first + count; ++row)
          for (uint32_t i = 0; i < kRowBytes; ++i)
            *dst++ = ByteOf(static_cast<uint32_t>(reinterpret_cast<uintptr_t>(context)), row, i);
        return engram_status{ENGRAM_OK};
      };
      auto chain = TableChain::Attach(*tiers, desc);
      ASSERT_TRUE(chain) << chain.error().message;
      chains.push_back(*std::move(chain));
    }
    view_.base = std::make_shared<BaseTables>(std::move(chains));
    auto reader = TokenRowReader::Create(kLayers, kColumns, kRowBytes);
    ASSERT_TRUE(reader) << reader.error().message;
    reader_ = *std::move(reader);
    auto gather = RowGather::Create(kLayers, kColumns, kRowBytes, RowGather::kInlineRows, milliseconds(500));
    ASSERT_TRUE(gather) << gather.error().message;
    gather_ = *std::move(gather);
  }
  void TearDown() override {
    store_.Release();
    view_ = {};
    reader_.reset();
    gather_.reset();
    // No thread may use the controls any more.
    while (LeavableThread::num_left_behind() > 0) std::this_thread::yield();
  }

  void Hold(uint64_t from = 0) {
    const std::lock_guard lock(store_.mutex);
    store_.hold_reads = true;
    store_.hold_from = from;
  }
  uint64_t Reads() {
    const std::lock_guard lock(store_.mutex);
    return store_.reads;
  }
  bool WasAsked(uint64_t id) {
    const std::lock_guard lock(store_.mutex);
    return std::find(store_.asked.begin(), store_.asked.end(), id) != store_.asked.end();
  }
  std::shared_ptr<TokenRows> Ask(uint64_t token) { return reader_->Ask(view_, IdsOf(token)); }
  static Status Wait(TokenRows& rows, uint32_t layer, milliseconds timeout = std::chrono::minutes(5)) {
    return rows.Wait(layer, steady_clock::now() + timeout, timeout);
  }
  static void ExpectRows(const uint8_t* rows, uint64_t token, uint32_t index) {
    const auto ids = IdsOf(token);
    for (uint32_t column = 0; column < kColumns; ++column)
      for (uint32_t i = 0; i < kRowBytes; ++i)
        ASSERT_EQ(rows[column * kRowBytes + i],
                  ByteOf(kLayers[index].layer, ids[kLayers[index].id_layer * kColumns + column], i))
            << "token " << token << " layer " << index << " column " << column;
  }

  TestTierControl cache_, store_;
  MemoryView view_;
  std::shared_ptr<TokenRowReader> reader_;
  std::shared_ptr<RowGather> gather_;
};

TEST_F(TokenRowsTest, AllLayersAreReadBeforeAnyBatchTheFirstOnesFirst) {
  Open();
  Hold();
  const auto rows = Ask(7);
  ASSERT_NE(rows, nullptr);
  store_.WaitForReads(1);
  EXPECT_TRUE(WasAsked(IdsOf(7)[kColumns])) << "layer 1, whose ids come last";
  EXPECT_FALSE(rows->over(0));
  EXPECT_FALSE(rows->over(1));
  store_.Release();
  for (uint32_t index = 0; index < 2; ++index) {
    const Status there = Wait(*rows, index);
    ASSERT_TRUE(there) << there.error().message;
    ExpectRows(rows->rows(index), 7, index);
  }
}

TEST_F(TokenRowsTest, WhatTheNearTierHasIsThereAtOnce) {
  Open();
  for (uint32_t index = 0; index < 2; ++index) ASSERT_TRUE(Wait(*Ask(7), index));
  const uint64_t reads = Reads();
  Hold();  // whoever asked the store would wait
  const auto rows = Ask(7);
  for (uint32_t index = 0; index < 2; ++index) {
    EXPECT_TRUE(rows->over(index));
    ExpectRows(rows->rows(index), 7, index);
  }
  EXPECT_EQ(Reads(), reads);
}

TEST_F(TokenRowsTest, OnlyWhatIsMissingGoesFurther) {
  Open();
  ASSERT_TRUE(Wait(*Ask(7), 0));
  ASSERT_TRUE(Wait(*Ask(7), 1));
  {
    const std::lock_guard lock(store_.mutex);
    store_.asked.clear();
  }
  auto ids = IdsOf(7);
  ids[1] = 50'000;
  ids[5] = 60'000;
  const auto rows = reader_->Ask(view_, ids);
  for (uint32_t index = 0; index < 2; ++index) ASSERT_TRUE(Wait(*rows, index));
  for (uint32_t i = 0; i < kRowBytes; ++i) {
    EXPECT_EQ(rows->rows(1)[kRowBytes + i], ByteOf(14, 50'000, i));
    EXPECT_EQ(rows->rows(1)[i], ByteOf(14, ids[0], i));
    EXPECT_EQ(rows->rows(0)[2 * kRowBytes + i], ByteOf(1, 60'000, i));
  }
  const std::lock_guard lock(store_.mutex);
  std::sort(store_.asked.begin(), store_.asked.end());
  EXPECT_EQ(store_.asked, (std::vector<uint64_t>{50'000, 60'000}));
}

TEST_F(TokenRowsTest, ABatchTakesThemBesideRunsThatItGathers) {
  for (const bool alone : {false, true}) {
    Open(alone);
    for (uint64_t token = 10; token < 60; token += 5) {
      const auto second = Ask(token + 2);
      const auto first = Ask(token);
      const auto prefill = IdsOf(token + 1);
      std::vector<uint64_t> two = IdsOf(token + 3);
      const auto more = IdsOf(token + 4);
      two.insert(two.end(), more.begin(), more.end());
      std::vector<BatchRowIds> runs = {{0, 1, nullptr, &view_, {}, 0, first.get()},
                                       {3, 2, two.data(), &view_, {}, 0, nullptr},
                                       {2, 1, nullptr, &view_, {}, 0, second.get()},
                                       {1, 1, prefill.data(), &view_, {}, 0, nullptr}};
      const auto first_ids = IdsOf(token), second_ids = IdsOf(token + 2);
      runs[0].ids = first_ids.data();
      runs[2].ids = second_ids.data();
      if (token == 30) runs = {runs[0]};  // nothing to gather
      engram_batch_rows* rows = gather_->Begin(5, runs);
      for (int again = 0; again < 2; ++again) {
        for (uint32_t index = 0; index < 2; ++index) {
          const auto view = gather_->Await(rows, index);
          ASSERT_TRUE(view) << view.error().message;
          for (uint64_t t = 0; t < (token == 30 ? 1 : 5); ++t)
            ExpectRows(view->data + t * kColumns * kRowBytes, token + t, index);
        }
      }
      gather_->End(rows);
    }
    EXPECT_EQ(gather_->layer_stats(*view_.base)[0].rows_requested, kColumns * (9 * 5 + 1));
    EXPECT_EQ(gather_->layer_stats(*view_.base)[1].batches, 10u);
    view_ = {};
  }
}

TEST_F(TokenRowsTest, WhatIsDroppedBeforeItBeganIsNotRead) {
  Open();
  Hold();
  auto held = Ask(0);
  store_.WaitForReads(1);
  auto dropped = Ask(100);
  const auto kept = Ask(101);
  dropped.reset();
  held.reset();  // is being read, and may be dropped all the same
  store_.Release();
  for (uint32_t index = 0; index < 2; ++index) {
    ASSERT_TRUE(Wait(*kept, index));
    ExpectRows(kept->rows(index), 101, index);
  }
  EXPECT_TRUE(WasAsked(IdsOf(101)[0]));
  for (const uint64_t id : IdsOf(100)) EXPECT_FALSE(WasAsked(id)) << id;
}

TEST_F(TokenRowsTest, WaitingTokensAreReadTogether) {
  Open();
  Hold();
  std::vector<std::shared_ptr<TokenRows>> held;
  held.push_back(Ask(0));
  store_.WaitForReads(1);
  for (uint64_t token = 50; token < 60; ++token) held.push_back(Ask(token));
  store_.Release();
  for (const auto& rows : held)
    for (uint32_t index = 0; index < 2; ++index) ASSERT_TRUE(Wait(*rows, index));
  // The first token's layer 1, the others', then all tokens' layer 14.
  EXPECT_EQ(Reads(), 3u);
  ExpectRows(held.back()->rows(1), 59, 1);
}

// A token whose rows are edited, all or some, in one layer or both; with and without a near tier that has the others.
TEST_F(TokenRowsTest, EditedRowsAreThereAndNoTierIsAskedForThem) {
  for (const bool alone : {false, true}) {
    Open(alone);
    const auto ids = IdsOf(7);
    const auto edit_of = [](uint64_t row) { return std::vector<uint8_t>(kRowBytes, static_cast<uint8_t>(row + 200)); };
    MemoryEdits edits{1, std::vector<RowMap>(2)};
    for (uint32_t column = 0; column < kColumns; ++column)
      edits.layers[0].Set(ids[kLayers[0].id_layer * kColumns + column], 1, edit_of(column));
    edits.layers[1].Set(ids[kLayers[1].id_layer * kColumns + 1], 1, edit_of(1));
    MemoryView edited = view_;
    edited.edits = std::make_shared<const MemoryEdits>(std::move(edits));
    for (int again = 0; again < 2; ++again) {
      const auto rows = reader_->Ask(edited, ids);
      ASSERT_NE(rows, nullptr);
      EXPECT_TRUE(rows->over(0));
      ASSERT_TRUE(Wait(*rows, 1));
      const BatchRowIds run{0, 1, ids.data(), &edited, {}, 0, rows.get()};
      engram_batch_rows* batch = gather_->Begin(1, {&run, 1});
      for (uint32_t index = 0; index < 2; ++index) {
        const auto got = gather_->Await(batch, index);
        ASSERT_TRUE(got) << got.error().message;
        for (uint32_t column = 0; column < kColumns; ++column) {
          const uint64_t row = ids[kLayers[index].id_layer * kColumns + column];
          const bool is_edited = index == 0 || column == 1;
          for (uint32_t i = 0; i < kRowBytes; ++i)
            EXPECT_EQ(got->data[column * kRowBytes + i],
                      is_edited ? column + 200 : ByteOf(kLayers[index].layer, row, i))
                << "layer " << index << " column " << column;
          EXPECT_EQ(WasAsked(row), !is_edited) << "layer " << index << " column " << column;
        }
      }
      gather_->End(batch);
    }
    const auto base_again = Ask(7);
    for (uint32_t index = 0; index < 2; ++index) {
      ASSERT_TRUE(Wait(*base_again, index));
      ExpectRows(base_again->rows(index), 7, index);
    }
    view_ = {};
    std::lock_guard lock(store_.mutex);
    store_.asked.clear();
  }
}

TEST_F(TokenRowsTest, AnErrorComesWithTheBatch) {
  Open(/*alone=*/true);
  store_.fail_at_read = 1;
  const auto ids = IdsOf(3);
  const auto asked = Ask(3);
  for (uint32_t index = 0; index < 2; ++index) static_cast<void>(Wait(*asked, index));
  const BatchRowIds run{0, 1, ids.data(), &view_, {}, 0, asked.get()};
  engram_batch_rows* rows = gather_->Begin(1, {&run, 1});
  const auto view = gather_->Await(rows, 0);
  ASSERT_FALSE(view);
  EXPECT_EQ(view.error().code, ErrorCode::kDataLoss);
  EXPECT_THAT(view.error().message, HasSubstr("tier \"far\", layer 1"));
  EXPECT_EQ(gather_->Await(rows, 1).error().message, view.error().message);
  EXPECT_EQ(gather_->failure()->message, view.error().message);
  gather_->End(rows);
  EXPECT_FALSE(reader_->stalled());
  ASSERT_TRUE(Wait(*Ask(3), 0));
}

TEST_F(TokenRowsTest, AStoreThatDoesNotAnswerIsGivenUpAndNotAskedUntilItDoes) {
  Open();
  Hold();
  const auto ids = IdsOf(3);
  const auto asked = Ask(3);
  store_.WaitForReads(1);
  const BatchRowIds run{0, 1, ids.data(), &view_, {}, 0, asked.get()};
  engram_batch_rows* rows = gather_->Begin(1, {&run, 1});
  const auto view = gather_->Await(rows, 0);
  ASSERT_FALSE(view);
  EXPECT_EQ(view.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(view.error().message, HasSubstr("tier \"far\", layer 1: no answer within 500 ms"));
  EXPECT_EQ(gather_->Await(rows, 1).error().message, view.error().message);
  gather_->End(rows);
  EXPECT_TRUE(reader_->stalled());
  EXPECT_EQ(Ask(4), nullptr);
  EXPECT_EQ(gather_->layer_stats(*view_.base)[0].timeouts, 1u);
  store_.Release();
  while (reader_->stalled()) std::this_thread::yield();
  const auto after = Ask(4);
  ASSERT_NE(after, nullptr);
  ASSERT_TRUE(Wait(*after, 0));
  ExpectRows(after->rows(0), 4, 0);
}

TEST_F(TokenRowsTest, AnIdThatNoTableHasIsLeftToTheBatch) {
  Open();
  auto ids = IdsOf(3);
  ids.back() = kRows;
  EXPECT_EQ(reader_->Ask(view_, ids), nullptr);
  EXPECT_EQ(Reads(), 0u);
}

// What a swap or the end of the process meets when a disk has gone.
TEST_F(TokenRowsTest, AReadThatNeverReturnsKeepsNobody) {
  Open();
  Hold();
  auto asked = Ask(3);
  store_.WaitForReads(1);
  const auto ids = IdsOf(5);
  const BatchRowIds run{0, 1, ids.data(), &view_, {}, 0, nullptr};
  engram_batch_rows* rows = gather_->Begin(1, {&run, 1});
  store_.WaitForReads(2);
  EXPECT_FALSE(gather_->Await(rows, 0));
  gather_->End(rows);
  view_ = {};
  asked.reset();
  reader_.reset();
  gather_.reset();
  EXPECT_EQ(LeavableThread::num_left_behind(), 2u);
  {
    const std::lock_guard lock(store_.mutex);
    EXPECT_EQ(store_.attached, 2u) << "they still read";
  }
  store_.Release();
  while (LeavableThread::num_left_behind() > 0) std::this_thread::yield();
  const std::lock_guard lock(store_.mutex);
  EXPECT_EQ(store_.attached, 0u);
}

}  // namespace
}  // namespace engram
