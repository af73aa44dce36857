// SPDX-License-Identifier: Apache-2.0
#include "plugin/tier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "tests/plugins/test_tier.h"

namespace engram {
namespace {

using ::testing::HasSubstr;

Result<std::shared_ptr<Tier>> OpenTest(TestTierControl& control) {
  auto library = PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/test/test_tier.so", ENGRAM_PLUGIN_TIER);
  if (!library) return std::move(library).error();
  return Tier::Open(*library, {{"control", std::to_string(reinterpret_cast<uintptr_t>(&control))}});
}

engram_table_desc Desc(uint64_t num_rows, uint32_t row_bytes) {
  engram_table_desc desc{};
  desc.layer = 1;
  desc.model = "test";
  desc.num_rows = num_rows;
  desc.row_bytes = row_bytes;
  desc.row_format = ENGRAM_ROW_BF16;
  desc.source.read = [](void*, uint64_t first, uint64_t count, uint8_t* dst, engram_message*) {
    for (uint64_t i = 0; i < count; ++i) dst[i] = static_cast<uint8_t>(first + i);
    return engram_status{ENGRAM_OK};
  };
  return desc;
}

TEST(Tier, RefusesImpossibleDescriptions) {
  TestTierControl control;
  EXPECT_THAT(OpenTest(control).error().message, HasSubstr("neither a cache and a store"));
  control.flags = ENGRAM_TIER_CACHE | ENGRAM_TIER_STORE;
  EXPECT_THAT(OpenTest(control).error().message, HasSubstr("both a cache and a store"));
}

TEST(Tier, ReadsWritesAndForgets) {
  TestTierControl control;
  control.flags = ENGRAM_TIER_CACHE | ENGRAM_TIER_WRITABLE;
  auto tier = OpenTest(control);
  ASSERT_TRUE(tier) << tier.error().message;
  EXPECT_EQ((*tier)->info().medium, "test");
  auto table = TierTable::Attach(*tier, Desc(10, 1));
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ((*table)->map(), nullptr);

  const uint64_t ids[2] = {3, 4};
  const uint8_t src = 33;
  uint8_t dst[2] = {};
  uint8_t found[2] = {};
  ASSERT_TRUE((*table)->Write(ids, 1, &src, 1));
  ASSERT_TRUE((*table)->Read(ids, 2, dst, 1, found));
  EXPECT_EQ(found[0], 1);
  EXPECT_EQ(found[1], 0);
  EXPECT_EQ(dst[0], 33);
  EXPECT_EQ((*table)->Stats()->hits, 1u);
  ASSERT_TRUE((*table)->Invalidate(ids, 2));
  found[0] = 0;
  ASSERT_TRUE((*table)->Read(ids, 1, dst, 1, found));
  EXPECT_EQ(found[0], 0);
  control.fail_at_read = 3;
  const Status failed = (*table)->Read(ids, 1, dst, 1, found);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kDataLoss);
  EXPECT_EQ(failed.error().message, "test_tier: read: fault on demand");
  table = NotFound("dropped");
  EXPECT_EQ(control.attached, 0u);
}

TEST(Tier, TheExampleComputesItsRows) {
  auto library =
      PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/examples/minimal_tier.so", ENGRAM_PLUGIN_TIER);
  ASSERT_TRUE(library) << library.error().message;
  EXPECT_THAT(Tier::Open(*library, {{"sed", "1"}}).error().message, HasSubstr("unknown option \"sed\""));
  auto tier = Tier::Open(*library, {{"seed", "5"}});
  ASSERT_TRUE(tier) << tier.error().message;
  auto table = TierTable::Attach(*tier, Desc(1000, 3));
  ASSERT_TRUE(table) << table.error().message;
  const uint64_t id = 2;
  std::array<uint8_t, 3> row{};
  uint8_t found = 0;
  ASSERT_TRUE((*table)->Read(&id, 1, row.data(), 3, &found));
  EXPECT_EQ(row, (std::array<uint8_t, 3>{67, 68, 69}));
  EXPECT_EQ((*table)->Write(&id, 1, row.data(), 3).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ((*table)->Invalidate(&id, 1).error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace engram
