// SPDX-License-Identifier: Apache-2.0
// Operations: what an operator asked for and takes long, such as loading a model: its state, progress and outcome, kept
// for a while after the end. The registry runs nothing; whoever does the work reports here.
//
// A running operation is cancelled by asking it to end: whoever does the work looks at CheckCancelled() between steps,
// undoes what it did, and finishes with that error.
//
// Any thread; nothing blocks. Listeners are called on the thread that reports, without a lock.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/result.h"

namespace engram {

enum class OperationState { kQueued, kRunning, kSucceeded, kFailed, kCancelled };

const char* OperationStateName(OperationState state);  // "queued", "running", ...
inline bool IsOver(OperationState state) {
  return state != OperationState::kQueued && state != OperationState::kRunning;
}

struct Operation {
  uint64_t id = 0;        // from 1, in the order they were asked for
  uint64_t revision = 0;  // grows with every change of any operation: of two readings the larger is the newer
  std::string kind;       // "model.load", "plugin.swap", ...
  std::string target;     // what it acts on, e.g. a model's name
  std::string path;       // the file or directory it brings in; empty: none
  OperationState state = OperationState::kQueued;
  bool cancelling = false;     // running, and asked to end
  std::string stage;           // what it does now or, when it is over, did last; for people
  double progress = 0;         // 0 to 1, never going back
  std::optional<Error> error;  // of kFailed
  int64_t created_unix_ms = 0;
  int64_t started_unix_ms = 0;   // 0: not yet
  int64_t finished_unix_ms = 0;  // 0: not yet
};

class Operations {
 public:
  // Keeps all that are not over, which whoever queues them bounds, and the last `history` that are.
  explicit Operations(size_t history = 256) : history_(history) {}
  Operations(const Operations&) = delete;
  Operations& operator=(const Operations&) = delete;

  // A new operation, queued.
  uint64_t Add(std::string kind, std::string target, std::string path);
  // From queued to running. False when it was cancelled: then it must not be done.
  [[nodiscard]] bool Start(uint64_t id);
  // What a running operation does now.
  void Report(uint64_t id, std::string stage, double progress);
  // kCancelled once the operation was asked to end.
  Status CheckCancelled(uint64_t id) const;
  // The same; if it was not asked, from here on it cannot be.
  Status PassLastChance(uint64_t id);
  // The end of a running operation: succeeded, cancelled (kCancelled), or failed with the error.
  void Finish(uint64_t id, const Status& status);
  // A queued operation is cancelled, a running one asked to end, which may take it a while; it may also be done before.
  // kNotFound; kFailedPrecondition for one that is past its last chance or over.
  Status Cancel(uint64_t id);

  // kNotFound for one that never was or is forgotten.
  Result<Operation> Get(uint64_t id) const;
  std::vector<Operation> List() const;  // newest first

  // Calls `listener` for every change until the returned handle is destroyed; a call under way then may still end
  // after. Calls for different operations may come at once and out of order: see Operation::revision.
  using Listener = std::function<void(const Operation&)>;
  [[nodiscard]] std::shared_ptr<void> Listen(Listener listener);

 private:
  // Changes the operation under the lock if `change` returns true, then tells the listeners. False: not there, or not
  // changed.
  bool Change(uint64_t id, const std::function<bool(Operation&)>& change);
  Status CancelledNow(uint64_t id) const;  // mutex_ is held
  void ForgetOldest();

  const size_t history_;
  mutable std::mutex mutex_;
  std::map<uint64_t, Operation> operations_;  // guarded by mutex_, as all below
  std::set<uint64_t> settled_;                // past their last chance, not over
  std::vector<std::weak_ptr<Listener>> listeners_;
  uint64_t next_id_ = 1;
  uint64_t revision_ = 0;
};

}  // namespace engram
