// SPDX-License-Identifier: Apache-2.0
// Versions, overlays, guarded entries and base swaps against a model made of plain maps, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "memory/test_reference_model.h"

namespace engram {
namespace {

using RowKey = std::pair<uint32_t, uint64_t>;  // layer index, row

// What a view should hold.
struct ExpectedOverlay {
  std::map<RowKey, Bytes> rows;
  std::vector<OverlayContent::Guarded> guarded;
};
struct Expected {
  std::shared_ptr<const Tables> base;
  std::map<RowKey, Bytes> edits;
  uint64_t version = 0;
  std::vector<ExpectedOverlay> overlays;

  Bytes Row(uint32_t layer, uint64_t row, uint32_t row_bytes) const {
    for (auto overlay = overlays.rbegin(); overlay != overlays.rend(); ++overlay)
      if (const auto found = overlay->rows.find({layer, row}); found != overlay->rows.end()) return found->second;
    if (const auto found = edits.find({layer, row}); found != edits.end()) return found->second;
    const auto at = (*base)[layer].begin() + static_cast<long>(row * row_bytes);
    return Bytes(at, at + row_bytes);
  }
  // Of the tokens up to one, compressed.
  const OverlayContent::Guarded* Guarded(std::span<const int32_t> ids) const {
    for (size_t length = kMaxSuffixTokens; length >= kMinSuffixTokens; --length) {
      if (length > ids.size()) continue;
      for (auto overlay = overlays.rbegin(); overlay != overlays.rend(); ++overlay)
        for (const auto& entry : overlay->guarded)
          if (entry.suffix.size() == length && std::equal(entry.suffix.begin(), entry.suffix.end(), ids.end() - length))
            return &entry;
    }
    return nullptr;
  }
};

// A sequence in the middle of its life.
struct LiveSequence {
  LiveSequence(const ModelMemory& memory, MemoryView of, Expected expects)
      : view(std::move(of)), expected(std::move(expects)), addresser(memory.geometry()) {}
  MemoryView view;
  Expected expected;
  RowAddresser addresser;
  SuffixTail tail;
  std::vector<int32_t> compressed;  // all tokens so far
};

class LiveMemoryTest : public ::testing::Test {
 protected:
  // A small vocabulary, so that n-grams come again and entries are hit.
  int32_t RandomToken() { return 300 + static_cast<int32_t>(random_() % 9) * 13; }
  Bytes RandomBytes(size_t size) {
    Bytes bytes(size);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_());
    return bytes;
  }
  // A row that some tokens address.
  RowKey RandomRow() {
    RowAddresser addresser(memory_->geometry());
    std::vector<uint64_t> ids;
    const std::array<int32_t, 3> tokens = {RandomToken(), RandomToken(), RandomToken()};
    memory_->AppendRowIds(addresser, tokens, ids);
    const auto layer = static_cast<uint32_t>(random_() % memory_->layers().size());
    const uint32_t columns = memory_->geometry().num_columns;
    return {layer, ids[(2 * memory_->layers().size() + IdLayer(*memory_, layer)) * columns + random_() % columns]};
  }

  void Publish(std::map<RowKey, Bytes> edits, bool from_scratch) {
    auto next = std::make_shared<MemoryEdits>();
    next->version = ++version_;
    if (from_scratch) {
      next->layers.resize(memory_->layers().size());
      for (const auto& [key, bytes] : edits) next->layers[key.first].Set(key.second, version_, bytes);
    } else {
      next->layers = memory_->View()->edits->layers;
      const auto& before = retained_.rbegin()->second.edits;
      for (const auto& [key, bytes] : before)
        if (!edits.contains(key)) next->layers[key.first].Erase(key.second);
      for (const auto& [key, bytes] : edits) {
        const auto old = before.find(key);
        if (old == before.end() || old->second != bytes) next->layers[key.first].Set(key.second, version_, bytes);
      }
    }
    memory_->Publish(next);
    retained_[version_] = {retained_.rbegin()->second.base, std::move(edits), version_, {}};
    while (retained_.size() > 8) retained_.erase(retained_.begin());
  }
  void Edit() {
    std::map<RowKey, Bytes> edits = retained_.rbegin()->second.edits;
    for (int i = 0; i < 30; ++i) {
      if (random_() % 4 == 0 && !edits.empty()) {
        edits.erase(std::next(edits.begin(), static_cast<long>(random_() % edits.size())));
      } else {
        edits[RandomRow()] = RandomBytes(memory_->row_bytes());
      }
    }
    Publish(std::move(edits), false);
  }
  void RollBack() {
    const auto to = std::next(retained_.begin(), static_cast<long>(random_() % retained_.size()));
    Publish(std::map<RowKey, Bytes>(to->second.edits), random_() % 2 == 0);
  }
  void PutOverlay() {
    const std::string name = OverlayName();
    ExpectedOverlay expected;
    OverlayContent content;
    for (int i = 0; i < 20; ++i) expected.rows[RandomRow()] = RandomBytes(memory_->row_bytes());
    for (const auto& [key, bytes] : expected.rows) content.rows.push_back({key.first, key.second, bytes});
    std::set<std::vector<int32_t>> suffixes;
    for (int i = 0; i < 6; ++i) {
      std::vector<int32_t> suffix(2 + random_() % 3);
      for (int32_t& id : suffix) id = memory_->compressed_map()[RandomToken()];
      suffixes.insert(suffix);
    }
    for (const auto& suffix : suffixes) {
      OverlayContent::Guarded entry{suffix, {}};
      for (uint32_t layer = 0; layer < memory_->layers().size(); ++layer)
        if (random_() % 3 != 0)
          entry.memory[layer] = RandomBytes(size_t{memory_->geometry().num_columns} * memory_->row_bytes());
      expected.guarded.push_back(entry);
    }
    content.guarded = expected.guarded;
    auto overlay = Overlay::Create(name, std::move(content), static_cast<uint32_t>(memory_->layers().size()));
    ASSERT_TRUE(overlay) << overlay.error().message;
    memory_->overlays().Put(*overlay);
    overlays_[name] = std::move(expected);
  }
  std::string OverlayName() { return std::string(1, static_cast<char>('a' + random_() % 5)); }

  void Begin() {
    std::optional<uint64_t> as_of;
    if (random_() % 2 == 0)
      as_of = std::next(retained_.begin(), static_cast<long>(random_() % retained_.size()))->first;
    Expected expected = as_of ? retained_.at(*as_of) : retained_.rbegin()->second;
    std::vector<std::string> names;
    for (const auto& [name, overlay] : overlays_)
      if (random_() % 2 == 0) names.push_back(name);
    std::shuffle(names.begin(), names.end(), random_);
    for (const std::string& name : names) expected.overlays.push_back(overlays_.at(name));
    auto view = memory_->View(as_of, names);
    ASSERT_TRUE(view) << view.error().message;
    ASSERT_EQ(view->version(), expected.version);
    if (sequences_.size() >= 12) sequences_.erase(sequences_.begin() + static_cast<long>(random_() % 12));
    sequences_.push_back(std::make_unique<LiveSequence>(*memory_, *std::move(view), std::move(expected)));
  }

  // A step: a chunk of some sequences each, in one batch, with a token without memory between.
  void Step() {
    struct Chunk {
      LiveSequence* sequence;
      std::vector<uint64_t> ids;
      std::vector<GuardedMatch> guarded;
      size_t seen;  // tokens before
      uint32_t num_tokens;
    };
    std::vector<Chunk> chunks;
    for (const auto& sequence : sequences_) {
      if (random_() % 2 == 0) continue;
      Chunk chunk{sequence.get(), {}, {}, sequence->compressed.size(), 0};
      std::vector<int32_t> tokens(random_() % 20 == 0 ? 60 : 1 + random_() % 4);
      for (int32_t& token : tokens) token = RandomToken();
      chunk.num_tokens = static_cast<uint32_t>(tokens.size());
      memory_->AppendRowIds(sequence->addresser, tokens, chunk.ids);
      if (sequence->view.has_guarded())
        memory_->AppendGuarded(sequence->view, sequence->tail, tokens, 7, chunk.guarded);
      for (const int32_t token : tokens) sequence->compressed.push_back(memory_->compressed_map()[token]);
      chunks.push_back(std::move(chunk));
    }
    std::vector<BatchRowIds> runs;
    uint32_t num_tokens = 0;
    for (const Chunk& chunk : chunks) {
      runs.push_back({num_tokens, chunk.num_tokens, chunk.ids.data(), &chunk.sequence->view, chunk.guarded, 7});
      num_tokens += chunk.num_tokens + 1;
    }
    const uint32_t columns = memory_->geometry().num_columns;
    const uint32_t row_bytes = memory_->row_bytes();
    const size_t num_layers = memory_->layers().size();
    engram_batch_rows* rows = memory_->BeginBatch(num_tokens, runs);
    for (uint32_t layer = 0; layer < num_layers; ++layer) {
      const auto gathered = memory_->AwaitRows(rows, layer);
      ASSERT_TRUE(gathered) << gathered.error().message;
      for (size_t i = 0; i < chunks.size(); ++i) {
        const Expected& expected = chunks[i].sequence->expected;
        for (uint32_t t = 0; t < chunks[i].num_tokens; ++t) {
          const std::span<const int32_t> seen(chunks[i].sequence->compressed.data(), chunks[i].seen + t + 1);
          const OverlayContent::Guarded* guarded = expected.Guarded(seen);
          const uint8_t* token = gathered->data + size_t{runs[i].first_token + t} * columns * row_bytes;
          if (guarded != nullptr && guarded->memory.contains(layer)) {
            ++guarded_seen_;
            ASSERT_EQ(Bytes(token, token + size_t{columns} * row_bytes), guarded->memory.at(layer));
            continue;
          }
          for (uint32_t c = 0; c < columns; ++c) {
            const uint64_t id = chunks[i].ids[(t * num_layers + IdLayer(*memory_, layer)) * columns + c];
            const uint8_t* row = token + size_t{c} * row_bytes;
            ASSERT_EQ(Bytes(row, row + row_bytes), expected.Row(layer, id, row_bytes))
                << "version " << expected.version << " layer index " << layer << " row " << id;
          }
        }
      }
    }
    memory_->EndBatch(rows);
  }

  void ReadRows() {
    if (sequences_.empty()) return;
    const LiveSequence& sequence = *sequences_[random_() % sequences_.size()];
    const uint32_t layer = RandomRow().first;
    std::vector<uint64_t> ids;
    for (int i = 0; i < 40; ++i)
      if (const RowKey key = RandomRow(); key.first == layer) ids.push_back(key.second);
    Bytes rows(ids.size() * memory_->row_bytes());
    ASSERT_TRUE(memory_->ReadRows(sequence.view, layer, ids, rows.data()));
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto at = rows.begin() + static_cast<long>(i * memory_->row_bytes());
      ASSERT_EQ(Bytes(at, at + memory_->row_bytes()), sequence.expected.Row(layer, ids[i], memory_->row_bytes()));
    }
  }

  // Folds the current edits into new tables, or goes to quite other ones.
  void SwapBase() {
    Tables tables = *retained_.rbegin()->second.base;
    if (random_() % 2 == 0) {
      for (const auto& [key, bytes] : retained_.rbegin()->second.edits)
        std::copy(bytes.begin(), bytes.end(),
                  tables[key.first].begin() + static_cast<long>(key.second * memory_->row_bytes()));
    } else {
      for (Bytes& table : tables) table = RandomBytes(table.size());
    }
    auto base = memory_->OpenBase(PackTables(*memory_, tables, dir_, std::to_string(++swaps_) + "-"));
    ASSERT_TRUE(base) << base.error().message;
    auto edits = std::make_shared<MemoryEdits>();
    edits->version = version_;
    edits->layers.resize(memory_->layers().size());
    memory_->SwapBase(*std::move(base), std::move(edits));
    retained_.clear();
    retained_[version_] = {std::make_shared<const Tables>(std::move(tables)), {}, version_, {}};
  }

  const TempDir dir_;
  std::mt19937_64 random_{20};
  std::unique_ptr<ModelMemory> memory_;
  uint64_t version_ = 0;
  int swaps_ = 0;
  std::map<uint64_t, Expected> retained_;
  std::map<std::string, ExpectedOverlay> overlays_;
  std::vector<std::unique_ptr<LiveSequence>> sequences_;
  uint64_t guarded_seen_ = 0;
};

TEST_F(LiveMemoryTest, EverySequenceSeesWhatItBeganWith) {
  ModelMemoryOptions options = SmallModelOptions();
  options.retain_versions = 8;
  memory_ = OpenMemory(std::move(options));
  ASSERT_NE(memory_, nullptr);
  retained_[0] = {std::make_shared<const Tables>(ReadTables(*memory_)), {}, 0, {}};
  for (int step = 0; step < 600; ++step) {
    SCOPED_TRACE(step);
    const uint64_t dice = random_() % 100;
    if (dice < 15) {
      Edit();
    } else if (dice < 20) {
      RollBack();
    } else if (dice < 30) {
      PutOverlay();
    } else if (dice < 33) {
      const std::string name = OverlayName();
      ASSERT_EQ(memory_->overlays().Remove(name) != nullptr, overlays_.erase(name) == 1);
    } else if (dice < 50) {
      Begin();
    } else if (dice < 60) {
      ReadRows();
    } else if (dice < 62) {
      SwapBase();
    } else {
      Step();
    }
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(guarded_seen_, 100u);
  EXPECT_GT(swaps_, 3);
}

// Every version sets the same rows to bytes of its own: a batch that mixed two would show it.
TEST_F(LiveMemoryTest, BatchesRunWhileVersionsArePublishedAndBasesSwapped) {
  ModelMemoryOptions options = SmallModelOptions();
  options.retain_versions = 3;
  memory_ = OpenMemory(std::move(options));
  ASSERT_NE(memory_, nullptr);
  const Tables tables = ReadTables(*memory_);
  const auto packed = PackTables(*memory_, tables, dir_, "same-");
  RowAddresser addresser(memory_->geometry());
  std::vector<uint64_t> ids;
  std::vector<int32_t> tokens;
  for (int i = 0; i < 40; ++i) tokens.push_back(RandomToken());
  memory_->AppendRowIds(addresser, tokens, ids);
  const uint32_t columns = memory_->geometry().num_columns;
  const size_t num_layers = memory_->layers().size();
  const auto publish = [&](uint64_t version) {
    auto edits = EditsOf(*memory_, version);
    for (uint32_t layer = 0; layer < num_layers; ++layer)
      for (size_t t = 0; t < tokens.size(); ++t)
        for (uint32_t c = 0; c < columns; ++c)
          edits->layers[layer].Set(ids[(t * num_layers + IdLayer(*memory_, layer)) * columns + c], version,
                                   Bytes(memory_->row_bytes(), static_cast<uint8_t>(version)));
    return edits;
  };
  memory_->Publish(publish(1));
  std::atomic<bool> stop{false};
  std::thread publisher([&] {
    for (uint64_t version = 2; !stop; ++version) {
      if (version % 50 == 0) {
        auto base = memory_->OpenBase(packed);
        ASSERT_TRUE(base);
        memory_->SwapBase(*std::move(base), publish(version));
      } else {
        memory_->Publish(publish(version));
      }
      memory_->overlays().Put(*Overlay::Create("o", {}, static_cast<uint32_t>(num_layers)));
    }
  });
  uint64_t last = 0;
  for (int round = 0; round < 300; ++round) {
    // Ten sequences, each with the version current when it began.
    std::vector<MemoryView> views;
    std::vector<BatchRowIds> runs;
    for (uint32_t i = 0; i < 10; ++i) {
      views.push_back(*memory_->View());
      ASSERT_GE(views[i].version(), last);
      last = views[i].version();
    }
    for (uint32_t i = 0; i < 10; ++i) runs.push_back({i * 40, 40, ids.data(), &views[i], {}, 0});
    engram_batch_rows* rows = memory_->BeginBatch(400, runs);
    for (uint32_t layer = 0; layer < num_layers; ++layer) {
      const auto gathered = memory_->AwaitRows(rows, layer);
      ASSERT_TRUE(gathered) << gathered.error().message;
      for (uint32_t i = 0; i < 10; ++i) {
        const size_t run_bytes = size_t{40} * columns * memory_->row_bytes();
        const uint8_t* begin = gathered->data + i * run_bytes;
        ASSERT_TRUE(std::all_of(begin, begin + run_bytes,
                                [&](uint8_t byte) { return byte == static_cast<uint8_t>(views[i].version()); }));
      }
    }
    memory_->EndBatch(rows);
  }
  stop = true;
  publisher.join();
}

}  // namespace
}  // namespace engram
