// SPDX-License-Identifier: Apache-2.0
#include "http/generation_channel.h"

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/json_text.h"
#include "http/api_error.h"
#include "http/chat.h"
#include "http/completions.h"
#include "http/generation_messages.h"
#include "http/generation_params.h"
#include "http/json_body.h"
#include "http/json_fields.h"
#include "http/through_swaps.h"

namespace engram {
namespace {

constexpr size_t kMaxIdBytes = 128;
// Answers that wait before nothing more is received.
constexpr size_t kMaxAnswers = 64;

class GenerationChannel final : public Channel {
 public:
  GenerationChannel(const HttpOptions& options, const EngineDirectory& engines, const Request& request)
      : options_(options),
        engines_(engines),
        request_id_(request.request_id),
        client_(request.client),
        key_(request.key),
        limiter_(request.limiter) {}

  void Start(std::function<void()> wake) override { wake_ = std::move(wake); }
  Action Receive(std::string message) override;
  Step Poll() override;
  bool congested() const override { return answers_.size() >= kMaxAnswers; }
  void Drain() override { draining_ = true; }

 private:
  Action Answer(std::string message) {
    return [this, message = std::move(message)] { answers_.push_back(message); };
  }
  Action Generate(std::string id, JsonFields& fields, bool chat);
  std::optional<ApiError> Submit(const std::string& id, const std::string& request_id, JsonFields& fields, bool chat,
                                 std::unique_ptr<GenerationMessages>& generation);
  void Admit(std::unique_ptr<GenerationMessages> generation);
  void Cancel(const std::string& id);

  const HttpOptions& options_;
  const EngineDirectory& engines_;
  const std::string request_id_;
  const std::string client_;
  const std::shared_ptr<const AccessKey> key_;  // null: none is needed
  const std::shared_ptr<KeyLimiter> limiter_;   // null: no limits
  uint64_t num_received_ = 0;                   // Receive()'s

  std::function<void()> wake_;
  std::vector<std::string> answers_;
  std::map<std::string, std::unique_ptr<GenerationMessages>> running_;  // by id
  size_t num_prompts_ = 0;                                              // of running_
  bool draining_ = false;
};

Channel::Action GenerationChannel::Receive(std::string message) {
  auto body = ParseJsonObject(message);
  if (!body) return Answer(ErrorMessage({}, body.error()));
  JsonFields fields(*body);
  const std::string type = fields.String("type", "");
  const std::string id = fields.String("id", "");
  if (id.size() > kMaxIdBytes) fields.Fail("id", "must have at most " + std::to_string(kMaxIdBytes) + " bytes");
  if (fields.failed()) return Answer(ErrorMessage({}, fields.Finish().error()));
  if (type == "generate" || type == "cancel") {
    if (id.empty()) fields.Fail("id", "is required");
  } else if (type != "ping") {
    fields.Fail("type", "must be \"generate\", \"cancel\" or \"ping\"");
  }
  if (fields.failed()) return Answer(ErrorMessage(id, fields.Finish().error()));
  if (type == "generate") return Generate(id, fields, body->contains("messages"));
  if (const Status status = fields.Finish(); !status) return Answer(ErrorMessage(id, status.error()));
  if (type == "cancel") return [this, id] { Cancel(id); };
  return Answer("{\"type\":\"pong\"" + (id.empty() ? "" : ",\"id\":" + JsonQuote(id)) + "}");
}

Channel::Action GenerationChannel::Generate(std::string id, JsonFields& fields, bool chat) {
  // The upgrade was a request, and so is each generation.
  if (limiter_) {
    if (const auto refused = limiter_->TakeRequest()) return Answer(ErrorMessage(id, *refused));
  }
  const std::string request_id = request_id_ + "." + std::to_string(++num_received_);
  // Actions are copyable, generations are not.
  auto generation = std::make_shared<std::unique_ptr<GenerationMessages>>();
  const std::optional<ApiError> refused =
      ThroughSwaps(engines_, [&] { return Submit(id, request_id, fields, chat, *generation); });
  if (refused) return Answer(ErrorMessage(id, *refused));
  return [this, generation] { Admit(std::move(*generation)); };
}

std::optional<ApiError> GenerationChannel::Submit(const std::string& id, const std::string& request_id,
                                                  JsonFields& fields, bool chat,
                                                  std::unique_ptr<GenerationMessages>& generation) {
  GenerationCall call;
  auto wrong = chat ? ReadChat(fields, engines_, call) : ReadCompletion(fields, options_, engines_, call);
  if (wrong) return wrong;
  if (call.prompts.size() > options_.websocket_max_generations) {
    return ApiError(429, std::to_string(call.prompts.size()) +
                             " prompts are more than one connection may run at once, " +
                             std::to_string(options_.websocket_max_generations));
  }
  for (GenerationRequest& prompt : call.prompts) {
    prompt.request_id = request_id;
    prompt.client = client_;
    AttachKeyOverlays(key_.get(), fields, call.engine->model(), prompt.memory);
  }
  call.limiter = limiter_;
  generation = std::make_unique<GenerationMessages>(id, std::move(call), options_.max_events_behind);
  return generation->Submit();
}

// What is refused here ends with its destruction.
void GenerationChannel::Admit(std::unique_ptr<GenerationMessages> generation) {
  const std::string& id = generation->id();
  if (draining_) {
    answers_.push_back(ErrorMessage(id, Unavailable("the server is shutting down")));
  } else if (running_.contains(id)) {
    answers_.push_back(ErrorMessage(id, ApiError(409, "a generation with this id is running", "id")));
  } else if (num_prompts_ + generation->num_prompts() > options_.websocket_max_generations) {
    answers_.push_back(
        ErrorMessage(id, ApiError(429, std::to_string(num_prompts_) + " generations run on this connection; at most " +
                                           std::to_string(options_.websocket_max_generations) + " may")));
  } else {
    num_prompts_ += generation->num_prompts();
    generation->SetWake(wake_);
    running_.emplace(id, std::move(generation));
  }
}

void GenerationChannel::Cancel(const std::string& id) {
  const auto found = running_.find(id);
  if (found == running_.end()) {
    answers_.push_back(ErrorMessage(id, NotFound("no generation with this id is running", "id")));
  } else {
    found->second->Cancel();
  }
}

Channel::Step GenerationChannel::Poll() {
  Step step;
  step.messages.swap(answers_);
  for (auto generation = running_.begin(); generation != running_.end();) {
    if (!generation->second->Poll(step.messages)) {
      ++generation;
      continue;
    }
    num_prompts_ -= generation->second->num_prompts();
    generation = running_.erase(generation);
  }
  if (draining_ && running_.empty()) step.close = {1001, "the server is shutting down"};
  return step;
}

}  // namespace

std::unique_ptr<Channel> NewGenerationChannel(const HttpOptions& options, const EngineDirectory& engines,
                                              const Request& request) {
  return std::make_unique<GenerationChannel>(options, engines, request);
}

}  // namespace engram
