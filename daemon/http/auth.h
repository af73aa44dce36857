// SPDX-License-Identifier: Apache-2.0
// Authenticator: who a request is from, and whether its key may do what it asks. One is made for each change of the
// keys and published; immutable but for limiters, which go on from one to the next. Any thread; nothing blocks.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "access/access_key.h"
#include "access/scope.h"
#include "http/api_error.h"
#include "http/key_limiter.h"
#include "http/message.h"

namespace engram {

class Authenticator {
 public:
  // `before`: the one this replaces, whose limiters go on for keys that stay; may be null.
  explicit Authenticator(std::shared_ptr<const AccessKeys> keys = std::make_shared<const AccessKeys>(),
                         const Authenticator* before = nullptr);

  // A key is needed. Without, any key or none is accepted.
  bool required() const { return keys_->required; }

  // Sets request.key, request.limiter, and request.client: the key's name, or the peer where no key is needed. A
  // WebSocket's upgrade request may bring its key as a subprotocol. 401 for a missing, wrong, revoked or expired key,
  // 403 for one without `scope`, 429 for one that has used up its requests.
  std::optional<ApiError> Check(Request& request, Scope scope) const;

  // Why what was begun with `key` (null: without one) and needs `scope` may not go on now, if so.
  std::optional<ApiError> Objection(const AccessKey* key, Scope scope, int64_t now_ms) const;

  // When the first key expires after `unix_ms`.
  std::optional<int64_t> NextExpiry(int64_t unix_ms) const;

 private:
  std::shared_ptr<const AccessKeys> keys_;
  std::map<std::string, std::shared_ptr<KeyLimiter>> limiters_;  // by key id; those that have limits
};

}  // namespace engram
