// SPDX-License-Identifier: Apache-2.0
// POST /v1/chat/completions. Any thread.
#pragma once

#include "http/generation_reply.h"
#include "http/server.h"
#include "serve/engine_directory.h"

namespace engram {

Reply ChatCompletions(const HttpOptions& options, const EngineDirectory& engines, const Request& request);

}  // namespace engram
