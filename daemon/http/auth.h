// SPDX-License-Identifier: Apache-2.0
// Authenticator: who a request is from, and whether its key may do what it asks. Immutable; any thread.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "http/api_error.h"
#include "http/message.h"
#include "http/server.h"

namespace engram {

enum class Scope { kNone, kGenerate, kRead, kEdit, kOperate };

// "generate", .. as the settings have them; "none" for kNone.
std::string_view ScopeName(Scope scope);

class Authenticator {
 public:
  // kInvalidArgument names a key whose sha256 is not 64 lowercase hex digits or whose scope is unknown.
  static Result<Authenticator> Create(const std::vector<ApiKey>& keys);

  // Sets request.limiter, and request.client: the key's name, or the peer where no keys are configured (any or no key
  // is accepted then) or none is needed. A WebSocket's upgrade request may bring its key as a subprotocol. 401 for a
  // missing or wrong key, 403 for one without `scope`, 429 for one that has used up its requests.
  std::optional<ApiError> Check(Request& request, Scope scope) const;

 private:
  struct Key {
    std::string name;
    std::array<unsigned char, 32> digest;
    uint32_t scopes = 0;                  // bit per Scope
    std::shared_ptr<KeyLimiter> limiter;  // null: no limits
  };
  std::vector<Key> keys_;
};

}  // namespace engram
