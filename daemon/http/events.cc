// SPDX-License-Identifier: Apache-2.0
#include "http/endpoints.h"
#include "http/websocket_request.h"

namespace engram {

void AddEventEndpoint(Router& router, EventHub& events) {
  router.Add("GET", "/admin/v1/events", Scope::kRead, [&events](const Request& request) -> Reply {
    if (const auto error = CheckUpgrade(request)) return ErrorResponse(*error);
    return events.Subscribe();
  });
}

}  // namespace engram
