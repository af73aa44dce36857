// SPDX-License-Identifier: Apache-2.0
#include "http/deferred_reply.h"

#include <mutex>
#include <optional>
#include <utility>

#include "http/api_error.h"

namespace engram {
namespace {

struct Shared {
  std::mutex mutex;
  std::optional<Response> response;  // guarded by mutex, as all below
  std::function<void()> wake;        // does not block
  bool answered = false;
  bool detached = false;

  void Send(Response answer) {
    std::lock_guard lock(mutex);
    if (answered || detached) return;
    answered = true;
    response = std::move(answer);
    // Under the lock, so that the source's destructor can promise that no call is under way. It only posts.
    if (wake) wake();
  }
};

class Source final : public ReplySource {
 public:
  explicit Source(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  ~Source() override {
    std::lock_guard lock(shared_->mutex);
    shared_->detached = true;
    shared_->wake = nullptr;
    shared_->response.reset();
  }
  void Start(std::function<void()> wake) override {
    std::lock_guard lock(shared_->mutex);
    shared_->wake = std::move(wake);
  }
  Step Poll() override {
    Step step;
    std::lock_guard lock(shared_->mutex);
    step.head = std::exchange(shared_->response, std::nullopt);
    step.done = step.head.has_value();
    return step;
  }

 private:
  const std::shared_ptr<Shared> shared_;
};

// What the copies of `send` share.
class Sender {
 public:
  explicit Sender(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  ~Sender() { shared_->Send(ErrorResponse(ApiError(Internal("the request was dropped without an answer")))); }
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;
  void Send(Response response) { shared_->Send(std::move(response)); }

 private:
  const std::shared_ptr<Shared> shared_;
};

}  // namespace

DeferredReply MakeDeferredReply() {
  auto shared = std::make_shared<Shared>();
  auto sender = std::make_shared<Sender>(shared);
  return {std::make_unique<Source>(std::move(shared)),
          [sender = std::move(sender)](Response response) { sender->Send(std::move(response)); }};
}

}  // namespace engram
