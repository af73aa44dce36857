// SPDX-License-Identifier: Apache-2.0
// The channel behind GET /v1/stream: many generations over one WebSocket; docs/websocket.md has the messages.
#pragma once

#include <memory>
#include <string>

#include "http/channel.h"
#include "http/message.h"
#include "http/server.h"
#include "serve/engine_directory.h"

namespace engram {

// `options` and `engines` must outlive the channel. `request` is the upgrade request: its client's generations are
// fair to others', and its id marks them in the log.
std::unique_ptr<Channel> NewGenerationChannel(const HttpOptions& options, const EngineDirectory& engines,
                                              const Request& request);

}  // namespace engram
