// SPDX-License-Identifier: Apache-2.0
// What the tests of LiveMemory share: a small reference model with a live memory, and answers waited for.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "control/live_memory.h"
#include "memory/test_reference_model.h"
#include "support/temp_dir.h"

namespace engram {

// What `call` hands to its callback.
template <typename T, typename Call>
Result<T> Await(Call call) {
  auto promise = std::make_shared<std::promise<Result<T>>>();
  auto future = promise->get_future();
  call([promise](Result<T> result) { promise->set_value(std::move(result)); });
  return future.get();
}

inline LiveModel OpenModel(uint32_t retain_versions = 1000, const std::string& name = "test") {
  ModelMemoryOptions options = SmallModelOptions();
  options.retain_versions = retain_versions;
  LiveModel model;
  model.name = name;
  model.memory = OpenMemory(std::move(options));
  static const auto tokenizer = Tokenizer::Load(kVectors / "tokenizer.json");
  model.tokenizer = tokenizer.value();
  return model;
}

// A LiveMemory over a reference model, with every call waited for.
struct TestLive {
  explicit TestLive(LiveMemoryOptions options) : TestLive(options, OpenModel(options.retain_versions)) {}
  TestLive(LiveMemoryOptions options, LiveModel model) : memory(model.memory) {
    auto opened = LiveMemory::Open(std::move(options), std::move(model));
    EXPECT_TRUE(opened) << opened.error().message;
    if (opened) live = *std::move(opened);
  }

  Result<CommitAnswer> Commit(CommitRequest request) {
    return Await<CommitAnswer>([&](auto done) { live->Commit(std::move(request), std::move(done)); });
  }
  Result<CommitAnswer> Commit(std::vector<RowEdit> edits) {
    CommitRequest request;
    request.author = "ann";
    request.edits = std::move(edits);
    return Commit(std::move(request));
  }
  Result<CommitAnswer> Rollback(uint64_t to) {
    RollbackRequest request;
    request.to = to;
    return Await<CommitAnswer>([&](auto done) { live->Rollback(std::move(request), std::move(done)); });
  }
  Result<DiffReport> Diff(DiffRequest request) {
    return Await<DiffReport>([&](auto done) { live->Diff(request, std::move(done)); });
  }
  Result<std::vector<CommitInfo>> ListCommits(uint64_t limit, std::optional<uint64_t> before = {}) {
    return Await<std::vector<CommitInfo>>([&](auto done) { live->ListCommits(limit, before, std::move(done)); });
  }
  Result<OverlayInfo> PutOverlay(OverlayRequest request) {
    return Await<OverlayInfo>([&](auto done) { live->PutOverlay(std::move(request), std::move(done)); });
  }
  Result<OverlayReceipt> DeleteOverlay(const std::string& name) {
    return Await<OverlayReceipt>([&](auto done) { live->DeleteOverlay(name, "ann", std::move(done)); });
  }
  Result<CompactionReport> Compact() {
    return Await<CompactionReport>([&](auto done) { live->Compact("ann", {}, std::move(done)); });
  }
  Result<JournalFindings> Verify() {
    return Await<JournalFindings>([&](auto done) { live->Verify({}, std::move(done)); });
  }

  std::shared_ptr<ModelMemory> memory;
  std::unique_ptr<LiveMemory> live;
};

// One row's stored bytes as a view has them.
inline Bytes StoredRow(const ModelMemory& memory, const MemoryView& view, uint32_t layer_index, uint64_t row) {
  Bytes bytes(memory.row_bytes());
  const Status read = memory.ReadRows(view, layer_index, std::span(&row, 1), bytes.data());
  EXPECT_TRUE(read) << read.error().message;
  return bytes;
}

inline RowEdit SetRow(uint32_t layer, uint64_t row, Bytes data) {
  RowEdit edit;
  edit.layer = layer;
  edit.row = row;
  edit.data = std::move(data);
  return edit;
}

// Tests with a state directory of their own, and edits by value.
class LiveMemoryTest : public testing::Test {
 protected:
  LiveMemoryOptions Options() const {
    LiveMemoryOptions options;
    options.state_dir = dir_.path();
    return options;
  }
  // The model's first Engram layer.
  static uint32_t Layer(const TestLive& live) { return live.memory->layers().front(); }
  static size_t HeadDim(const TestLive& live) { return live.memory->config().head_dim; }
  static std::vector<float> Values(const TestLive& live, float value) {
    return std::vector<float>(HeadDim(live), value);
  }
  static RowEdit Edit(const TestLive& live, uint64_t row, float value, RowEdit::Mode mode = RowEdit::Mode::kSet) {
    RowEdit edit;
    edit.layer = Layer(live);
    edit.row = row;
    edit.mode = mode;
    edit.values = Values(live, value);
    return edit;
  }
  static RowsReport::Row ReadRow(const TestLive& live, uint64_t row, std::optional<uint64_t> as_of = {}) {
    const auto report = live.live->ReadRows(Layer(live), std::vector<uint64_t>{row}, as_of);
    EXPECT_TRUE(report) << report.error().message;
    return report ? report->rows.at(0) : RowsReport::Row{};
  }

  const TempDir dir_;
};

}  // namespace engram
