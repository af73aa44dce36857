// SPDX-License-Identifier: Apache-2.0
// A request may find an engine just before it is replaced or removed, and be refused by it. Then it is to be done again
// from the start, for its prompt was read with the old model's tokenizer. Any thread.
#pragma once

#include <optional>

#include "core/result.h"
#include "http/api_error.h"
#include "http/message.h"
#include "serve/engine_directory.h"

namespace engram {

inline bool IsUnavailable(const Reply& reply) {
  return reply.source == nullptr && reply.response.status == 503;
}
inline bool IsUnavailable(const std::optional<ApiError>& error) {
  return error && error->status == 503;
}
template <typename T>
bool IsUnavailable(const Result<T>& result) {
  return !result && result.error().code == ErrorCode::kUnavailable;
}

// What `attempt`, which finds an engine in `engines` and submits to it, returns; called again as long as that is
// unavailable and the engines changed meanwhile.
template <typename Attempt>
auto ThroughSwaps(const EngineDirectory& engines, Attempt attempt) {
  for (;;) {
    const uint64_t version = engines.version();
    auto outcome = attempt();
    if (!IsUnavailable(outcome) || engines.version() == version) return outcome;
  }
}

}  // namespace engram
