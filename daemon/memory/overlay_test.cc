// SPDX-License-Identifier: Apache-2.0
#include "memory/overlay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "memory/memory_view.h"

namespace engram {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

OverlayContent::Guarded Guard(std::vector<int32_t> suffix, uint8_t mark) {
  return {std::move(suffix), {{0, std::vector<uint8_t>(4, mark)}}};
}

std::shared_ptr<const Overlay> Make(const std::string& name, OverlayContent content) {
  auto overlay = Overlay::Create(name, std::move(content), 2);
  EXPECT_TRUE(overlay) << overlay.error().message;
  return overlay ? *overlay : nullptr;
}

std::string CreateError(OverlayContent content) {
  const auto overlay = Overlay::Create("o", std::move(content), 2);
  if (overlay) return "created";
  EXPECT_EQ(overlay.error().code, ErrorCode::kInvalidArgument);
  return overlay.error().message;
}

uint8_t MarkOf(const OverlayContent::Guarded* entry) {
  return entry == nullptr ? 0 : entry->memory.at(0)[0];
}

TEST(Overlay, FindsItsRows) {
  const auto overlay = Make("o", {{{1, 7, {1, 2}}, {1, 8, {3, 4}}}, {}});
  EXPECT_FALSE(overlay->has_rows(0));
  EXPECT_TRUE(overlay->has_rows(1));
  EXPECT_FALSE(overlay->has_guarded());
  EXPECT_EQ(overlay->FindRow(0, 7), nullptr);
  EXPECT_EQ(overlay->FindRow(1, 9), nullptr);
  EXPECT_EQ(overlay->FindRow(1, 8)[0], 3);
  EXPECT_EQ(overlay->FindGuarded(std::vector<int32_t>{1, 2, 3}), nullptr);
  EXPECT_GT(overlay->num_bytes(), Make("o", {})->num_bytes() + 4);
}

TEST(Overlay, TheLongestSuffixHolds) {
  const auto overlay = Make("o", {{}, {Guard({2, 3}, 1), Guard({1, 2, 3}, 2), Guard({9, 8, 7, 6, 5, 4, 2, 3}, 3)}});
  const auto mark = [&](std::vector<int32_t> tail) { return MarkOf(overlay->FindGuarded(tail)); };
  EXPECT_EQ(mark({3}), 0);
  EXPECT_EQ(mark({2, 3}), 1);
  EXPECT_EQ(mark({5, 2, 3}), 1);
  EXPECT_EQ(mark({0, 1, 2, 3}), 2);
  EXPECT_EQ(mark({9, 8, 7, 6, 5, 4, 2, 3}), 3);
  EXPECT_EQ(mark({8, 7, 6, 5, 4, 2, 3}), 1);
  EXPECT_EQ(mark({2, 3, 4}), 0);
}

TEST(Overlay, OfSeveralTheLongestThenTheLaterHolds) {
  MemoryView view;
  view.overlays = {Make("a", {{}, {Guard({1, 2}, 1), Guard({4, 1, 2}, 2)}}), Make("b", {{}, {Guard({1, 2}, 3)}})};
  EXPECT_TRUE(view.has_guarded());
  SuffixTail tail;
  const auto push = [&](int32_t id) {
    tail.Push(id);
    return MarkOf(view.FindGuarded(tail.ids()));
  };
  EXPECT_EQ(push(1), 0);
  EXPECT_EQ(push(2), 3);
  EXPECT_EQ(push(4), 0);
  EXPECT_EQ(push(1), 0);
  EXPECT_EQ(push(2), 2);
  for (int32_t id = 10; id < 30; ++id) push(id);
  EXPECT_THAT(tail.ids(), ElementsAre(22, 23, 24, 25, 26, 27, 28, 29));
  view.overlays.clear();
  EXPECT_FALSE(view.has_guarded());
}

TEST(Overlay, RefusesWhatContradictsItself) {
  EXPECT_EQ(CreateError({{{0, 7, {1}}, {1, 7, {1}}, {0, 7, {2}}}, {}}),
            "overlay \"o\": rows 0 and 2 are for the same row");
  EXPECT_EQ(CreateError({{}, {Guard({1, 2}, 1), Guard({2, 1}, 1), Guard({1, 2}, 2)}}),
            "overlay \"o\": guarded entries 0 and 2 are for the same suffix");
  EXPECT_THAT(CreateError({{}, {Guard({1}, 1)}}), HasSubstr("suffix of 1 tokens, must have 2 to 8"));
  EXPECT_THAT(CreateError({{}, {Guard({1, 2, 3, 4, 5, 6, 7, 8, 9}, 1)}}), HasSubstr("suffix of 9 tokens"));
  EXPECT_THAT(CreateError({{{2, 7, {1}}}, {}}), HasSubstr("row 0 is for layer index 2 of 2"));
}

TEST(OverlayDirectory, ReplacedAndRemovedOnesLiveOnInTheirViews) {
  const auto reclaimer = Reclaimer::Create();
  ASSERT_TRUE(reclaimer) << reclaimer.error().message;
  OverlayDirectory directory(*reclaimer);
  directory.Put(Make("b", {{{0, 1, {1}}}, {}}));
  directory.Put(Make("a", {}));
  const std::vector<std::string> names = {"b", "a", "b"};
  const auto held = directory.FindAll(names);
  ASSERT_TRUE(held);
  directory.Put(Make("b", {{{0, 1, {2}}}, {}}));
  EXPECT_EQ((*held)[0]->FindRow(0, 1)[0], 1);
  EXPECT_EQ(directory.Find("b")->FindRow(0, 1)[0], 2);
  std::vector<std::string> listed;
  for (const auto& overlay : directory.List()) listed.push_back(overlay->name());
  EXPECT_THAT(listed, ElementsAre("a", "b"));
  EXPECT_EQ(directory.Remove("b")->FindRow(0, 1)[0], 2);
  EXPECT_EQ(directory.Remove("b"), nullptr);
  EXPECT_EQ(directory.Find("b"), nullptr);
  const auto missing = directory.FindAll(names);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(missing.error().field, "engram.overlays[0]");
  EXPECT_THAT(missing.error().message, HasSubstr("\"b\""));
}

struct Marker {
  explicit Marker(std::thread::id* freed_by) : freed_by_(freed_by) {}
  ~Marker() { *freed_by_ = std::this_thread::get_id(); }
  std::thread::id* freed_by_;
};

TEST(Reclaimer, FreesOnItsOwnThreadAndLaterOnTheCallers) {
  std::thread::id early, late;
  auto reclaimer = *Reclaimer::Create();
  auto first = reclaimer->Track(std::make_shared<Marker>(&early));
  auto copy = first;
  auto second = reclaimer->Track(std::make_shared<Marker>(&late));
  EXPECT_EQ(reclaimer->Track(std::shared_ptr<Marker>()), nullptr);
  first.reset();
  copy.reset();
  reclaimer.reset();  // waits until what was dropped is freed
  EXPECT_NE(early, std::thread::id());
  EXPECT_NE(early, std::this_thread::get_id());
  EXPECT_EQ(late, std::thread::id());
  second.reset();
  EXPECT_EQ(late, std::this_thread::get_id());
}

}  // namespace
}  // namespace engram
