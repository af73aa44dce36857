// SPDX-License-Identifier: Apache-2.0
// Commits, overlays and guarded entries as generations see them: what changes for whom, and what comes back to the bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "serve/test_vectors_model.h"

namespace engram {
namespace {

class LiveMemoryTest : public VectorsModelTest {
 protected:
  void SetUp() override {
    VectorsModelTest::SetUp();
    engine_ = MakeEngine();
  }
  ModelMemory& memory() { return *engine_->model().memory(); }
  // Scores the prompt and generates, with the probabilities of everything.
  static GenerationRequest Request(std::vector<int32_t> prompt, uint32_t max_tokens = 5) {
    GenerationRequest request;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.ignore_eos = true;
    request.sampling.temperature = 0;
    request.logprobs = 4;
    request.prompt_logprobs = true;
    return request;
  }
  std::vector<int32_t> Prompt(int32_t first = 200) const {
    std::vector<int32_t> prompt(24);
    for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = first + static_cast<int32_t>(i * 37 % 300);
    return prompt;
  }
  // One row of random values.
  std::vector<uint8_t> RandomRow() {
    std::normal_distribution<float> normal(0, 2);
    std::vector<float> values(memory().codec().head_dim());
    for (float& value : values) value = normal(random_);
    std::vector<uint8_t> row(memory().row_bytes());
    EXPECT_TRUE(memory().codec().Encode(values, row.data()));
    return row;
  }
  // [layer index][token][column] -> row.
  std::vector<std::vector<std::vector<uint64_t>>> RowsOf(const std::vector<int32_t>& tokens) {
    const Geometry& geometry = memory().geometry();
    RowAddresser addresser(geometry);
    std::vector<uint64_t> ids;
    memory().AppendRowIds(addresser, tokens, ids);
    std::vector<std::vector<std::vector<uint64_t>>> rows(geometry.layers.size());
    const uint64_t* at = ids.data();
    for (size_t t = 0; t < tokens.size(); ++t) {
      for (const LayerGeometry& layer : geometry.layers) {
        const auto index = std::find(memory().layers().begin(), memory().layers().end(), layer.layer);
        rows[static_cast<size_t>(index - memory().layers().begin())].emplace_back(at, at + geometry.num_columns);
        at += geometry.num_columns;
      }
    }
    return rows;
  }
  // Random bytes for all rows of these tokens.
  std::shared_ptr<MemoryEdits> EditsOf(uint64_t version, const std::vector<int32_t>& tokens) {
    auto edits = std::make_shared<MemoryEdits>();
    edits->version = version;
    const auto rows = RowsOf(tokens);
    edits->layers.resize(rows.size());
    for (size_t layer = 0; layer < rows.size(); ++layer)
      for (const auto& token : rows[layer])
        for (const uint64_t row : token) edits->layers[layer].Set(row, version, RandomRow());
    return edits;
  }
  void PutOverlay(const std::string& name, OverlayContent content) {
    auto overlay = Overlay::Create(name, std::move(content), static_cast<uint32_t>(memory().layers().size()));
    ASSERT_TRUE(overlay) << overlay.error().message;
    memory().overlays().Put(*std::move(overlay));
  }
  OverlayContent RowOverlay(const std::vector<int32_t>& tokens) {
    OverlayContent content;
    const auto edits = EditsOf(1, tokens);
    for (uint32_t layer = 0; layer < edits->layers.size(); ++layer)
      edits->layers[layer].ForEach([&](uint64_t row, const RowMap::Entry& entry) {
        content.rows.push_back({layer, row, {entry.bytes, entry.bytes + memory().row_bytes()}});
      });
    return content;
  }
  std::vector<int32_t> Compressed(const std::vector<int32_t>& tokens) {
    std::vector<int32_t> ids;
    for (const int32_t token : tokens) ids.push_back(memory().compressed_map()[token]);
    return ids;
  }

  std::mt19937 random_{7};
  std::unique_ptr<Engine> engine_;
};

std::vector<float> Scores(const GenerationRecord& record) {
  std::vector<float> scores;
  for (const auto& logprob : record.prompt->prompt_logprobs) {
    if (!logprob) continue;
    scores.push_back(logprob->logprob);
    for (const auto& [token, value] : logprob->top) scores.push_back(value);
  }
  return scores;
}

// To the bit.
bool SamePrompt(const GenerationRecord& a, const GenerationRecord& b) {
  return Scores(a) == Scores(b);
}
bool Same(const GenerationRecord& a, const GenerationRecord& b) {
  if (!SamePrompt(a, b) || a.choices.size() != b.choices.size()) return false;
  for (const auto& [index, choice] : a.choices) {
    const ChoiceRecord& other = b.choices.at(index);
    if (choice.tokens != other.tokens || choice.logprobs.size() != other.logprobs.size()) return false;
    for (size_t i = 0; i < choice.logprobs.size(); ++i)
      if (choice.logprobs[i].top != other.logprobs[i].top) return false;
  }
  return true;
}

TEST_P(LiveMemoryTest, AVersionIsSeenByThoseThatBeginWithIt) {
  const GenerationRequest request = Request(Prompt());
  const GenerationRecord base = Generate(*engine_, request);
  EXPECT_EQ(base.done->memory_version, 0u);

  // Published while a generation stands between its prompt and its first token.
  Door door;
  const auto held = SubmitRecorded(*engine_, request, [&door, first = true](const GenerationEvent&) mutable {
    if (std::exchange(first, false)) door.WaitOpen();
    return true;
  });
  door.WaitReached();
  const std::vector<int32_t> prompt = Prompt();
  std::vector<int32_t> tokens = prompt;
  tokens.insert(tokens.end(), base.choices.at(0).tokens.begin(), base.choices.at(0).tokens.end());
  memory().Publish(EditsOf(4, tokens));
  door.Open();
  const GenerationRecord begun_before = held->Wait();
  EXPECT_TRUE(Same(begun_before, base));
  EXPECT_EQ(begun_before.done->memory_version, 0u);

  const GenerationRecord edited = Generate(*engine_, request);
  EXPECT_FALSE(SamePrompt(edited, base));
  EXPECT_EQ(edited.done->memory_version, 4u);
  GenerationRequest off = request;
  off.memory.enabled = false;
  const GenerationRecord without = Generate(*engine_, off);
  EXPECT_FALSE(SamePrompt(without, edited));

  GenerationRequest former = request;
  former.memory.as_of = 0;
  const GenerationRecord as_of = Generate(*engine_, former);
  EXPECT_TRUE(Same(as_of, base));
  EXPECT_EQ(as_of.done->memory_version, 0u);
  former.memory.as_of = 3;
  const auto missing = engine_->Submit(former, std::make_shared<RecordingListener>());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(missing.error().field, "engram.as_of");

  // Rolled back and forth.
  auto back = std::make_shared<MemoryEdits>(*memory().View(0)->edits);
  back->version = 5;
  memory().Publish(std::move(back));
  const GenerationRecord rolled_back = Generate(*engine_, request);
  EXPECT_TRUE(Same(rolled_back, base));
  EXPECT_EQ(rolled_back.done->memory_version, 5u);
  auto again = std::make_shared<MemoryEdits>(*memory().View(4)->edits);
  again->version = 6;
  memory().Publish(std::move(again));
  EXPECT_TRUE(Same(Generate(*engine_, request), edited));
}

TEST_P(LiveMemoryTest, OverlaysChangeOnlyTheRequestsThatAttachThem) {
  PutOverlay("a", RowOverlay(Prompt()));
  PutOverlay("b", RowOverlay(Prompt()));
  PutOverlay("empty", {});
  const std::vector<std::vector<std::string>> attached = {{}, {"a"}, {"b"}, {"a", "b"}, {"empty"}, {"b", "a"}};
  std::vector<GenerationRecord> alone;
  for (const auto& names : attached) {
    GenerationRequest request = Request(Prompt());
    request.memory.overlays = names;
    alone.push_back(Generate(*engine_, request));
  }
  EXPECT_FALSE(SamePrompt(alone[0], alone[1]));
  EXPECT_FALSE(SamePrompt(alone[1], alone[2]));
  EXPECT_TRUE(Same(alone[3], alone[2]));  // both hold the same rows: the later one's win
  EXPECT_TRUE(Same(alone[5], alone[1]));
  EXPECT_TRUE(Same(alone[4], alone[0]));

  std::vector<std::shared_ptr<RecordingListener>> listeners;
  for (size_t i = 0; i < 32; ++i) {
    GenerationRequest request = Request(Prompt());
    request.memory.overlays = attached[i % attached.size()];
    listeners.push_back(SubmitRecorded(*engine_, request));
  }
  for (size_t i = 0; i < listeners.size(); ++i)
    EXPECT_TRUE(Same(listeners[i]->Wait(), alone[i % attached.size()])) << i;
}

TEST_P(LiveMemoryTest, ARemovedOverlayIsGoneWithItsLastRequest) {
  PutOverlay("a", RowOverlay(Prompt()));
  const std::weak_ptr<const Overlay> watched = memory().overlays().Find("a");
  GenerationRequest request = Request(Prompt());
  request.memory.overlays = {"a"};
  const GenerationRecord with = Generate(*engine_, request);
  Door door;
  const auto held = SubmitRecorded(*engine_, request, [&door, first = true](const GenerationEvent&) mutable {
    if (std::exchange(first, false)) door.WaitOpen();
    return true;
  });
  door.WaitReached();
  memory().overlays().Remove("a");
  EXPECT_FALSE(watched.expired());
  door.Open();
  EXPECT_TRUE(Same(held->Wait(), with));
  EXPECT_TRUE(watched.expired());
  const auto missing = engine_->Submit(request, std::make_shared<RecordingListener>());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().field, "engram.overlays[0]");
}

TEST_P(LiveMemoryTest, AGuardedEntryTouchesOnlyItsNgram) {
  const std::vector<int32_t> prompt = Prompt();
  const GenerationRecord base = Generate(*engine_, Request(prompt));
  const std::vector<int32_t> other = Prompt(900);
  const GenerationRecord other_base = Generate(*engine_, Request(other));
  const std::vector<int32_t> ids = Compressed(prompt);
  constexpr size_t kAt = 11;  // the position whose last three tokens the entry is for
  const uint32_t columns = memory().geometry().num_columns;
  const auto layers = static_cast<uint32_t>(memory().layers().size());
  OverlayContent::Guarded entry{{ids.begin() + kAt - 2, ids.begin() + kAt + 1}, {}};

  // With the rows that are there anyway nothing changes.
  const auto rows = RowsOf(prompt);
  const auto view = memory().View();
  for (uint32_t layer = 0; layer < layers; ++layer) {
    entry.memory[layer].resize(size_t{columns} * memory().row_bytes());
    ASSERT_TRUE(memory().ReadRows(*view, layer, rows[layer][kAt], entry.memory[layer].data()));
  }
  PutOverlay("same", {{}, {entry}});
  GenerationRequest request = Request(prompt);
  request.memory.overlays = {"same"};
  EXPECT_TRUE(Same(Generate(*engine_, request), base));

  for (auto& [layer, bytes] : entry.memory) {
    bytes.clear();
    for (uint32_t c = 0; c < columns; ++c) {
      const std::vector<uint8_t> row = RandomRow();
      bytes.insert(bytes.end(), row.begin(), row.end());
    }
  }
  PutOverlay("guard", {{}, {entry}});
  request.memory.overlays = {"guard"};
  const GenerationRecord guarded = Generate(*engine_, request);
  for (size_t i = 1; i < prompt.size(); ++i) {
    // The score of token i follows from the tokens before it.
    const bool same = guarded.prompt->prompt_logprobs[i]->top == base.prompt->prompt_logprobs[i]->top;
    if (i <= kAt) {
      EXPECT_TRUE(same) << i;
    }
    if (i == kAt + 1) {
      EXPECT_FALSE(same) << i;
    }
  }
  GenerationRequest elsewhere = Request(other);
  elsewhere.memory.overlays = {"guard"};
  EXPECT_TRUE(Same(Generate(*engine_, elsewhere), other_base));

  // A generated token completes the n-gram just as one of the prompt does, in whatever chunks that came.
  const std::vector<int32_t> short_prompt(prompt.begin(), prompt.begin() + kAt);
  GenerationRequest forced = Request(short_prompt, 3);
  forced.memory.overlays = {"guard"};
  forced.sampling.logit_bias = {{prompt[kAt], 100}};
  const GenerationRecord decoded = Generate(*engine_, forced);
  ASSERT_EQ(decoded.choices.at(0).tokens[0], prompt[kAt]);
  for (const uint32_t chunk : {1u, 5u, 256u}) {
    EngineOptions options;
    options.prefill_chunk = chunk;
    const auto engine = MakeEngine(options);
    auto overlay = Overlay::Create("guard", {{}, {entry}}, layers);
    engine->model().memory()->overlays().Put(*std::move(overlay));
    const GenerationRecord chunked = Generate(*engine, request);
    EXPECT_TRUE(Same(chunked, guarded)) << chunk;
    for (size_t i = 0; i < 4; ++i)
      EXPECT_NEAR(decoded.choices.at(0).logprobs[1].top[i].second,
                  chunked.prompt->prompt_logprobs[kAt + 1]->top[i].second, 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, LiveMemoryTest, testing::Values("dense-paper", "moe-paper-hc4-fp8"),
                         [](const testing::TestParamInfo<const char*>& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace engram
