// SPDX-License-Identifier: Apache-2.0
#include "fuzz/reply_driver.h"

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "fuzz/fuzz_target.h"
#include "http/json_body.h"

namespace engram {
namespace {

// Longer than anything here takes, also under sanitizers on a busy machine.
constexpr std::chrono::seconds kPatience{60};

// A bell that any thread rings.
class Bell {
 public:
  void Ring() {
    std::lock_guard lock(mutex_);
    rung_ = true;
    changed_.notify_all();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    FUZZ_CHECK(changed_.wait_for(lock, kPatience, [this] { return rung_; }));
    rung_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool rung_ = false;
};

}  // namespace

Response FinishReply(Reply reply) {
  if (!reply.source) return std::move(reply.response);
  const auto bell = std::make_shared<Bell>();
  Response response;
  bool headed = false;
  reply.source->Start([bell] { bell->Ring(); });
  for (;;) {
    ReplySource::Step step = reply.source->Poll();
    if (step.head) {
      FUZZ_CHECK(!headed);
      headed = true;
      response = std::move(*step.head);
      if (!step.streamed) return response;
    }
    FUZZ_CHECK(headed || step.data.empty());
    response.body += step.data;
    if (step.done) return response;
    if (!step.head && step.data.empty()) bell->Wait();
  }
}

void Converse(Channel& channel, std::string_view messages) {
  const auto bell = std::make_shared<Bell>();
  channel.Start([bell] { bell->Ring(); });
  FuzzInput input(messages);
  while (!input.Rest().empty() && !channel.congested()) {
    const Channel::Action action = channel.Receive(std::string(input.Line()));
    FUZZ_CHECK(action != nullptr);
    action();
  }
  channel.Drain();
  for (;;) {
    const Channel::Step step = channel.Poll();
    for (const std::string& message : step.messages) {
      const auto object = ParseJsonObject(message);
      FUZZ_CHECK(object && object->contains("type"));
    }
    if (step.close) return;
    if (step.messages.empty()) bell->Wait();
  }
}

}  // namespace engram
