// SPDX-License-Identifier: Apache-2.0
// What the engine makes of requests: batches, choices, stops, queues.
#include "serve/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <regex>

#include "constrain/gbnf.h"
#include "serve/test_engine.h"

namespace engram {
namespace {

using testing::HasSubstr;

// 32 requests of every sort.
std::vector<GenerationRequest> MixedRequests() {
  std::vector<GenerationRequest> requests;
  for (uint32_t i = 0; i < 32; ++i) {
    GenerationRequest request;
    request.client = "client" + std::to_string(i % 3);
    for (uint32_t t = 0; t < 1 + i * 5 % 61; ++t)
      request.prompt.push_back(static_cast<int32_t>((i * 131 + t * 17) % 4000));
    request.max_tokens = 1 + i % 13;
    request.num_choices = 1 + i % 3;
    request.ignore_eos = i % 2 == 0;
    request.sampling.temperature = i % 4 == 0 ? 0.0f : 0.5f + 0.1f * static_cast<float>(i % 5);
    request.sampling.top_k = i % 5 == 0 ? 40 : 0;
    request.sampling.top_p = i % 3 == 0 ? 0.9f : 1.0f;
    request.sampling.min_p = i % 7 == 0 ? 0.1f : 0.0f;
    request.sampling.frequency_penalty = i % 6 == 0 ? 0.5f : 0.0f;
    request.sampling.repetition_penalty = i % 8 == 0 ? 1.2f : 1.0f;
    request.sampling.seed = i;
    if (i % 4 == 1) request.logprobs = 2;
    request.prompt_logprobs = i % 8 == 1;
    requests.push_back(std::move(request));
  }
  return requests;
}

void ExpectSame(const GenerationRecord& a, const GenerationRecord& b) {
  ASSERT_EQ(a.choices.size(), b.choices.size());
  for (const auto& [index, choice] : a.choices) {
    const ChoiceRecord& other = b.choices.at(index);
    EXPECT_EQ(choice.tokens, other.tokens);
    EXPECT_EQ(choice.text, other.text);
    EXPECT_EQ(choice.reason, other.reason);
    EXPECT_EQ(choice.stop_token, other.stop_token);
    ASSERT_EQ(choice.logprobs.size(), other.logprobs.size());
    for (size_t i = 0; i < choice.logprobs.size(); ++i) EXPECT_EQ(choice.logprobs[i].top, other.logprobs[i].top);
  }
  ASSERT_EQ(a.prompt.has_value(), b.prompt.has_value());
  if (!a.prompt) return;
  ASSERT_EQ(a.prompt->prompt_logprobs.size(), b.prompt->prompt_logprobs.size());
  for (size_t i = 0; i < a.prompt->prompt_logprobs.size(); ++i) {
    ASSERT_EQ(a.prompt->prompt_logprobs[i].has_value(), b.prompt->prompt_logprobs[i].has_value());
    if (a.prompt->prompt_logprobs[i]) {
      EXPECT_EQ(a.prompt->prompt_logprobs[i]->logprob, b.prompt->prompt_logprobs[i]->logprob);
    }
  }
}

TEST_F(EngineTest, BatchOfOneEqualsBatchOfManyInAnyChunks) {
  std::vector<GenerationRecord> alone;
  {
    const auto engine = MakeEngine();
    for (const GenerationRequest& request : MixedRequests()) alone.push_back(Generate(*engine, request));
  }
  for (const uint32_t chunk : {1u, 3u, 7u, 256u}) {
    SCOPED_TRACE(chunk);
    EngineOptions options;
    options.prefill_chunk = chunk;
    options.max_batch_tokens = 40;
    options.max_running = 24;
    const auto engine = MakeEngine(options);
    std::vector<std::shared_ptr<RecordingListener>> listeners;
    for (const GenerationRequest& request : MixedRequests()) listeners.push_back(SubmitRecorded(*engine, request));
    for (size_t i = 0; i < listeners.size(); ++i) {
      SCOPED_TRACE(i);
      ExpectSame(listeners[i]->Wait(), alone[i]);
    }
    EXPECT_EQ(engine->stats().kv_used_tokens, 0u);
  }
}

TEST_F(EngineTest, ChoicesHaveTheirOwnStreamsAndShareThePrompt) {
  const auto engine = MakeEngine();
  GenerationRequest request = Request(Prompt(20), 6);
  request.num_choices = 4;
  request.sampling.temperature = 1;
  request.sampling.seed = 11;
  request.ignore_eos = true;
  const GenerationRecord first = Generate(*engine, request);
  ASSERT_EQ(first.choices.size(), 4u);
  EXPECT_NE(first.choices.at(0).tokens, first.choices.at(1).tokens);
  EXPECT_EQ(first.done->usage.prompt_tokens, 20u);
  EXPECT_EQ(first.done->usage.completion_tokens, 24u);
  ExpectSame(Generate(*engine, request), first);
  // 20 prompt tokens once, and all but the last token of every choice.
  EXPECT_EQ(engine->model().backbone().Stats()->num_tokens, 2 * (20u + 4 * 5));
  // Choice 0 is what one choice alone would be.
  request.num_choices = 1;
  EXPECT_EQ(Generate(*engine, request).choices.at(0).tokens, first.choices.at(0).tokens);
}

TEST_F(EngineTest, EveryWayToStop) {
  const auto engine = MakeEngine();
  const GenerationRecord plain = Generate(*engine, Request(Prompt(3), 8));
  const ChoiceRecord& choice = plain.choices.at(0);
  EXPECT_EQ(choice.reason, FinishReason::kLength);
  ASSERT_EQ(choice.tokens.size(), 8u);

  GenerationRequest stopped = Request(Prompt(3), 8);
  stopped.stop_token_ids = {choice.tokens[3]};
  const ChoiceRecord by_token = Generate(*engine, stopped).choices.at(0);
  EXPECT_EQ(by_token.reason, FinishReason::kStop);
  EXPECT_EQ(by_token.stop_token, choice.tokens[3]);
  EXPECT_EQ(by_token.tokens, std::vector<int32_t>(choice.tokens.begin(), choice.tokens.begin() + 3));

  // A stop string over the border of two tokens: the end of one and the start of the next.
  const std::string& text = choice.text;
  const size_t border = engine->model().tokenizer().Decode({choice.tokens.data(), 4}, true).size();
  ASSERT_GT(border, 1u);
  ASSERT_LT(border + 1, text.size());
  stopped = Request(Prompt(3), 8);
  stopped.stop = {text.substr(border - 1, 2)};
  const ChoiceRecord by_string = Generate(*engine, stopped).choices.at(0);
  EXPECT_EQ(by_string.reason, FinishReason::kStop);
  EXPECT_FALSE(by_string.stop_token.has_value());
  EXPECT_EQ(by_string.text, text.substr(0, text.find(stopped.stop[0])));
  EXPECT_LT(by_string.tokens.size(), 8u);

  // EOS, made certain by a bias, and ignored.
  GenerationRequest eos = Request(Prompt(3), 8);
  eos.sampling.logit_bias = {{4092, 100}};
  const GenerationRecord ended = Generate(*engine, eos);
  EXPECT_EQ(ended.choices.at(0).reason, FinishReason::kStop);
  EXPECT_EQ(ended.choices.at(0).stop_token, 4092);
  EXPECT_TRUE(ended.choices.at(0).tokens.empty());
  EXPECT_EQ(ended.done->usage.completion_tokens, 1u);
  eos.ignore_eos = true;
  const ChoiceRecord ignored = Generate(*engine, eos).choices.at(0);
  EXPECT_EQ(ignored.reason, FinishReason::kLength);
  EXPECT_EQ(ignored.tokens, std::vector<int32_t>(8, 4092));
}

TEST_F(EngineTest, NoNewTokensAndPromptLogprobs) {
  const auto engine = MakeEngine();
  GenerationRequest request = Request(Prompt(150), 0);
  const GenerationRecord silent = Generate(*engine, request);
  EXPECT_FALSE(silent.prompt.has_value());
  EXPECT_EQ(silent.choices.at(0).reason, FinishReason::kLength);
  EXPECT_EQ(silent.done->usage.completion_tokens, 0u);

  request.logprobs = 1;
  request.prompt_logprobs = true;
  request.num_choices = 2;
  const GenerationRecord scored = Generate(*engine, request);
  ASSERT_TRUE(scored.prompt.has_value());
  ASSERT_EQ(scored.prompt->prompt_logprobs.size(), 150u);
  EXPECT_FALSE(scored.prompt->prompt_logprobs[0].has_value());
  for (size_t i = 1; i < 150; ++i) {
    ASSERT_TRUE(scored.prompt->prompt_logprobs[i].has_value());
    EXPECT_EQ(scored.prompt->prompt_logprobs[i]->token, request.prompt[i]);
    EXPECT_EQ(scored.prompt->prompt_logprobs[i]->top.size(), 1u);
  }
  EXPECT_EQ(scored.choices.size(), 2u);
  // Scoring token i is the same as generating after i tokens.
  GenerationRequest generate = Request({request.prompt.begin(), request.prompt.begin() + 70}, 1);
  generate.logprobs = 1;
  EXPECT_EQ(Generate(*engine, generate).choices.at(0).logprobs.at(0).top, scored.prompt->prompt_logprobs[70]->top);
}

TEST_F(EngineTest, CancelAndVanishedClientsFreeTheirRoom) {
  const auto engine = MakeEngine();
  Engine* raw = engine.get();
  std::atomic<GenerationId> id{0};
  int tokens = 0;
  Door submitted;
  auto listener = std::make_shared<RecordingListener>([&](const GenerationEvent& event) {
    submitted.WaitOpen();
    if (event.kind == GenerationEvent::Kind::kToken && ++tokens == 3) raw->Cancel(id);
    return true;
  });
  GenerationRequest endless = Request(Prompt(5), 400);
  endless.ignore_eos = true;
  id = engine->Submit(endless, listener).value();
  submitted.Open();
  const GenerationRecord cancelled = listener->Wait();
  EXPECT_EQ(cancelled.choices.at(0).reason, FinishReason::kCancelled);
  EXPECT_EQ(cancelled.choices.at(0).tokens.size(), 3u);
  EXPECT_FALSE(cancelled.done->error.has_value());
  EXPECT_EQ(engine->stats().kv_used_tokens, 0u);

  endless.num_choices = 3;
  int events = 0;
  const GenerationRecord gone =
      SubmitRecorded(*engine, endless, [&](const GenerationEvent&) { return ++events < 7; })->Wait();
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(gone.choices.at(i).reason, FinishReason::kCancelled);
  EXPECT_EQ(gone.choices.at(0).tokens.size() + gone.choices.at(1).tokens.size() + gone.choices.at(2).tokens.size(), 7u);
  EXPECT_EQ(engine->stats().kv_used_tokens, 0u);
  engine->Cancel(12345);  // unknown
  EXPECT_EQ(Generate(*engine, Request(Prompt(5), 3)).choices.at(0).tokens.size(), 3u);
}

TEST_F(EngineTest, FullQueueRefusesAndQueuedOnesCanBeCancelled) {
  EngineOptions options;
  options.max_queued = 2;
  const auto engine = MakeEngine(options);
  Door door;
  const auto held = Hold(*engine, door);
  const auto second = std::make_shared<RecordingListener>();
  const GenerationId id = engine->Submit(Request({2}, 2), second).value();
  const auto third = SubmitRecorded(*engine, Request({3}, 2));
  const auto refused = engine->Submit(Request({4}, 2), std::make_shared<RecordingListener>());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(engine->stats().queued, 2u);
  engine->Cancel(id);
  door.Open();
  const GenerationRecord cancelled = second->Wait();
  EXPECT_EQ(cancelled.choices.at(0).reason, FinishReason::kCancelled);
  EXPECT_TRUE(cancelled.choices.at(0).tokens.empty());
  EXPECT_EQ(third->Wait().choices.at(0).tokens.size(), 2u);
  EXPECT_EQ(held->Wait().choices.at(0).tokens.size(), 4u);
  EXPECT_EQ(engine->stats().queued, 0u);
}

TEST_F(EngineTest, WaitsForKvRoomAndRefusesWhatNeverFits) {
  const auto engine = MakeEngine({}, {{"kv_tokens", "64"}});
  GenerationRequest request = Request(Prompt(20), 20);
  request.ignore_eos = true;
  std::vector<std::shared_ptr<RecordingListener>> listeners;
  for (int i = 0; i < 6; ++i) listeners.push_back(SubmitRecorded(*engine, request));
  for (const auto& listener : listeners) EXPECT_EQ(listener->Wait().choices.at(0).tokens.size(), 20u);
  request.num_choices = 2;
  const auto never = engine->Submit(request, std::make_shared<RecordingListener>());
  ASSERT_FALSE(never.has_value());
  EXPECT_EQ(never.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(never.error().message, HasSubstr("80 positions"));
  EXPECT_THAT(never.error().message, HasSubstr("64"));
  EXPECT_EQ(engine->stats().kv_capacity_tokens, 64u);
}

TEST_F(EngineTest, BadRequestsNameTheField) {
  const auto engine = MakeEngine();
  const auto bad = engine->Submit(Request({4096}, 1), std::make_shared<RecordingListener>());
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error().field, "prompt");
  GenerationRequest many = Request({1}, 1);
  many.num_choices = 17;
  EXPECT_EQ(engine->Submit(many, std::make_shared<RecordingListener>()).error().field, "n");
}

TEST_F(EngineTest, APlainModelHasNoMemoryVersionsAndOverlays) {
  const auto engine = MakeEngine();
  GenerationRequest request = Request({1}, 1);
  request.memory.as_of = 0;
  EXPECT_EQ(Generate(*engine, request).done->memory_version, 0u);
  request.memory.as_of = 1;
  const auto version = engine->Submit(request, std::make_shared<RecordingListener>());
  ASSERT_FALSE(version.has_value());
  EXPECT_EQ(version.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(version.error().field, "engram.as_of");
  request.memory.as_of.reset();
  request.memory.overlays = {"x"};
  EXPECT_EQ(engine->Submit(request, std::make_shared<RecordingListener>()).error().field, "engram.overlays[0]");
}

TEST_F(EngineTest, TextsFollowTheirConstraint) {
  const auto engine = MakeEngine();
  const auto constraint = engine->model().constraints().Get(
      "hex", [] { return ParseGbnf("root ::= [0-9a-f]{3,8} (\"-\" [0-9a-f]{3})? \"!\""); });
  ASSERT_TRUE(constraint.has_value()) << constraint.error().message;
  GenerationRequest request = Request(Prompt(5), 40);
  request.num_choices = 4;
  request.logprobs = 1;
  request.constraint = *constraint;
  const std::vector<GenerationRecord> alone = {Generate(*engine, request), Generate(*engine, Request(Prompt(9), 12))};
  request.sampling.temperature = 1.5;
  request.sampling.seed = 9;
  request.ignore_eos = true;
  std::vector<std::shared_ptr<RecordingListener>> listeners;
  // With others that are free, in one batch.
  for (int i = 0; i < 6; ++i)
    listeners.push_back(SubmitRecorded(*engine, i % 2 == 0 ? request : Request(Prompt(9), 12)));
  const std::regex expected("[0-9a-f]{3,8}(-[0-9a-f]{3})?!");
  for (size_t i = 0; i < listeners.size(); ++i) {
    const GenerationRecord record = listeners[i]->Wait();
    if (i % 2 == 1) {
      EXPECT_EQ(record.choices.at(0).tokens, alone[1].choices.at(0).tokens);
      continue;
    }
    for (const auto& [index, choice] : record.choices) {
      EXPECT_TRUE(std::regex_match(choice.text, expected)) << choice.text;
      // It ends with its last character: no end token is asked for.
      EXPECT_EQ(choice.reason, FinishReason::kStop);
      EXPECT_FALSE(choice.stop_token.has_value());
      EXPECT_EQ(choice.logprobs.size(), choice.tokens.size());
      for (const TokenLogprob& logprob : choice.logprobs) EXPECT_LE(logprob.logprob, 0);
    }
  }
  EXPECT_TRUE(std::regex_match(alone[0].choices.at(0).text, expected)) << alone[0].choices.at(0).text;
  request.max_tokens = 2;
  EXPECT_EQ(Generate(*engine, request).choices.at(0).reason, FinishReason::kLength);
}

TEST_F(EngineTest, AnEndTokenIsOnlyTakenWhereTheTextMayEnd) {
  const auto engine = MakeEngine();
  const auto make = [&](const char* text) {
    return *engine->model().constraints().Get(text, [&] { return ParseGbnf(text); });
  };
  GenerationRequest request = Request(Prompt(4), 30);
  // Nothing is likelier than the end.
  request.sampling.logit_bias = {{4092, 100.0f}};
  request.constraint = make("root ::= \"abc\" [a-z]*");
  const ChoiceRecord early = Generate(*engine, request).choices.at(0);
  EXPECT_EQ(early.text.substr(0, 3), "abc");
  EXPECT_EQ(early.reason, FinishReason::kStop);
  EXPECT_EQ(early.stop_token, 4092);
  request.ignore_eos = true;
  EXPECT_EQ(Generate(*engine, request).choices.at(0).reason, FinishReason::kLength);
  request.constraint = make("root ::= \"\"");
  const ChoiceRecord empty = Generate(*engine, request).choices.at(0);
  EXPECT_EQ(empty.text, "");
  EXPECT_EQ(empty.reason, FinishReason::kStop);
}

TEST_F(EngineTest, AGrammarTooAmbiguousToFollowEndsTheGeneration) {
  const auto engine = MakeEngine();
  const auto constraint =
      engine->model().constraints().Get("hard", [] { return ParseGbnf("root ::= ((\"a\"{1,500}){1,500}){1,500}"); });
  ASSERT_TRUE(constraint.has_value()) << constraint.error().message;
  GenerationRequest request = Request(Prompt(4), 500);
  request.ignore_eos = true;
  request.constraint = *constraint;
  const GenerationRecord record = Generate(*engine, request);
  EXPECT_EQ(record.choices.at(0).reason, FinishReason::kError);
  ASSERT_TRUE(record.done->error.has_value());
  EXPECT_THAT(record.done->error->message, HasSubstr("too ambiguous"));
  EXPECT_EQ(engine->stats().kv_used_tokens, 0u);
  EXPECT_EQ(Generate(*engine, Request(Prompt(9), 3)).choices.at(0).tokens.size(), 3u);
}

TEST_F(EngineTest, ClientsTakeTurns) {
  EngineOptions options;
  options.max_running = 1;
  const auto engine = MakeEngine(options);
  Door door;
  const auto held = Hold(*engine, door);
  std::mutex mutex;
  std::vector<std::string> order;
  std::vector<std::shared_ptr<RecordingListener>> listeners;
  const auto submit = [&](const std::string& client) {
    GenerationRequest request = Request({5}, 1);
    request.client = client;
    listeners.push_back(SubmitRecorded(*engine, request, [&, client](const GenerationEvent& event) {
      std::lock_guard lock(mutex);
      if (event.kind == GenerationEvent::Kind::kDone) order.push_back(client);
      return true;
    }));
  };
  for (int i = 0; i < 4; ++i) submit("a");
  submit("b");
  submit("c");
  submit("b");
  door.Open();
  for (const auto& listener : listeners) listener->Wait();
  std::lock_guard lock(mutex);
  EXPECT_EQ(order, (std::vector<std::string>{"a", "b", "c", "a", "b", "a", "a"}));
  held->Wait();
}

}  // namespace
}  // namespace engram
