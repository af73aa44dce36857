// SPDX-License-Identifier: Apache-2.0
#include <latch>

#include "control/live_memory.h"
#include "control/test_live_memory.h"

namespace engram {
namespace {

using ::testing::HasSubstr;

using LiveOverlaysTest = LiveMemoryTest;

TEST_F(LiveOverlaysTest, OverlaysAreKeptListedAndDeleted) {
  OverlayRequest request;
  Sha256Digest digest{};
  {
    TestLive live(Options());
    request.name = "tenant-1";
    request.rows = {Edit(live, 9, 4)};
    request.guarded.resize(1);
    request.guarded[0].suffix = {11, 12, 13};
    const size_t m = live.memory->geometry().num_columns * HeadDim(live);
    request.guarded[0].memory[Layer(live)] = std::vector<float>(m, 0.5f);
    const auto info = live.PutOverlay(request);
    ASSERT_TRUE(info) << info.error().message;
    EXPECT_EQ(info->rows, 1u);
    EXPECT_EQ(info->guarded, 1u);
    digest = info->digest;
    OverlayRequest second = request;
    second.name = "tenant-2";
    second.guarded.clear();
    ASSERT_TRUE(live.PutOverlay(second));
  }
  TestLive live(Options());
  const auto list = live.live->ListOverlays();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].digest, digest);
  EXPECT_EQ(live.live->status().overlay_bytes, list[0].bytes + list[1].bytes);
  const std::vector<std::string> names = {"tenant-1"};
  auto view = live.memory->View({}, names).value();
  Bytes expected(live.memory->row_bytes());
  ASSERT_TRUE(live.memory->codec().Encode(Values(live, 4), expected.data()));
  EXPECT_EQ(StoredRow(*live.memory, view, 0, 9), expected);
  const auto found = live.live->FindOverlay("tenant-1");
  ASSERT_TRUE(found);
  ASSERT_EQ(found->overlay->content().guarded.size(), 1u);
  EXPECT_EQ(found->overlay->content().guarded[0].suffix.size(), 3u);

  const auto receipt = live.DeleteOverlay("tenant-2");
  ASSERT_TRUE(receipt) << receipt.error().message;
  EXPECT_TRUE(receipt->journal_erased);
  EXPECT_EQ(receipt->still_attached, 0u);
  // A view holds the other.
  EXPECT_GE(live.DeleteOverlay("tenant-1")->still_attached, 1u);
  EXPECT_EQ(StoredRow(*live.memory, view, 0, 9), expected);
  EXPECT_EQ(live.DeleteOverlay("tenant-1").error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(live.memory->View({}, names));
  EXPECT_TRUE(live.live->ListOverlays().empty());
  EXPECT_EQ(live.live->status().overlay_bytes, 0u);
}

TEST_F(LiveOverlaysTest, BadOverlaysAndQuotas) {
  LiveMemoryOptions options = Options();
  options.max_overlays = 2;
  options.overlay_quota_bytes = 4096;
  options.overlay_total_bytes = 5000;
  TestLive live(options);
  const auto request = [&](size_t rows) {
    OverlayRequest overlay;
    overlay.name = "a";
    for (size_t i = 0; i < rows; ++i) overlay.rows.push_back(Edit(live, i, 1));
    return overlay;
  };
  OverlayRequest bad = request(2);
  bad.rows[1].mode = RowEdit::Mode::kAdd;
  EXPECT_EQ(live.PutOverlay(bad).error().field, "entries[1].mode");
  bad = request(2);
  bad.row_entries = {3, 5};
  bad.rows[1].row = 0;
  const auto twice = live.PutOverlay(bad);
  EXPECT_EQ(twice.error().field, "entries[5]");
  EXPECT_THAT(twice.error().message, HasSubstr("entries[3]"));
  for (const char* name : {"", ".hidden", "a/b", "a b"}) {
    bad = request(1);
    bad.name = name;
    EXPECT_EQ(live.PutOverlay(bad).error().field, "name") << name;
  }
  EXPECT_EQ(live.PutOverlay(request(0)).error().field, "entries");
  bad = request(0);
  bad.guarded.resize(2);
  for (auto& guarded : bad.guarded) {
    guarded.suffix = {5, 6};
    guarded.memory[Layer(live)] = std::vector<float>(live.memory->geometry().num_columns * HeadDim(live), 1.0f);
  }
  EXPECT_EQ(live.PutOverlay(bad).error().field, "entries[1].suffix");
  bad.guarded[1].suffix = {5};
  EXPECT_EQ(live.PutOverlay(bad).error().field, "entries[1].suffix");
  bad.guarded[1].suffix = {7, 8};
  bad.guarded[1].memory[Layer(live)].pop_back();
  EXPECT_EQ(live.PutOverlay(bad).error().field, "entries[1].memory." + std::to_string(Layer(live)));
  bad.guarded[1].memory.clear();
  EXPECT_EQ(live.PutOverlay(bad).error().field, "entries[1].memory");

  EXPECT_EQ(live.PutOverlay(request(30)).error().code, ErrorCode::kResourceExhausted);
  ASSERT_TRUE(live.PutOverlay(request(18)));
  OverlayRequest other = request(18);
  other.name = "b";
  const auto total = live.PutOverlay(other);
  ASSERT_FALSE(total);
  EXPECT_EQ(total.error().code, ErrorCode::kResourceExhausted);
  ASSERT_TRUE(live.PutOverlay(request(18)));  // takes its own place
  other.rows.resize(1);
  ASSERT_TRUE(live.PutOverlay(other));
  other.name = "c";
  EXPECT_EQ(live.PutOverlay(other).error().code, ErrorCode::kResourceExhausted);
}

TEST_F(LiveOverlaysTest, OverlaysExpire) {
  LiveMemoryOptions options = Options();
  std::latch expired(1);
  std::string name;
  options.on_event = [&](const MemoryEvent& event) {
    if (event.kind != "overlay_expired") return;
    name = event.name;
    expired.count_down();
  };
  TestLive live(options);
  OverlayRequest request;
  request.name = "lasting";
  request.rows = {Edit(live, 1, 1)};
  request.ttl = std::chrono::hours(5);
  ASSERT_TRUE(live.PutOverlay(request));
  request.name = "short";
  request.ttl = std::chrono::milliseconds(1);
  ASSERT_TRUE(live.PutOverlay(request));
  expired.wait();
  EXPECT_EQ(name, "short");
  EXPECT_FALSE(live.live->FindOverlay("short"));
  EXPECT_TRUE(live.live->FindOverlay("lasting"));
  request.ttl = std::chrono::milliseconds(0);
  EXPECT_EQ(live.PutOverlay(request).error().field, "ttl_s");
}

}  // namespace
}  // namespace engram
