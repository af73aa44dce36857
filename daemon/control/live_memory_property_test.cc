// SPDX-License-Identifier: Apache-2.0
// Random commits, rollbacks, overlays, compactions, exchanges of the model and restarts, against plain maps: at every
// step every version and every overlay shows the rows the maps have, bit for bit.
#include <map>
#include <random>

#include "control/live_memory.h"
#include "control/test_live_memory.h"

namespace engram {
namespace {

using Place = std::pair<uint32_t, uint64_t>;  // layer index, row

class Property {
 public:
  explicit Property(uint32_t seed) : random_(seed) {
    options_.state_dir = dir_.path();
    options_.retain_versions = 6;
    options_.compaction_bytes_per_s = 0;
    live_ = std::make_unique<TestLive>(options_);
    base_ = ReadTables(*live_->memory);
    versions_[0] = {};
  }

  void Step() {
    switch (Pick(12)) {
      case 0:
        return Restart();
      case 1:
        return Compact();
      case 2:
        return Exchange();
      case 3:
      case 4:
        return Rollback();
      case 5:
      case 6:
        return PutOverlay();
      case 7:
        return DeleteOverlay();
      case 8:
        return Hold();
      default:
        return Commit();
    }
  }

  void Check() {
    const ModelMemory& memory = *live_->memory;
    const std::vector<uint64_t> retained = memory.retained_versions();
    ASSERT_EQ(retained.back(), versions_.rbegin()->first);
    for (const uint64_t version : retained) {
      const auto view = memory.View(version);
      ASSERT_TRUE(view) << view.error().message;
      CheckView(*view, versions_.at(version), nullptr);
    }
    for (const auto& [name, rows] : overlays_) {
      const auto view = memory.View({}, std::vector<std::string>{name});
      ASSERT_TRUE(view) << view.error().message;
      CheckView(*view, versions_.rbegin()->second, &rows);
    }
    for (const Held& held : held_) CheckView(held.view, held.rows, nullptr);
    EXPECT_EQ(live_->live->ListOverlays().size(), overlays_.size());
  }

 private:
  using Rows = std::map<Place, Bytes>;  // edited rows
  struct Held {
    MemoryView view;
    Rows rows;
  };

  uint64_t Pick(uint64_t n) { return std::uniform_int_distribution<uint64_t>(0, n - 1)(random_); }
  // Few rows, so that edits meet.
  Place PickPlace() { return {static_cast<uint32_t>(Pick(live_->memory->layers().size())), Pick(24) * 31}; }
  Bytes PickBytes() { return Bytes(live_->memory->row_bytes(), static_cast<uint8_t>(Pick(200))); }
  uint64_t head() const { return versions_.rbegin()->first; }

  void CheckView(const MemoryView& view, const Rows& rows, const Rows* overlay) {
    const size_t row_bytes = live_->memory->row_bytes();
    for (uint32_t layer = 0; layer < base_.size(); ++layer) {
      std::vector<uint64_t> ids;
      for (uint64_t i = 0; i < 26; ++i) ids.push_back(i * 31);
      Bytes actual(ids.size() * row_bytes);
      ASSERT_TRUE(live_->memory->ReadRows(view, layer, ids, actual.data()));
      for (size_t i = 0; i < ids.size(); ++i) {
        const Place place(layer, ids[i]);
        Bytes expected(base_[layer].begin() + static_cast<ptrdiff_t>(ids[i] * row_bytes),
                       base_[layer].begin() + static_cast<ptrdiff_t>((ids[i] + 1) * row_bytes));
        if (const auto edited = rows.find(place); edited != rows.end()) expected = edited->second;
        if (overlay != nullptr)
          if (const auto replaced = overlay->find(place); replaced != overlay->end()) expected = replaced->second;
        ASSERT_EQ(Bytes(actual.begin() + static_cast<ptrdiff_t>(i * row_bytes),
                        actual.begin() + static_cast<ptrdiff_t>((i + 1) * row_bytes)),
                  expected)
            << "version " << view.version() << " layer " << layer << " row " << ids[i];
      }
    }
  }

  std::vector<RowEdit> PickEdits(Rows& rows) {
    Rows chosen;
    for (uint64_t n = 1 + Pick(6); n > 0; --n) chosen[PickPlace()] = PickBytes();
    std::vector<RowEdit> edits;
    for (const auto& [place, bytes] : chosen) {
      rows[place] = bytes;
      edits.push_back(SetRow(live_->memory->layers()[place.first], place.second, bytes));
    }
    return edits;
  }

  void Commit() {
    Rows rows = versions_.rbegin()->second;
    const auto answer = live_->Commit(PickEdits(rows));
    ASSERT_TRUE(answer) << answer.error().message;
    ASSERT_EQ(answer->version, head() + 1);
    versions_[answer->version] = std::move(rows);
  }
  void Rollback() {
    const uint64_t to = Pick(head() + 1);
    const auto answer = live_->Rollback(to);
    if (to < dropped_) {
      ASSERT_FALSE(answer);
      return;
    }
    ASSERT_TRUE(answer) << answer.error().message;
    versions_[answer->version] = versions_.at(to);
  }
  void Compact() {
    const auto report = live_->Compact();
    if (!report) {
      EXPECT_EQ(report.error().code, ErrorCode::kFailedPrecondition) << report.error().message;
      return;
    }
    EXPECT_EQ(report->base_version, head());
    dropped_ += report->commits_folded;
  }
  void Restart() {
    held_.clear();
    live_.reset();
    live_ = std::make_unique<TestLive>(options_);
  }
  void Exchange() {
    const LiveModel next = OpenModel(options_.retain_versions);
    const Status replaced = Await<void>([&](auto done) {
      live_->live->Replace(
          next, [] { return Status(); }, std::move(done));
    });
    ASSERT_TRUE(replaced) << replaced.error().message;
    // The views of the former memory go with it.
    held_.clear();
    live_->memory = next.memory;
  }
  void PutOverlay() {
    OverlayRequest request;
    request.name = "o" + std::to_string(Pick(4));
    Rows rows;
    request.rows = PickEdits(rows);
    const auto info = live_->PutOverlay(request);
    ASSERT_TRUE(info) << info.error().message;
    overlays_[request.name] = std::move(rows);
  }
  void DeleteOverlay() {
    const std::string name = "o" + std::to_string(Pick(4));
    const auto receipt = live_->DeleteOverlay(name);
    ASSERT_EQ(receipt.has_value(), overlays_.erase(name) == 1);
    if (receipt) {
      EXPECT_TRUE(receipt->journal_erased);
    }
  }
  // A sequence that goes on while everything changes.
  void Hold() {
    held_.push_back({live_->memory->View().value(), versions_.rbegin()->second});
    if (held_.size() > 4) held_.erase(held_.begin());
  }

  const TempDir dir_;
  std::mt19937 random_;
  LiveMemoryOptions options_;
  Tables base_;
  std::map<uint64_t, Rows> versions_;
  std::map<std::string, Rows> overlays_;
  std::vector<Held> held_;
  uint64_t dropped_ = 0;  // versions below lost their edits
  std::unique_ptr<TestLive> live_;
};

class LiveMemoryProperty : public testing::TestWithParam<uint32_t> {};

TEST_P(LiveMemoryProperty, EveryVersionShowsItsRows) {
  Property property(GetParam());
  for (int step = 0; step < 60; ++step) {
    SCOPED_TRACE(step);
    property.Step();
    property.Check();
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, LiveMemoryProperty, testing::Range(1u, 4u));

}  // namespace
}  // namespace engram
