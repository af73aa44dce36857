// SPDX-License-Identifier: Apache-2.0
#include "memory/row_gather.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/plugins/test_tier.h"

namespace engram {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kColumns = 3;
constexpr uint32_t kRowBytes = 10;
constexpr uint64_t kRows = 20'000;

uint8_t ByteOf(uint32_t layer, uint64_t row, uint32_t i) {
  return static_cast<uint8_t>((row * 131 + i * 7 + layer * 29) >> 1);
}

// A table's source: its address is its layer number.
engram_row_source SourceOf(uint32_t layer) {
  engram_row_source source{};
  source.context = reinterpret_cast<void*>(uintptr_t{layer});
  source.read = [](void* context, uint64_t first, uint64_t count, uint8_t* dst, engram_message*) {
    for (uint64_t r = first; r < first + count; ++r)
      for (uint32_t i = 0; i < kRowBytes; ++i)
        *dst++ = ByteOf(static_cast<uint32_t>(reinterpret_cast<uintptr_t>(context)), r, i);
    return engram_status{ENGRAM_OK};
  };
  return source;
}

std::shared_ptr<const PluginLibrary> Load(const std::string& name) {
  auto library = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/" + name, ENGRAM_PLUGIN_TIER);
  EXPECT_TRUE(library) << library.error().message;
  return library ? *library : nullptr;
}

TierSpec Dram() {
  return {"dram", Load("tier_dram.so"), {}};
}
TierSpec Steered(const std::string& name, TestTierControl& control) {
  return {name, Load("test/test_tier.so"), {{"control", std::to_string(reinterpret_cast<uintptr_t>(&control))}}};
}

// A gather and the base its runs are of.
class GatherUnderTest {
 public:
  GatherUnderTest(std::shared_ptr<BaseTables> base, std::shared_ptr<RowGather> gather) : gather_(std::move(gather)) {
    view_.base = std::move(base);
  }
  engram_batch_rows* Begin(uint32_t num_tokens, std::span<const BatchRowIds> runs) {
    std::vector<BatchRowIds> viewed(runs.begin(), runs.end());
    for (BatchRowIds& run : viewed)
      if (run.view == nullptr) run.view = &view_;
    return gather_->Begin(num_tokens, viewed);
  }
  Result<engram_row_view> Await(engram_batch_rows* rows, uint32_t layer) { return gather_->Await(rows, layer); }
  void End(engram_batch_rows* rows) { gather_->End(rows); }
  RowGather& gather() { return *gather_; }
  std::vector<LayerRowStats> layer_stats() const { return gather_->layer_stats(*view_.base); }
  std::vector<TierTableStats> tier_stats() const { return view_.base->tier_stats(); }

 private:
  MemoryView view_;
  std::shared_ptr<RowGather> gather_;
};

// Layers 1 and 14, whose ids come in the order 14, 1.
Result<std::shared_ptr<BaseTables>> OpenBase(const std::vector<TierSpec>& specs) {
  auto tiers = OpenTiers(specs);
  if (!tiers) return std::move(tiers).error();
  std::vector<std::unique_ptr<TableChain>> chains;
  for (const uint32_t layer : {1u, 14u}) {
    engram_table_desc desc{};
    desc.layer = layer;
    desc.model = "test";
    desc.num_rows = kRows;
    desc.row_bytes = kRowBytes;
    desc.row_format = ENGRAM_ROW_BF16;
    desc.source = SourceOf(layer);
    auto chain = TableChain::Attach(*tiers, desc);
    if (!chain) return std::move(chain).error();
    chains.push_back(*std::move(chain));
  }
  return std::make_shared<BaseTables>(std::move(chains));
}

Result<std::unique_ptr<GatherUnderTest>> Open(const std::vector<TierSpec>& specs,
                                              std::chrono::milliseconds read_timeout = RowGather::kReadTimeout) {
  auto base = OpenBase(specs);
  if (!base) return std::move(base).error();
  auto gather = RowGather::Create({{1, 1}, {14, 0}}, kColumns, kRowBytes, RowGather::kInlineRows, read_timeout);
  if (!gather) return std::move(gather).error();
  return std::make_unique<GatherUnderTest>(*std::move(base), *std::move(gather));
}

std::vector<uint64_t> RandomIds(size_t num_tokens, uint64_t range, uint64_t seed = 5) {
  std::mt19937_64 random(seed);
  std::vector<uint64_t> ids(num_tokens * 2 * kColumns);
  for (uint64_t& id : ids) id = random() % range;
  return ids;
}

// Compares the rows of `run` with the source's.
void ExpectRows(const engram_row_view& view, const BatchRowIds& run, uint32_t layer) {
  ASSERT_EQ(view.num_columns, kColumns);
  ASSERT_EQ(view.row_bytes, kRowBytes);
  ASSERT_EQ(reinterpret_cast<uintptr_t>(view.data) % 64, 0u);
  for (uint32_t t = 0; t < run.num_tokens; ++t) {
    for (uint32_t c = 0; c < kColumns; ++c) {
      const uint64_t id = run.ids[(t * 2 + (layer == 1 ? 1 : 0)) * kColumns + c];
      const uint8_t* row = view.data + (size_t{run.first_token + t} * kColumns + c) * kRowBytes;
      for (uint32_t i = 0; i < kRowBytes; ++i)
        ASSERT_EQ(row[i], ByteOf(layer, id, i)) << "layer " << layer << " token " << t << " column " << c;
    }
  }
}

// One whole batch with all its rows compared.
void ExpectBatch(GatherUnderTest& gather, uint32_t num_tokens, const std::vector<BatchRowIds>& runs) {
  engram_batch_rows* rows = gather.Begin(num_tokens, runs);
  for (uint32_t index = 0; index < 2; ++index) {
    const auto view = gather.Await(rows, index);
    ASSERT_TRUE(view) << view.error().message;
    ASSERT_EQ(view->num_tokens, num_tokens);
    for (const BatchRowIds& run : runs) ExpectRows(*view, run, index == 0 ? 1 : 14);
  }
  gather.End(rows);
}

TEST(RowGather, SmallAndLargeBatchesOfAllShapes) {
  auto gather = Open({Dram()});
  ASSERT_TRUE(gather) << gather.error().message;
  // Below and above the inline limit, above one read, few and many repeated rows, and small again in large buffers.
  for (const uint32_t num_tokens : {1u, 7u, 100u, 3000u, 2u, 500u}) {
    for (const uint64_t range : {uint64_t{1}, uint64_t{50}, kRows}) {
      const auto ids = RandomIds(num_tokens, range, num_tokens);
      ExpectBatch(**gather, num_tokens, {{0, num_tokens, ids.data()}});
    }
  }
  const auto stats = (*gather)->layer_stats();
  ASSERT_EQ(stats.size(), 2u);
  EXPECT_EQ(stats[0].layer, 1u);
  EXPECT_EQ(stats[1].layer, 14u);
  EXPECT_EQ(stats[1].num_rows, kRows);
  EXPECT_EQ(stats[1].batches, 18u);
  EXPECT_EQ(stats[1].rows_requested, 3u * kColumns * 3610);
  EXPECT_LT(stats[1].rows_read, stats[1].rows_requested);
  EXPECT_GT(stats[1].gather_ns, 0u);
  EXPECT_EQ((*gather)->tier_stats()[1].counters.rows, stats[1].rows_read);
  EXPECT_EQ((*gather)->tier_stats()[1].layer, 14u);
}

TEST(RowGather, TokensWithoutMemoryLieBetween) {
  auto gather = Open({Dram()});
  ASSERT_TRUE(gather) << gather.error().message;
  for (const uint32_t scale : {1u, 200u}) {
    const auto ids = RandomIds(5 * scale, 40);
    const BatchRowIds late{6 * scale, 2 * scale, ids.data()};
    const BatchRowIds early{scale, 3 * scale, ids.data() + size_t{2} * scale * 2 * kColumns};
    ExpectBatch(**gather, 10 * scale, {late, early});
    ExpectBatch(**gather, 10 * scale, {});
  }
}

TEST(RowGather, AsksForEachRowOnce) {
  TestTierControl control;
  control.flags = ENGRAM_TIER_STORE;
  auto gather = Open({Steered("store", control)});
  ASSERT_TRUE(gather) << gather.error().message;
  const auto ids = RandomIds(50, 30);
  ExpectBatch(**gather, 50, {{0, 50, ids.data()}});
  std::vector<uint64_t> layer_1;
  for (size_t t = 0; t < 50; ++t)
    for (size_t c = 0; c < kColumns; ++c) layer_1.push_back(ids[(t * 2 + 1) * kColumns + c]);
  const std::set<uint64_t> distinct(layer_1.begin(), layer_1.end());
  ASSERT_GE(control.asked.size(), distinct.size());
  EXPECT_EQ(std::set<uint64_t>(control.asked.begin(), control.asked.begin() + distinct.size()), distinct);
  EXPECT_EQ((*gather)->layer_stats()[0].rows_read, distinct.size());
}

TEST(RowGather, MissesGoDownAndFoundRowsGoUp) {
  TestTierControl first, second, store;
  first.flags = second.flags = ENGRAM_TIER_CACHE | ENGRAM_TIER_WRITABLE;
  store.flags = ENGRAM_TIER_STORE;
  auto gather = Open({Steered("first", first), Steered("second", second), Steered("store", store)});
  ASSERT_TRUE(gather) << gather.error().message;
  const auto ids = RandomIds(20, kRows, 1);
  const auto others = RandomIds(20, kRows, 2);
  ExpectBatch(**gather, 20, {{0, 20, ids.data()}});
  const size_t from_store = store.asked.size();
  EXPECT_EQ(from_store, first.asked.size());
  ExpectBatch(**gather, 20, {{0, 20, ids.data()}});  // all in the first
  EXPECT_EQ(store.asked.size(), from_store);
  EXPECT_EQ(second.asked.size(), from_store);
  ExpectBatch(**gather, 40, {{0, 20, others.data()}, {20, 20, ids.data()}});  // half in the first
  EXPECT_EQ(second.asked.size(), store.asked.size());
  EXPECT_EQ(first.asked.size(), 2 * from_store + store.asked.size());
  EXPECT_EQ((*gather)->layer_stats()[0].fill_errors, 0u);
}

TEST(RowGather, AMiddleTierFillsTheOneAbove) {
  TestTierControl first, second, store;
  first.flags = ENGRAM_TIER_CACHE;  // takes nothing: not writable
  second.flags = ENGRAM_TIER_CACHE | ENGRAM_TIER_WRITABLE;
  store.flags = ENGRAM_TIER_STORE;
  auto gather = Open({Steered("first", first), Steered("second", second), Steered("store", store)});
  ASSERT_TRUE(gather) << gather.error().message;
  const auto ids = RandomIds(20, kRows, 1);
  const auto others = RandomIds(20, kRows, 2);
  ExpectBatch(**gather, 20, {{0, 20, ids.data()}});
  EXPECT_EQ(first.writes, 0u);
  EXPECT_GT(second.writes, 0u);
  first.flags |= ENGRAM_TIER_WRITABLE;  // seen by a gather opened from here on
  auto again = Open({Steered("first", first), Steered("second", second), Steered("store", store)});
  ASSERT_TRUE(again) << again.error().message;
  ExpectBatch(**again, 20, {{0, 20, ids.data()}});
  ExpectBatch(**again, 40, {{0, 20, ids.data()}, {20, 20, others.data()}});
  EXPECT_GT(first.writes, 0u);
  // The second tier knows the first half, the first nothing of it: some from each level in one read.
  ASSERT_EQ(gather.value()->layer_stats()[1].batches, 1u);
  ExpectBatch(**gather, 40, {{0, 20, others.data()}, {20, 20, ids.data()}});
}

TEST(RowGather, ACacheThatTakesNoRowsIsNoError) {
  TestTierControl cache, store;
  cache.flags = ENGRAM_TIER_CACHE | ENGRAM_TIER_WRITABLE;
  cache.fail_writes = true;
  store.flags = ENGRAM_TIER_STORE;
  auto gather = Open({Steered("cache", cache), Steered("store", store)});
  ASSERT_TRUE(gather) << gather.error().message;
  const auto ids = RandomIds(4, kRows);
  ExpectBatch(**gather, 4, {{0, 4, ids.data()}});
  ExpectBatch(**gather, 4, {{0, 4, ids.data()}});
  EXPECT_EQ((*gather)->layer_stats()[0].fill_errors, 2u);
}

class Faults : public ::testing::TestWithParam<uint32_t> {};

// With flags 0 the batch is gathered inside Await(), with MAY_BLOCK by the thread.
TEST_P(Faults, AFailingTierFailsTheBatchAndNoMore) {
  TestTierControl control;
  control.flags = ENGRAM_TIER_STORE | GetParam();
  control.fail_at_read = 2;
  control.short_at_read = 3;
  auto gather = Open({Steered("slow", control)});
  ASSERT_TRUE(gather) << gather.error().message;
  const auto ids = RandomIds(5, kRows);
  const BatchRowIds run{0, 5, ids.data()};

  engram_batch_rows* rows = (*gather)->Begin(5, {&run, 1});
  const auto first = (*gather)->Await(rows, 0);  // read 1
  ASSERT_TRUE(first) << first.error().message;
  ExpectRows(*first, run, 1);
  const auto second = (*gather)->Await(rows, 1);  // read 2
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kDataLoss);
  EXPECT_EQ(second.error().message, "tier \"slow\", layer 14: test_tier: read: fault on demand");
  EXPECT_TRUE((*gather)->Await(rows, 0));
  (*gather)->End(rows);

  rows = (*gather)->Begin(5, {&run, 1});
  const auto unfound = (*gather)->Await(rows, 0);  // read 3
  ASSERT_FALSE(unfound);
  EXPECT_EQ(unfound.error().code, ErrorCode::kInternal);
  EXPECT_THAT(unfound.error().message, HasSubstr("tier \"slow\", layer 1: the store did not find row "));
  const auto after = (*gather)->Await(rows, 1);
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().message, unfound.error().message);
  (*gather)->End(rows);

  ExpectBatch(**gather, 5, {run});
}

// Read 1 is answered at the third try, with nothing left of the torn rows before; read 5 is not.
TEST_P(Faults, ATierOutOfReachIsAskedThreeTimes) {
  TestTierControl control;
  control.flags = ENGRAM_TIER_STORE | GetParam();
  control.unavailable_from = 1;
  control.unavailable_until = 3;
  auto gather = Open({Steered("far", control)});
  ASSERT_TRUE(gather) << gather.error().message;
  const auto ids = RandomIds(5, kRows);
  const BatchRowIds run{0, 5, ids.data()};
  ExpectBatch(**gather, 5, {run});  // reads 1 to 3, and 4 for the second layer

  control.unavailable_from = 5;
  control.unavailable_until = 8;
  engram_batch_rows* rows = (*gather)->Begin(5, {&run, 1});
  const auto first = (*gather)->Await(rows, 0);
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(first.error().message, "tier \"far\", layer 1: test_tier: read: out of reach on demand");
  (*gather)->End(rows);
  EXPECT_EQ(control.reads, 7u);
  EXPECT_EQ((*gather)->layer_stats()[0].retries, 4u);

  ExpectBatch(**gather, 5, {run});
}

TEST_P(Faults, RefusesWhatNoTableHas) {
  TestTierControl control;
  control.flags = ENGRAM_TIER_STORE | GetParam();
  auto gather = Open({Steered("store", control)});
  ASSERT_TRUE(gather) << gather.error().message;
  auto ids = RandomIds(5, kRows);
  ids[kColumns] = kRows;  // layer 1
  const BatchRowIds run{0, 5, ids.data()};
  engram_batch_rows* rows = (*gather)->Begin(5, {&run, 1});
  const auto view = (*gather)->Await(rows, 0);
  ASSERT_FALSE(view);
  EXPECT_EQ(view.error().message, "row 20000 asked of layer 1, whose table has 20000 rows");
  EXPECT_EQ((*gather)->Await(rows, 2).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ((*gather)->Await(nullptr, 0).error().code, ErrorCode::kFailedPrecondition);
  (*gather)->End(rows);
  EXPECT_EQ((*gather)->Await(rows, 0).error().code, ErrorCode::kFailedPrecondition);
}

INSTANTIATE_TEST_SUITE_P(InlineAndThread, Faults, ::testing::Values(0u, uint32_t{ENGRAM_TIER_MAY_BLOCK}));

TEST(RowGather, ALayerIsThereWhileTheNextIsStillRead) {
  TestTierControl control;
  control.flags = ENGRAM_TIER_STORE | ENGRAM_TIER_MAY_BLOCK;
  control.hold_reads = true;
  control.hold_from = 2;
  auto gather = Open({Steered("slow", control)});
  ASSERT_TRUE(gather) << gather.error().message;
  const auto ids = RandomIds(5, kRows);
  const BatchRowIds run{0, 5, ids.data()};
  engram_batch_rows* rows = (*gather)->Begin(5, {&run, 1});
  control.WaitForReads(2);  // nobody has asked for a layer yet
  const auto first = (*gather)->Await(rows, 0);
  ASSERT_TRUE(first) << first.error().message;
  ExpectRows(*first, run, 1);
  control.Release();
  const auto second = (*gather)->Await(rows, 1);
  ASSERT_TRUE(second) << second.error().message;
  ExpectRows(*second, run, 14);
  (*gather)->End(rows);
}

TEST(RowGather, ABatchEndsWhileItsTierWaits) {
  TestTierControl control;
  control.flags = ENGRAM_TIER_STORE | ENGRAM_TIER_MAY_BLOCK;
  auto gather = Open({Steered("slow", control)});
  ASSERT_TRUE(gather) << gather.error().message;
  const auto ids = RandomIds(5, kRows);
  const BatchRowIds run{0, 5, ids.data()};
  for (int i = 0; i < 20; ++i) {
    uint64_t before = 0;
    {
      const std::lock_guard lock(control.mutex);
      control.hold_reads = true;
      before = control.reads;
    }
    engram_batch_rows* rows = (*gather)->Begin(5, {&run, 1});
    if (i % 2 == 0) control.WaitForReads(before + 1);  // else perhaps before the thread saw the batch
    std::thread releaser([&] { control.Release(); });
    (*gather)->End(rows);
    releaser.join();
  }
  ExpectBatch(**gather, 5, {run});
  // Destroyed in the middle of a batch.
  {
    const std::lock_guard lock(control.mutex);
    control.hold_reads = true;
  }
  (*gather)->Begin(5, {&run, 1});
  std::thread releaser([&] { control.Release(); });
  gather = NotFound("dropped");
  releaser.join();
  EXPECT_EQ(control.attached, 0u);
}

TEST(RowGather, ATierThatDoesNotAnswerFailsItsBatchAndThoseAfterUntilItDoes) {
  TestTierControl control;
  control.flags = ENGRAM_TIER_STORE | ENGRAM_TIER_MAY_BLOCK;
  auto opened = Open({Steered("slow", control)}, std::chrono::milliseconds(500));
  ASSERT_TRUE(opened) << opened.error().message;
  GatherUnderTest& gather = **opened;
  const auto ids = RandomIds(5, kRows);
  const BatchRowIds run{0, 5, ids.data()};
  for (int round = 0; round < 3; ++round) {
    uint64_t before = 0;
    {
      const std::lock_guard lock(control.mutex);
      control.hold_reads = true;
      control.hold_from = control.reads + 1 + (round == 1 ? 1 : 0);  // at the first layer or at the second
      before = control.reads;
    }
    {
      // Gone when the batch has ended; the read that goes on must not need them.
      auto own_ids = std::make_unique<std::vector<uint64_t>>(ids);
      const BatchRowIds own_run{0, 5, own_ids->data()};
      engram_batch_rows* rows = gather.Begin(5, {&own_run, 1});
      control.WaitForReads(before + (round == 1 ? 2 : 1));
      const auto view = gather.Await(rows, round == 1 ? 1 : 0);
      ASSERT_FALSE(view);
      EXPECT_EQ(view.error().code, ErrorCode::kUnavailable);
      EXPECT_THAT(view.error().message, HasSubstr(round == 1 ? "tier \"slow\", layer 14: no answer within 500 ms"
                                                             : "tier \"slow\", layer 1: no answer within 500 ms"));
      ASSERT_TRUE(gather.gather().failure().has_value());
      gather.End(rows);
    }
    EXPECT_TRUE(gather.gather().stalled());
    engram_batch_rows* rows = gather.Begin(5, {&run, 1});
    const auto view = gather.Await(rows, 0);
    ASSERT_FALSE(view);
    EXPECT_EQ(view.error().code, ErrorCode::kUnavailable);
    EXPECT_THAT(view.error().message, HasSubstr("tier \"slow\""));
    gather.End(rows);
    control.Release();
    while (gather.gather().stalled()) std::this_thread::yield();
    ExpectBatch(gather, 5, {run});
    EXPECT_FALSE(gather.gather().failure().has_value());
  }
  EXPECT_EQ(gather.layer_stats()[0].timeouts, 2u);
  EXPECT_EQ(gather.layer_stats()[1].timeouts, 1u);
}

TEST(TierChain, RefusesChainsThatCannotServe) {
  TestTierControl cache, store;
  cache.flags = ENGRAM_TIER_CACHE;
  store.flags = ENGRAM_TIER_STORE;
  EXPECT_THAT(OpenTiers({}).error().message, HasSubstr("the tier chain is empty"));
  EXPECT_THAT(OpenTiers({Steered("only", cache)}).error().message,
              HasSubstr("the last tier, \"only\", is a cache: it must be a store"));
  EXPECT_THAT(OpenTiers({Steered("a", store), Steered("b", store)}).error().message,
              HasSubstr("tier \"a\" is a store, but not the last"));
  EXPECT_THAT(OpenTiers({Steered("a", cache), Steered("a", store)}).error().message,
              HasSubstr("two tiers are named \"a\""));
  EXPECT_THAT(OpenTiers({{"d", Load("tier_dram.so"), {{"colour", "red"}}}}).error().message,
              HasSubstr("tier \"d\": tier_dram: open: unknown option \"colour\""));
}

}  // namespace
}  // namespace engram
