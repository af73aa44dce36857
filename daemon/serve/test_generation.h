// SPDX-License-Identifier: Apache-2.0
// For tests of the engine: a listener that keeps what it gets and checks the order of events.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "serve/engine.h"
#include "serve/generation.h"

namespace engram {

struct ChoiceRecord {
  std::vector<int32_t> tokens;
  std::string text;
  std::vector<TokenLogprob> logprobs;
  std::vector<PositionTrace> traces;
  std::optional<FinishReason> reason;
  std::optional<int32_t> stop_token;
  std::optional<uint32_t> skipped_from;
  std::string skip_reason;
};

struct GenerationRecord {
  std::optional<GenerationEvent> prompt;
  std::map<uint32_t, ChoiceRecord> choices;
  std::optional<GenerationEvent> done;
};

class RecordingListener final : public GenerationListener {
 public:
  using Hook = std::function<bool(const GenerationEvent&)>;
  explicit RecordingListener(Hook hook = {}) : hook_(std::move(hook)) {}

  bool OnEvent(GenerationEvent event) override {
    const bool keep = !hook_ || hook_(event);
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(record_.done.has_value()) << "an event after kDone";
    switch (event.kind) {
      case GenerationEvent::Kind::kPrompt:
        EXPECT_FALSE(record_.prompt.has_value());
        EXPECT_TRUE(record_.choices.empty());
        record_.prompt = std::move(event);
        break;
      case GenerationEvent::Kind::kToken:
      case GenerationEvent::Kind::kChoiceDone: {
        ChoiceRecord& choice = record_.choices[event.choice];
        EXPECT_FALSE(choice.reason.has_value()) << "an event after kChoiceDone";
        choice.text += event.text;
        for (PositionTrace& trace : event.traces) choice.traces.push_back(std::move(trace));
        if (event.kind == GenerationEvent::Kind::kToken) {
          choice.tokens.push_back(event.token);
          if (event.logprob) choice.logprobs.push_back(*event.logprob);
        } else {
          choice.reason = event.finish_reason;
          choice.stop_token = event.stop_token;
          choice.skipped_from = event.skipped_from;
          choice.skip_reason = event.skip_reason;
        }
        break;
      }
      case GenerationEvent::Kind::kDone:
        record_.done = std::move(event);
        done_.notify_all();
        break;
    }
    return keep;
  }

  // Waits for kDone.
  GenerationRecord Wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return record_.done.has_value(); });
    for (const auto& [index, choice] : record_.choices) EXPECT_TRUE(choice.reason.has_value()) << index;
    return record_;
  }

 private:
  Hook hook_;
  std::mutex mutex_;
  std::condition_variable done_;
  GenerationRecord record_;  // guarded by mutex_
};

// A door that the engine thread waits at until the test opens it.
class Door {
 public:
  void WaitOpen() {
    std::unique_lock lock(mutex_);
    reached_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void WaitReached() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return reached_; });
  }
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool reached_ = false;
  bool open_ = false;
};

inline std::shared_ptr<RecordingListener> SubmitRecorded(Engine& engine, GenerationRequest request,
                                                         RecordingListener::Hook hook = {}) {
  auto listener = std::make_shared<RecordingListener>(std::move(hook));
  const Result<GenerationId> id = engine.Submit(std::move(request), listener);
  EXPECT_TRUE(id.has_value()) << (id ? "" : id.error().message);
  return id ? listener : nullptr;
}

// Submits, and waits for the end.
inline GenerationRecord Generate(Engine& engine, GenerationRequest request) {
  const auto listener = SubmitRecorded(engine, std::move(request));
  return listener ? listener->Wait() : GenerationRecord{};
}

}  // namespace engram
