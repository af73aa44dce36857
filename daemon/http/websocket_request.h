// SPDX-License-Identifier: Apache-2.0
// The request that asks for a WebSocket. Pure functions.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "http/api_error.h"
#include "http/message.h"

namespace engram {

// The subprotocol that clients may offer and servers then confirm.
inline constexpr std::string_view kWebSocketProtocol = "engramd";

// The items of a comma-separated header, over all headers of that (lower-case) name, without the blanks around them.
std::vector<std::string_view> HeaderItems(const Request& request, std::string_view name);

// "Upgrade: websocket" is asked for.
bool IsUpgrade(const Request& request);

// Why the request cannot become a WebSocket of ours: 426 when it asks for none or another version, else 400.
std::optional<ApiError> CheckUpgrade(const Request& request);

// The key of a subprotocol "bearer.KEY", for browsers, which cannot set Authorization; empty without one.
std::string_view SubprotocolKey(const Request& request);

}  // namespace engram
