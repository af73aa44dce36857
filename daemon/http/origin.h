// SPDX-License-Identifier: Apache-2.0
// Which web pages may use the API through a visitor's browser. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/api_error.h"
#include "http/message.h"

namespace engram {

struct OriginPolicy {
  std::vector<std::string> allowed_origins;  // such as "https://example.org", beside the server's own
  // While no keys are needed the daemon trusts whoever can connect. A page whose name was made to point at this machine
  // (DNS rebinding) would count, so that Host must then name the machine itself or be one of `allowed_hosts`.
  bool local_hosts_only = false;
  std::vector<std::string> allowed_hosts;  // without port
};

// 403 for a request that a page of a foreign origin sent, or one that reached this machine under a foreign name.
// Requests that no browser sends, without Origin, have none. `keys_needed`: see local_hosts_only.
std::optional<ApiError> CheckOrigin(const Request& request, const OriginPolicy& policy, bool keys_needed = false);

}  // namespace engram
