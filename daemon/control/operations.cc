// SPDX-License-Identifier: Apache-2.0
#include "control/operations.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/clock.h"

namespace engram {
namespace {

Error NoSuchOperation(uint64_t id) {
  return NotFound("there is no operation " + std::to_string(id) + ", or it is long over");
}

}  // namespace

const char* OperationStateName(OperationState state) {
  switch (state) {
    case OperationState::kQueued:
      return "queued";
    case OperationState::kRunning:
      return "running";
    case OperationState::kSucceeded:
      return "succeeded";
    case OperationState::kFailed:
      return "failed";
    case OperationState::kCancelled:
      break;
  }
  return "cancelled";
}

uint64_t Operations::Add(std::string kind, std::string target, std::string path) {
  uint64_t id = 0;
  {
    std::lock_guard lock(mutex_);
    id = next_id_++;
    Operation& operation = operations_[id];
    operation.id = id;
    operation.kind = std::move(kind);
    operation.target = std::move(target);
    operation.path = std::move(path);
    operation.created_unix_ms = UnixMs();
    ForgetOldest();
  }
  Change(id, [](Operation&) { return true; });
  return id;
}

bool Operations::Start(uint64_t id) {
  return Change(id, [](Operation& operation) {
    if (operation.state != OperationState::kQueued) return false;
    operation.state = OperationState::kRunning;
    operation.started_unix_ms = UnixMs();
    return true;
  });
}

void Operations::Report(uint64_t id, std::string stage, double progress) {
  Change(id, [&](Operation& operation) {
    if (operation.state != OperationState::kRunning) return false;
    operation.stage = std::move(stage);
    operation.progress = std::clamp(progress, operation.progress, 1.0);
    return true;
  });
}

Status Operations::CheckCancelled(uint64_t id) const {
  std::lock_guard lock(mutex_);
  return CancelledNow(id);
}

Status Operations::PassLastChance(uint64_t id) {
  std::lock_guard lock(mutex_);
  ENGRAM_CHECK_OK(CancelledNow(id));
  settled_.insert(id);
  return {};
}

Status Operations::CancelledNow(uint64_t id) const {
  const auto found = operations_.find(id);
  if (found == operations_.end() || !found->second.cancelling) return {};
  return Error{ErrorCode::kCancelled, "operation " + std::to_string(id) + " was cancelled", {}};
}

void Operations::Finish(uint64_t id, const Status& status) {
  Change(id, [&](Operation& operation) {
    if (operation.state != OperationState::kRunning) return false;
    settled_.erase(id);
    operation.cancelling = false;
    operation.finished_unix_ms = UnixMs();
    if (status) {
      operation.state = OperationState::kSucceeded;
      operation.progress = 1;
    } else if (status.error().code == ErrorCode::kCancelled) {
      operation.state = OperationState::kCancelled;
    } else {
      operation.state = OperationState::kFailed;
      operation.error = status.error();
    }
    return true;
  });
}

Status Operations::Cancel(uint64_t id) {
  Status status = NoSuchOperation(id);
  Change(id, [&](Operation& operation) {
    status = {};
    if (operation.state == OperationState::kQueued) {
      operation.state = OperationState::kCancelled;
      operation.finished_unix_ms = UnixMs();
      return true;
    }
    if (operation.state == OperationState::kRunning && !settled_.contains(id)) {
      return !std::exchange(operation.cancelling, true);
    }
    const bool over = IsOver(operation.state);
    status = FailedPrecondition("operation " + std::to_string(id) + " (" + operation.stage + ")" +
                                (over ? " is over" : " cannot be cancelled any more"));
    return false;
  });
  return status;
}

Result<Operation> Operations::Get(uint64_t id) const {
  std::lock_guard lock(mutex_);
  const auto found = operations_.find(id);
  if (found == operations_.end()) return NoSuchOperation(id);
  return found->second;
}

std::vector<Operation> Operations::List() const {
  std::vector<Operation> list;
  std::lock_guard lock(mutex_);
  for (auto at = operations_.rbegin(); at != operations_.rend(); ++at) list.push_back(at->second);
  return list;
}

std::shared_ptr<void> Operations::Listen(Listener listener) {
  auto shared = std::make_shared<Listener>(std::move(listener));
  std::lock_guard lock(mutex_);
  std::erase_if(listeners_, [](const auto& weak) { return weak.expired(); });
  listeners_.push_back(shared);
  return shared;
}

bool Operations::Change(uint64_t id, const std::function<bool(Operation&)>& change) {
  Operation changed;
  std::vector<std::shared_ptr<Listener>> listeners;
  {
    std::lock_guard lock(mutex_);
    const auto found = operations_.find(id);
    if (found == operations_.end() || !change(found->second)) return false;
    found->second.revision = ++revision_;
    changed = found->second;
    for (const auto& weak : listeners_)
      if (auto listener = weak.lock()) listeners.push_back(std::move(listener));
  }
  for (const auto& listener : listeners) (*listener)(changed);
  return true;
}

void Operations::ForgetOldest() {
  size_t num_over = 0;
  for (const auto& [id, operation] : operations_) num_over += IsOver(operation.state) ? 1 : 0;
  for (auto at = operations_.begin(); at != operations_.end() && num_over > history_;) {
    if (IsOver(at->second.state)) {
      at = operations_.erase(at);
      --num_over;
    } else {
      ++at;
    }
  }
}

}  // namespace engram
