// SPDX-License-Identifier: Apache-2.0
// What a model's memory retains, opens, swaps and hands over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "memory/test_reference_model.h"
#include "tests/plugins/test_tier.h"

namespace engram {
namespace {

using ::testing::HasSubstr;

TEST(LiveMemory, RetainsTheLatestVersions) {
  ModelMemoryOptions options = SmallModelOptions();
  options.retain_versions = 3;
  const auto memory = OpenMemory(std::move(options));
  EXPECT_EQ(memory->retained_versions(), std::vector<uint64_t>{0});
  const auto begun = memory->View(0);
  for (const uint64_t version : {1, 2, 5, 9}) memory->Publish(EditsOf(*memory, version));
  EXPECT_EQ(memory->retained_versions(), (std::vector<uint64_t>{2, 5, 9}));
  EXPECT_EQ(memory->View()->version(), 9u);
  EXPECT_EQ(memory->View(5)->version(), 5u);
  EXPECT_EQ(begun->version(), 0u);
  for (const uint64_t version : {1, 3, 10}) {
    const auto missing = memory->View(version);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
    EXPECT_EQ(missing.error().field, "engram.as_of");
    EXPECT_EQ(missing.error().message,
              "memory version " + std::to_string(version) + " is not retained; the oldest that is, is 2, the newest 9");
  }
  EXPECT_EQ(memory->View({}, std::vector<std::string>{"x"}).error().field, "engram.overlays[0]");
}

TEST(LiveMemory, ReadRowsChecksWhatItIsAsked) {
  const auto memory = OpenMemory();
  Bytes rows(2 * memory->row_bytes());
  const auto view = memory->View();
  EXPECT_TRUE(memory->ReadRows(*view, 1, {}, nullptr));
  EXPECT_THAT(memory->ReadRows(*view, 2, {}, nullptr).error().message, HasSubstr("layer index 2 of 2"));
  const Status beyond = memory->ReadRows(*view, 0, std::vector<uint64_t>{0, 5722}, rows.data());
  EXPECT_EQ(beyond.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(beyond.error().message, "ids[1] is row 5722, the table of layer 1 has 5722");
}

TEST(LiveMemory, ABaseLivesAsLongAsItsViews) {
  TestTierControl control;
  control.flags = ENGRAM_TIER_STORE;
  const auto attached = [&] {
    const std::lock_guard lock(control.mutex);
    return control.attached;
  };
  ModelMemoryOptions options = SmallModelOptions();
  const auto library =
      PluginLibrary::Load(std::string(ENGRAM_TEST_PLUGIN_DIR) + "/test/test_tier.so", ENGRAM_PLUGIN_TIER);
  ASSERT_TRUE(library) << library.error().message;
  options.tiers = {{"t", *library, {{"control", std::to_string(reinterpret_cast<uintptr_t>(&control))}}}};
  auto memory = OpenMemory(std::move(options));
  EXPECT_EQ(attached(), 2u);
  auto view = memory->View();
  auto base = memory->OpenBase({});
  ASSERT_TRUE(base) << base.error().message;
  EXPECT_EQ(attached(), 4u);
  memory->SwapBase(*std::move(base), EditsOf(*memory, 0));
  base = NotFound("dropped");
  Bytes row(memory->row_bytes());
  EXPECT_TRUE(memory->ReadRows(*view, 0, std::vector<uint64_t>{7}, row.data()));
  EXPECT_EQ(attached(), 4u);
  view = NotFound("dropped");
  while (attached() != 2) std::this_thread::yield();  // the thread "memory-gc" closes it
  // A view may outlive the memory itself.
  view = memory->View();
  memory.reset();
  EXPECT_EQ(attached(), 2u);
  view = NotFound("dropped");
  EXPECT_EQ(attached(), 0u);
}

TEST(LiveMemory, ASecondBaseHasToFitTheBudget) {
  ModelMemoryOptions options = SmallModelOptions();
  uint64_t table_bytes = 0;
  for (const LayerRowStats& layer : OpenMemory()->layer_stats()) table_bytes += layer.num_rows * layer.row_bytes;
  options.budget_bytes = 2 * table_bytes;
  const auto memory = OpenMemory(std::move(options));
  auto second = memory->OpenBase({});
  ASSERT_TRUE(second) << second.error().message;
  const auto third = memory->OpenBase({});
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(third.error().message, HasSubstr("beside " + std::to_string(2 * table_bytes) + " in use, the budget is"));
  second = NotFound("dropped");
  while (!second) second = memory->OpenBase({});  // its memory is free once "memory-gc" has closed it
}

TEST(LiveMemory, TablesAreToldApart) {
  const TempDir dir;
  const auto memory = OpenMemory();
  const auto identities = memory->View()->base->identities();
  ASSERT_EQ(identities.size(), 2u);
  EXPECT_NE(identities[0], identities[1]);
  EXPECT_EQ(OpenMemory()->View()->base->identities(), identities);
  Tables tables = ReadTables(*memory);
  const auto packed = memory->OpenBase(PackTables(*memory, tables, dir, "same-"));
  tables[1][12345] ^= 1;
  const auto other = memory->OpenBase(PackTables(*memory, tables, dir, "other-"));
  ASSERT_TRUE(packed && other);
  EXPECT_EQ((*packed)->identities()[0], (*other)->identities()[0]);
  EXPECT_NE((*packed)->identities()[1], (*other)->identities()[1]);
}

TEST(LiveMemory, ASuccessorTakesOver) {
  const TempDir dir;
  const auto old = OpenMemory();
  auto edits = EditsOf(*old, 3);
  const Bytes bytes(old->row_bytes(), 9);
  edits->layers[1].Set(17, 3, bytes);
  old->Publish(edits);
  old->overlays().Put(*Overlay::Create("o", {}, 2));
  const auto successor = OpenMemory();
  const Status adopted = successor->Adopt(*old);
  ASSERT_TRUE(adopted) << adopted.error().message;
  EXPECT_EQ(successor->retained_versions(), (std::vector<uint64_t>{0, 3}));
  Bytes row(old->row_bytes());
  ASSERT_TRUE(successor->ReadRows(*successor->View(), 1, std::vector<uint64_t>{17}, row.data()));
  EXPECT_EQ(row, bytes);
  old->overlays().Remove("o");  // one directory for both
  EXPECT_TRUE(successor->overlays().List().empty());

  Tables tables = ReadTables(*old);
  ModelMemoryOptions options = SmallModelOptions();
  options.packed_tables = PackTables(*old, tables, dir, "p-");
  const Status other_base = OpenMemory(options)->Adopt(*old);
  EXPECT_EQ(other_base.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_THAT(other_base.error().message, HasSubstr("the table of layer 1 is "));
  const auto fp8 = kVectors / "models/dense-v41-hc4-fp8";
  const Status other_model = OpenMemory(OptionsFor(fp8, ReadJson(fp8 / "config.json").at("engram")))->Adopt(*old);
  EXPECT_THAT(other_model.error().message, HasSubstr("the row format is 3, was "));
}

}  // namespace
}  // namespace engram
